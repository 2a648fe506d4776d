"""What strategies find on tables, over many seeds: their means with intervals, and how often they are fooled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist, mean, stdev

from benchmarks.replay.replay import Problem, Replayed, cut, replay
from benchmarks.replay.strategies import Make
from benchmarks.replay.table import OutcomeTable, Table
from luthier.evaluation.stats import Interval, paired, wilson
from luthier.search.trial import Strategy

REFERENCE = "random, minibatch 10"
"""What every strategy is compared with, seed by seed."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one strategy found, over seeds."""

    strategy: str
    replays: tuple[Replayed, ...]

    @property
    def test(self) -> float:
        """Mean test score of the choice."""
        return mean(replayed.test for replayed in self.replays)

    @property
    def gain(self) -> float:
        """Mean gain over the original on test."""
        return mean(replayed.gain for replayed in self.replays)

    @property
    def gap(self) -> float:
        """Mean distance, on test, to the point that is best on val."""
        return mean(replayed.gap for replayed in self.replays)

    @property
    def evaluations(self) -> float:
        """Mean evaluations spent."""
        return mean(replayed.evaluations for replayed in self.replays)

    @property
    def trials(self) -> tuple[float, float]:
        """Mean trials on minibatches and on all of val."""
        return mean(replayed.minibatches for replayed in self.replays), mean(replayed.full for replayed in self.replays)

    def minus(self, other: Found) -> Interval:
        """Return the interval of the mean difference to another strategy on the same seeds (normal, 95 %)."""
        return interval([a.test - b.test for a, b in zip(self.replays, other.replays, strict=True)])

    def curve(self, points: int = 40) -> list[tuple[float, float, float, float]]:
        """Return evaluations, mean test score of the best shown so far, and its 95 % interval."""
        most = max(replayed.evaluations for replayed in self.replays)
        told = []
        for step in range(points + 1):
            spent = most * step / points
            values = [next(score for at, score in reversed(r.curve) if at <= spent) for r in self.replays]
            low, high = interval(values)
            told.append((spent, mean(values), low, high))
        return told


def compare(
    tables: Sequence[Table], strategies: Mapping[str, Make], *, evaluations: int, seeds: int
) -> dict[str, Found]:
    """Replay every strategy with every seed; of several tables, seed ``i`` takes the ``i``-th, round and round.

    Args:
        tables: one recorded table, or one synthetic table a seed.
        strategies: by name.
        evaluations: that each may spend.
        seeds: how many.
    """
    found = {}
    for name, make in strategies.items():
        spending = partial(_spending, make, evaluations)
        replays = [replay(tables[seed % len(tables)], spending, seed) for seed in range(seeds)]
        found[name] = Found(name, tuple(replays))
    return found


def false_adopts(tables: Sequence[Table], make: Make, *, evaluations: int) -> tuple[int, int, Interval]:
    """Return on how many null tables a study would adopt its choice, of how many, and the rate's 95 % interval.

    Adopted is what the verdict adopts: the paired interval on test lies above zero.
    """
    adopted = 0
    for seed, table in enumerate(tables):
        _, test = cut(table, seed)
        replayed = replay(table, partial(_spending, make, evaluations), seed)
        original, chosen = table.space.original, replayed.chosen
        scores = [{e: table.mean(point, [e]) for e in test} for point in (original, chosen)]
        adopted += paired(*scores).low > 0
    return adopted, len(tables), wilson(adopted, len(tables))


def variance_shares(table: OutcomeTable) -> dict[str, float]:
    """Return which share of the outcomes' variance is due to what; the shares add up to one.

    By sums of squares of the balanced table: ``variables`` (each by itself), ``pairs`` (any two beyond that),
    ``candidate`` (what is left between candidates), ``class``, ``example`` (within its class), ``candidate x class``,
    ``residual`` (candidate x example, noise included).
    """
    import numpy as np

    values = np.array([[table.mean(point, [example]) for example in table.examples] for point in table.points])
    total = float(((values - values.mean()) ** 2).sum()) or 1.0
    points, examples = values.mean(axis=1), values.mean(axis=0)
    grand = float(values.mean())
    shape = [len(variable.levels) for variable in table.space.variables]
    grid = points.reshape(shape) - grand
    axes = range(len(shape))
    alone = {i: grid.mean(axis=tuple(a for a in axes if a != i), keepdims=True) for i in axes}
    variables = sum(float((np.broadcast_to(effect, shape) ** 2).sum()) for effect in alone.values())
    pairs = 0.0
    for i in axes:
        for j in range(i + 1, len(shape)):
            both = grid.mean(axis=tuple(a for a in axes if a not in (i, j)), keepdims=True) - alone[i] - alone[j]
            pairs += float((np.broadcast_to(both, shape) ** 2).sum())
    width = len(table.examples)
    classes = np.array([table.classes.get(example, "") for example in table.examples])
    between = within = crossed = 0.0
    for name in sorted(set(classes.tolist())):
        mine = classes == name
        of_class = float(examples[mine].mean())
        between += mine.sum() * (of_class - grand) ** 2
        within += float(((examples[mine] - of_class) ** 2).sum())
        cells = values[:, mine].mean(axis=1) - points - of_class + grand
        crossed += float(mine.sum() * (cells**2).sum())
    height = len(table.points)
    shares = {
        "variables": variables * width / total,
        "pairs": pairs * width / total,
        "candidate": float((grid**2).sum()) * width / total - (variables + pairs) * width / total,
        "class": between * height / total,
        "example": within * height / total,
        "candidate x class": crossed / total,
    }
    return {**shares, "residual": 1.0 - sum(shares.values())}


def _spending(make: Make, evaluations: int, problem: Problem) -> Strategy:
    return make(problem, evaluations)


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return the normal interval of a mean over seeds; the point itself where there is one value."""
    middle = mean(values)
    if len(values) < 2:
        return Interval(middle, middle)
    half = NormalDist().inv_cdf(0.5 + level / 2) * stdev(values) / math.sqrt(len(values))
    return Interval(middle - half, middle + half)
