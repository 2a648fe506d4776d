"""How the points stand: means over unequal, overlapping sets of examples, made comparable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.search.space import Point
from luthier.search.trial import Ask, Purpose, Trial

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EXAMPLE_SHRINKAGE = 1.0
"""Prior observations of an average example: examples differ much, so they are trusted soon."""
_POINT_SHRINKAGE = 8.0
"""Prior observations of an average point: points differ little, so a lucky few examples must not win."""
_SWEEPS = 30


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one point."""

    point: Point
    n: int
    """Distinct (example, repeat) pairs observed."""
    mean: float
    """Plain mean over them."""
    shrunk: float
    """Mean with the examples' difficulty taken out, drawn towards the average point by ``n``."""


def standings(history: Sequence[Trial]) -> dict[Point, Standing]:
    """Return how every observed point stands, best shrunken mean first; ties in order of first appearance."""
    cells = _cells(history)
    if not cells:
        return {}
    effects = _fit(cells)
    values: dict[Point, list[float]] = {}
    for (point, _, _), value in cells.items():
        values.setdefault(point, []).append(value)
    rows = [
        Standing(point, len(mine), sum(mine) / len(mine), effects.level + effects.points[point])
        for point, mine in values.items()
    ]
    return {row.point: row for row in sorted(rows, key=lambda row: -row.shrunk)}


def adjusted_means(history: Sequence[Trial]) -> list[float]:
    """Return every trial's mean with the difficulty of its examples taken out (fairer between blocks)."""
    cells = _cells(history)
    if not cells:
        return []
    examples = _fit(cells).examples
    return [
        sum(o.value - examples[o.example] for o in trial.observations) / len(trial.observations) for trial in history
    ]


def seen_examples(history: Iterable[Trial]) -> dict[Point, set[str]]:
    """Return the examples every point has been observed on."""
    seen: dict[Point, set[str]] = {}
    for trial in history:
        seen.setdefault(trial.ask.point, set()).update(o.example for o in trial.observations)
    return seen


def fully_evaluated(history: Iterable[Trial], pending: Iterable[Ask] = ()) -> set[Point]:
    """Return the points with a FULL trial, told or pending."""
    told = {trial.ask.point for trial in history if trial.ask.purpose is Purpose.FULL}
    return told | {ask.point for ask in pending if ask.purpose is Purpose.FULL}


_Cell = tuple[Point, str, int]


def _cells(history: Iterable[Trial]) -> dict[_Cell, float]:
    # A full evaluation repeats draws of the minibatches before it: each draw counts once.
    return {(o.point, o.example, o.repeat): o.value for trial in history for o in trial.observations}


@dataclass(frozen=True, slots=True)
class _Effects:
    level: float
    points: Mapping[Point, float]
    examples: Mapping[str, float]


def _fit(cells: Mapping[_Cell, float]) -> _Effects:
    """Fit value = level + point + example by backfitting, both effects shrunk towards zero by their counts."""
    import numpy as np

    points = {point: i for i, point in enumerate(dict.fromkeys(point for point, _, _ in cells))}
    examples = {example: i for i, example in enumerate(dict.fromkeys(example for _, example, _ in cells))}
    rows = np.fromiter((points[point] for point, _, _ in cells), dtype=np.intp, count=len(cells))
    columns = np.fromiter((examples[example] for _, example, _ in cells), dtype=np.intp, count=len(cells))
    values = np.fromiter(cells.values(), dtype=float, count=len(cells))
    of_point, of_example = np.zeros(len(points)), np.zeros(len(examples))
    level = float(values.mean())
    for _ in range(_SWEEPS):
        of_example = _shrunk_means(columns, values - level - of_point[rows], len(examples), _EXAMPLE_SHRINKAGE)
        of_point = _shrunk_means(rows, values - level - of_example[columns], len(points), _POINT_SHRINKAGE)
        level = float((values - of_point[rows] - of_example[columns]).mean())
    return _Effects(
        level,
        dict(zip(points, of_point.tolist(), strict=True)),
        dict(zip(examples, of_example.tolist(), strict=True)),
    )


def _shrunk_means(
    groups: NDArray[np.intp], residuals: NDArray[np.float64], count: int, shrinkage: float
) -> NDArray[Any]:
    import numpy as np

    sums = np.bincount(groups, weights=residuals, minlength=count)
    return np.asarray(sums / (np.bincount(groups, minlength=count) + shrinkage))
