"""How the points stand: means over unequal, overlapping sets of examples, made comparable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.search.space import Point, Space
from luthier.search.trial import Ask, Purpose, Trial

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EXAMPLE_SHRINKAGE = 1.0
"""Prior observations of an average example: examples differ much, so they are trusted soon."""
_LEVEL_SHRINKAGE = 8.0
"""Prior observations of an average level of a variable: what a level brings is shared by all points that have it."""
_POINT_SHRINKAGE = 16.0
"""Prior observations of a point that is the sum of its levels: a lucky few examples must not win."""
_SWEEPS = 30
_ERRORS_THAT_DROP = 3


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


def predicted_best(history: Sequence[Trial], space: Space) -> Point | None:
    """Return the point whose levels, each by itself, stand best; a level never seen counts as an average one.

    None before anything was observed. Ties go to the level that comes first, so to the original's.
    """
    cells = _cells(history)
    if not cells:
        return None
    levels = _fit(cells).levels
    return Point(
        {
            variable.name: max(variable.levels, key=lambda level: levels.get((variable.name, level), 0.0))
            for variable in space.variables
        }
    )


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


def dropped(history: Iterable[Trial]) -> set[Point]:
    """Return the points that raised three times: never asked again, and never chosen.

    An example on which the original raises, too, counts against nobody; nor is the original ever dropped.
    """
    history = list(history)
    excused = {o.example for trial in history if trial.prior for o in trial.observations if o.outcome == "error"}
    errors: dict[Point, set[tuple[str, int]]] = {}
    for trial in history:
        for o in trial.observations:
            if o.outcome == "error" and o.example not in excused:
                errors.setdefault(o.point, set()).add((o.example, o.repeat))
    return {point for point, cells in errors.items() if len(cells) >= _ERRORS_THAT_DROP}


_Cell = tuple[Point, str, int]


def _cells(history: Iterable[Trial]) -> dict[_Cell, float]:
    # A full evaluation repeats draws of the minibatches before it: each draw counts once.
    return {(o.point, o.example, o.repeat): o.value for trial in history for o in trial.observations}


@dataclass(frozen=True, slots=True)
class _Effects:
    level: float
    points: Mapping[Point, float]
    examples: Mapping[str, float]
    levels: Mapping[tuple[str, str], float]
    """By variable and level."""


def _fit(cells: Mapping[_Cell, float]) -> _Effects:
    """Fit value = mean + example + one effect per variable's level + what is the point's own, by backfitting.

    Every effect is shrunk towards zero by its count. So credit goes to levels, from all points that share them,
    and only what levels cannot explain is credited to a point by itself.
    """
    import numpy as np

    points = {point: i for i, point in enumerate(dict.fromkeys(point for point, _, _ in cells))}
    examples = {example: i for i, example in enumerate(dict.fromkeys(example for _, example, _ in cells))}
    rows = np.fromiter((points[point] for point, _, _ in cells), dtype=np.intp, count=len(cells))
    columns = np.fromiter((examples[example] for _, example, _ in cells), dtype=np.intp, count=len(cells))
    values = np.fromiter(cells.values(), dtype=float, count=len(cells))
    # Groups of cells: by example, by the level of each variable, and by point.
    groups = [(columns, len(examples), _EXAMPLE_SHRINKAGE)]
    factors = _factors(list(points))
    groups += [(factor.of_point[rows], len(factor.levels), _LEVEL_SHRINKAGE) for factor in factors]
    groups.append((rows, len(points), _POINT_SHRINKAGE))
    effects = [np.zeros(count) for _, count, _ in groups]
    mean = float(values.mean())
    residual = values - mean
    for _ in range(_SWEEPS):
        for i, (index, count, shrinkage) in enumerate(groups):
            residual += effects[i][index]
            effects[i] = _shrunk_means(index, residual, count, shrinkage)
            residual -= effects[i][index]
        shift = float(residual.mean())
        mean += shift
        residual -= shift
    of_example = effects[0]
    of_point = effects[-1] + sum(
        (effect[factor.of_point] for effect, factor in zip(effects[1:-1], factors, strict=True)),
        np.zeros(len(points)),
    )
    return _Effects(
        mean,
        dict(zip(points, of_point.tolist(), strict=True)),
        dict(zip(examples, of_example.tolist(), strict=True)),
        {
            (factor.name, level): float(effect[i])
            for effect, factor in zip(effects[1:-1], factors, strict=True)
            for i, level in enumerate(factor.levels)
        },
    )


@dataclass(frozen=True, slots=True)
class _Factor:
    """A variable on which the observed points differ."""

    name: str
    levels: tuple[str, ...]
    of_point: NDArray[np.intp]
    """Each point's level, as an index."""


def _factors(points: Sequence[Point]) -> list[_Factor]:
    import numpy as np

    found = []
    for name in points[0]:
        index = {level: i for i, level in enumerate(dict.fromkeys(point[name] for point in points))}
        if len(index) > 1:
            of_point = np.array([index[point[name]] for point in points], dtype=np.intp)
            found.append(_Factor(name, tuple(index), of_point))
    return found


def _shrunk_means(
    groups: NDArray[np.intp], residuals: NDArray[np.float64], count: int, shrinkage: float
) -> NDArray[Any]:
    import numpy as np

    sums = np.bincount(groups, weights=residuals, minlength=count)
    return np.asarray(sums / (np.bincount(groups, minlength=count) + shrinkage))
