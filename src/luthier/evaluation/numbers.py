"""Numbers as people write them: with decimal commas, separated thousands, fractions, powers of ten, and units."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_NARROW_SPACES = "\u00a0\u2007\u2009\u202f"
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_NUMBER = re.compile(
    r"""
    (?P<sign>(?<![\w.)])[-+][$€£¥₹]?)?  # "5-3" and "5 - 3" end in 3, not in -3
    (?:
      (?:(?<![\d/.,])(?P<whole>\d+)\s+)?(?<![\d/.,])(?P<top>\d+)\s?/\s?(?P<bottom>0*[1-9]\d*)(?!\d|/|[.,]\d)
    |
      10\s?(?:\^|\*\*)\s?\{?(?P<power>[-+]?\d{1,4})(?!\d)
    |
      (?:
        (?P<spaced>\d{1,3}(?P<gap>[ '_])\d{3}(?:(?P=gap)\d{3})*(?!\d)(?:[.,]\d+)?)
      | (?P<english>[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}(?!\d|,\d)(?:\.\d+)?)
      | (?P<continental>[1-9]\d{0,2}(?:(?:\.\d{3})+,\d+|(?:\.\d{3}){2,})(?!\d))
      | (?P<comma>(?<!\d,)\d+,\d+(?![,.]?\d))
      | (?P<plain>\d+(?:\.\d+)?|(?<!\d)\.\d+)
      )
      (?:[eE](?P<exponent>[-+]?\d{1,4})(?!\d)|\s?[x×*·⋅]\s?10\s?(?:\^|\*\*)\s?\{?(?P<times>[-+]?\d{1,4})(?!\d))?
    )
    (?P<percent>\s?(?:%|percent\b|per\ cent\b))?
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Number:
    """One number of a text."""

    value: float
    percent: bool = False
    """A percent sign follows it."""

    def agrees(self, other: Number, tolerance: float) -> bool:
        """Say whether two numbers differ by at most ``tolerance``; 12 % is 0.12 where only one has the sign."""
        readings = {self.value - other.value}
        if self.percent != other.percent:
            readings.add(
                (self.value / 100 if self.percent else self.value) - other.value / (100 if other.percent else 1)
            )
        return any(abs(difference) <= tolerance for difference in readings)


def number_of(value: Any) -> Number | None:
    """Return a number as it is, and the last one of a text; None where there is none.

    Of two different signs in a number the last is the decimal one; a single comma is, too, unless three digits follow
    it; a single point always is. Units and currencies are not converted. A number that letters run into, as in
    ``m2``, counts only where there is no other.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Number(float(value)) if math.isfinite(value) else None
    if not isinstance(value, str):
        return None
    found = list(_numbers(_in_ascii(value)))
    apart = [number for number, is_glued in found if not is_glued] or [number for number, _ in found]
    return apart[-1] if apart else None


def _numbers(text: str) -> Iterator[tuple[Number, bool]]:
    """Yield the numbers of a text, each with whether a letter stands directly before it."""
    for match in _NUMBER.finditer(text):
        value = _value(match)
        if math.isfinite(value):
            sign = -1 if (match["sign"] or "").startswith("-") else 1
            before = text[match.start() - 1 : match.start()]
            yield Number(sign * value, match["percent"] is not None), before.isascii() and before.isalpha()


def _value(match: re.Match[str]) -> float:
    if match["top"] is not None:
        return int(match["whole"] or 0) + int(match["top"]) / int(match["bottom"])
    if match["power"] is not None:
        return float(f"1e{match['power']}")
    if match["spaced"] is not None:
        digits = match["spaced"].replace(match["gap"], "").replace(",", ".")
    elif match["english"] is not None:
        digits = match["english"].replace(",", "")
    elif match["continental"] is not None:
        digits = match["continental"].replace(".", "").replace(",", ".")
    else:
        digits = (match["comma"] or match["plain"]).replace(",", ".")
    return float(f"{digits}e{match['exponent'] or match['times'] or 0}")


def _in_ascii(text: str) -> str:
    """Spell every script's digits, fractions, powers of ten, and signs as ASCII does."""
    text = re.sub(r"(?<=10)[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda power: "^" + power.group().translate(_SUPERSCRIPTS), text)
    text = re.sub(r"[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+", "", text)  # of units, as in m²
    # A single sign for a half becomes " 1/2", so that 3½ is not 31/2.
    text = "".join(f" {char}" if unicodedata.decomposition(char).startswith("<fraction>") else char for char in text)
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"\d", lambda digit: str(unicodedata.decimal(digit.group())), text)
    return text.translate(_SIGNS)


_SIGNS = str.maketrans(
    {"−": "-", "–": "-", "⁄": "/", "∕": "/", "’": "'", "٫": ".", "٬": ",", "٪": "%"}
    | dict.fromkeys(_NARROW_SPACES, " ")
)
