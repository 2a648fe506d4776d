"""Numbers as people read them."""

from __future__ import annotations

import math
import re
from datetime import datetime

from luthier.study.events import Event

# Control characters break files and drive terminals; bidirectional overrides make text lie about its order.
_UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def showable(text: object) -> str:
    """Return a text without characters that do something other than show."""
    return _UNSHOWABLE.sub("\ufffd", str(text))


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as a percentage, a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"


def points(value: float, digits: int = 1) -> str:
    """Return a difference of shares as signed percentage points, with a real minus sign."""
    return f"{100 * value:+.{digits}f}".replace("-", "−")


def count(value: float | None) -> str:
    """Return a count with thin spaces between thousands; from ten millions on in millions."""
    if value is None:
        return "–"
    if abs(value) >= 1e7:
        return f"{value / 1e6:.1f} M"
    return f"{value:,.0f}".replace(",", "\u202f")


def dollars(value: float | None) -> str:
    """Return an amount of US dollars, small ones with more digits."""
    if value is None:
        return "–"
    return f"${value:.2f}" if value >= 1 or value == 0 else f"${value:.4f}"


def duration(seconds: float | None) -> str:
    """Return a duration in its two largest units."""
    if seconds is None or math.isnan(seconds):
        return "–"
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {left:02d} s" if minutes else f"{left} s"


def short_id(value: str) -> str:
    """Return the head of a content hash, which is enough to tell examples apart."""
    head, _, digits = value.partition(":")
    return digits[:8] if digits and head == "b2" else value[:24]


def moment(event: Event) -> datetime | None:
    """Return when an event was written, None where it does not say so."""
    try:
        return datetime.fromisoformat(event.time)
    except ValueError:
        return None


def plural(n: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun."""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"
