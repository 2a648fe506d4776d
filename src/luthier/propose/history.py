"""Earlier instructions with their scores, as a proposer is shown them (MIPRO §4.2, F.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class ScoredInstruction(NamedTuple):
    """An instruction and the score of a trial that used it."""

    text: str
    score: float


def best_instructions(history: Iterable[ScoredInstruction], top: int = 5) -> list[ScoredInstruction]:
    """Return the ``top`` instructions by mean score over all trials that used them, worst first (MIPRO F.2)."""
    scores: dict[str, list[float]] = {}
    for text, score in history:
        scores.setdefault(text, []).append(score)
    means = [ScoredInstruction(text, sum(own) / len(own)) for text, own in scores.items()]
    # The text breaks ties, so that the order in which trials came does not matter.
    best = sorted(means, key=lambda item: (-item.score, item.text))[: max(0, top)]
    return best[::-1]


def format_history(history: Iterable[ScoredInstruction], top: int = 5) -> str:
    """Return the best instructions, one a line with its score, ascending; empty where there are none."""
    return "\n".join(
        f"{' '.join(text.split())} | score: {score:.3f}" for text, score in best_instructions(history, top)
    )
