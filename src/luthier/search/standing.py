"""How the points stand: means over unequal, overlapping sets of examples, made comparable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    table = _Table.of(history)
    if not table.values:
        return {}
    effects = _fit(table)
    values: dict[int, list[float]] = {}
    for row, value in zip(table.rows, table.values, strict=True):
        values.setdefault(row, []).append(value)
    rows = [
        Standing(point, len(mine), sum(mine) / len(mine), effects.level + effects.points[point])
        for point, mine in zip(table.points, values.values(), strict=True)
    ]
    return {row.point: row for row in sorted(rows, key=lambda row: -row.shrunk)}


def predicted_best(history: Sequence[Trial], space: Space) -> Point | None:
    """Return the point whose levels, each by itself, stand best; a level never seen counts as an average one.

    None before anything was observed. Ties go to the level that comes first, so to the original's.
    """
    table = _Table.of(history)
    if not table.values:
        return None
    levels = _fit(table).levels
    return Point(
        {
            variable.name: max(variable.levels, key=lambda level: levels.get((variable.name, level), 0.0))
            for variable in space.variables
        }
    )


def adjusted_means(history: Sequence[Trial]) -> list[float]:
    """Return every trial's mean with the difficulty of its examples taken out (fairer between blocks)."""
    table = _Table.of(history)
    if not table.values:
        return []
    examples = _fit(table).examples
    return [
        sum([o.value - examples[o.example] for o in trial.observations]) / len(trial.observations) for trial in history
    ]


def seen_examples(history: Iterable[Trial]) -> dict[Point, set[str]]:
    """Return the examples every point has been observed on."""
    seen: dict[Point, set[str]] = {}
    for trial in history:
        seen.setdefault(trial.ask.point, set()).update([o.example for o in trial.observations])
    return seen


def fully_evaluated(history: Iterable[Trial], pending: Iterable[Ask] = ()) -> set[Point]:
    """Return the points with a FULL trial, told or pending."""
    told = {trial.ask.point for trial in history if trial.ask.purpose is Purpose.FULL}
    return told | {ask.point for ask in pending if ask.purpose is Purpose.FULL}


def dropped(history: Iterable[Trial]) -> set[Point]:
    """Return the points that raised or were refused three times: never asked again, and never chosen.

    An example on which the original is, too, counts against nobody; nor is the original ever dropped.
    """
    history = list(history)
    excused = {o.example for trial in history if trial.prior for o in trial.observations if o.disqualifies}
    errors: dict[Point, set[tuple[str, int]]] = {}
    for trial in history:
        for o in trial.observations:
            if o.disqualifies and o.example not in excused:
                errors.setdefault(o.point, set()).add((o.example, o.repeat))
    return {point for point, cells in errors.items() if len(cells) >= _ERRORS_THAT_DROP}


@dataclass(frozen=True, slots=True)
class _Table:
    """What was observed, by cell: a point on an example in a repeat."""

    points: Mapping[Point, int]
    """Their rows."""
    examples: Mapping[str, int]
    """Their columns."""
    rows: Sequence[int]
    columns: Sequence[int]
    values: Sequence[float]

    @staticmethod
    def of(history: Iterable[Trial]) -> _Table:
        # A full evaluation repeats draws of the minibatches before it: each draw counts once, as it came last.
        # Written for speed: every ask reads the whole history, and hashing a point is dear.
        points: dict[Point, int] = {}
        examples: dict[str, int] = {}
        cells: dict[tuple[int, int, int], float] = {}
        for trial in history:
            row = points.setdefault(trial.ask.point, len(points))
            for o in trial.observations:
                cells[row, examples.setdefault(o.example, len(examples)), o.repeat] = o.value
        return _Table(points, examples, [row for row, _, _ in cells], [n for _, n, _ in cells], list(cells.values()))


@dataclass(frozen=True, slots=True)
class _Effects:
    level: float
    points: Mapping[Point, float]
    examples: Mapping[str, float]
    levels: Mapping[tuple[str, str], float]
    """By variable and level."""


def _fit(table: _Table) -> _Effects:
    """Fit value = mean + example + one effect per variable's level + what is the point's own, by backfitting.

    Every effect is shrunk towards zero by its count. So credit goes to levels, from all points that share them,
    and only what levels cannot explain is credited to a point by itself. All but the examples' effects are the same
    for all cells of a point, so they are fitted to sums over its cells.
    """
    import numpy as np

    rows, columns = np.array(table.rows, dtype=np.intp), np.array(table.columns, dtype=np.intp)
    values = np.array(table.values, dtype=float)
    width, height = len(table.examples), len(table.points)
    cells = np.bincount(rows, minlength=height).astype(float)  # of each point
    factors = _factors(list(table.points))
    groups = [(factor.of_point, len(factor.levels), _LEVEL_SHRINKAGE) for factor in factors]
    groups.append((np.arange(height), height, _POINT_SHRINKAGE))
    weights = [np.bincount(index, weights=cells, minlength=count) + shrunk for index, count, shrunk in groups]
    effects = [np.zeros(count) for _, count, _ in groups]
    mean = float(values.mean())
    of_point, of_example = np.zeros(height), np.zeros(width)
    told = np.bincount(columns, weights=values, minlength=width), np.bincount(columns, minlength=width)
    for _ in range(_SWEEPS):
        explained = mean * told[1] + np.bincount(columns, weights=of_point[rows], minlength=width)
        of_example = (told[0] - explained) / (told[1] + _EXAMPLE_SHRINKAGE)
        sums = np.bincount(rows, weights=values - mean - of_example[columns], minlength=height)
        for i, (index, count, _) in enumerate(groups):
            of_point = of_point - effects[i][index]
            left = np.bincount(index, weights=sums - cells * of_point, minlength=count)
            effects[i] = left / weights[i]
            of_point = of_point + effects[i][index]
        mean += float((sums - cells * of_point).sum() / len(values))
    return _Effects(
        mean,
        dict(zip(table.points, of_point.tolist(), strict=True)),
        dict(zip(table.examples, of_example.tolist(), strict=True)),
        {
            (factor.name, level): float(effect[i])
            for effect, factor in zip(effects, factors, strict=False)  # the last effects are the points' own
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
