"""Answers that came, but not as they should, summed up and put in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def sum_problems(counts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Add counts up."""
    total: dict[str, dict[str, int]] = {}
    for one in counts:
        for predictor, kinds in one.items():
            mine = total.setdefault(predictor, {})
            for kind, n in kinds.items():
                mine[kind] = mine.get(kind, 0) + n
    return total


def say_problems(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return counts as a sentence, e.g. ``queue: 3 cut off by the length limit, 1 refused``."""
    return "; ".join(
        f"{predictor}: {', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}"
        for predictor, kinds in sorted(counts.items())
    )
