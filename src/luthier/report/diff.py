"""Two texts side by side, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from luthier.report.html import Markup, el, join

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_WORDS = 4000
_LEAST_KEPT = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of text that is on both sides, or on one only."""

    before: str
    after: str

    @property
    def same(self) -> bool:
        """Whether both sides have it."""
        return self.before == self.after


def runs(before: str, after: str) -> tuple[Run, ...]:
    """Return the texts cut into runs; texts that have little in common are one changed run.

    Joining the sides of all runs gives the texts back.
    """
    left, right = _tokens(before), _tokens(after)
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    if before != after and _kept(matcher, left, right) < _LEAST_KEPT:
        return (Run(before, after),)
    cut = (Run("".join(left[i1:i2]), "".join(right[j1:j2])) for _, i1, i2, j1, j2 in matcher.get_opcodes())
    return tuple(_merged(cut))


def side_by_side(before: str, after: str) -> tuple[Markup, Markup]:
    """Return both texts as markup: what is gone in ``del``, what is new in ``ins``."""
    parts = runs(before, after)
    rewritten = len(parts) == 1 and not parts[0].same
    left = [run.before if run.same or rewritten else el("del", run.before) for run in parts if run.before]
    right = [run.after if run.same or rewritten else el("ins", run.after) for run in parts if run.after]
    return join(left), join(right)


def _tokens(text: str) -> list[str]:
    words = _WORDS.findall(text)
    return words if len(words) <= _MOST_WORDS else text.splitlines(keepends=True)


def _kept(matcher: SequenceMatcher[str], left: Sequence[str], right: Sequence[str]) -> float:
    """Return the share of the shorter text's words that the other has, too: a longer prompt may still hold it all."""
    shorter = min(_words(left), _words(right))
    blocks = matcher.get_matching_blocks()
    return sum(_words(left[block.a : block.a + block.size]) for block in blocks) / shorter if shorter else 0.0


def _words(tokens: Sequence[str]) -> int:
    return sum(token.strip() != "" and (token[0].isalnum() or len(token) > 1) for token in tokens)


def _merged(parts: Iterable[Run]) -> Sequence[Run]:
    """Join changes that only a blank or a stray short word keeps apart: confetti is hard to read."""
    merged: list[Run] = []
    for run in parts:
        small = run.same and len(run.before.strip()) <= 3
        if merged and not merged[-1].same and (small or not run.same):
            merged[-1] = Run(merged[-1].before + run.before, merged[-1].after + run.after)
        else:
            merged.append(run)
    return merged
