"""Replaying strategies on a recorded table: the instrument every search algorithm is measured with.

A replay seed splits the table's examples again into val, which the strategy sees, and test, by which its choice is
judged.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.replay.table import Table
from luthier.canonical import uniform_order
from luthier.search.space import Point, Space
from luthier.search.trial import Ask, Purpose, Strategy, Trial

VAL_SHARE = 0.45
_MOST_TRIALS = 5000


@dataclass(frozen=True, slots=True)
class Problem:
    """What a strategy is given."""

    space: Space
    """As it is at the start."""
    examples: tuple[str, ...]
    """The val examples, classes spread evenly."""
    seed: int

    def blocks(self, size: int) -> tuple[tuple[str, ...], ...]:
        """Return minibatches that cycle through all examples."""
        n, size = len(self.examples), min(size, len(self.examples))
        return tuple(tuple(self.examples[(i + j) % n] for j in range(size)) for i in range(0, math.lcm(n, size), size))


@dataclass(frozen=True, slots=True)
class Replayed:
    """How one replay ended, in shares of the test examples."""

    chosen: Point
    test: float
    """The chosen point's score."""
    gain: float
    """Over the original."""
    gap: float
    """How much better the point that is best on all of val does on test: what more evaluations would have brought."""
    evaluations: int
    """Spent by the search, the original's not counted."""
    minibatches: int
    """Trials on a part of val."""
    full: int
    """Trials on all of it."""
    curve: tuple[tuple[int, float], ...]
    """After so many evaluations, the test score of the best shown so far."""


Make = Callable[[Problem], Strategy]


def replay(table: Table, make: Make, seed: int) -> Replayed:
    """Run a strategy on the table to its end, as a study does with one trial at a time."""
    val, test = cut(table, seed)
    problem = Problem(table.space_at(0), val, seed)
    strategy = make(problem)
    original = table.space.original
    history = [_trial(table, 0, Ask(original, val, Purpose.FULL), prior=True)]
    spent, curve = 0, [(0, table.mean(original, test))]
    while True:
        number = len(history)
        ask = strategy.ask(table.space_at(number), history, (), random.Random(f"{seed}/{number}"))
        if ask is None:
            break
        history.append(_trial(table, number, ask))
        spent += len(ask.examples)
        if set(ask.examples) == set(val):
            curve.append((spent, table.mean(_chosen(history, val, original), test)))
        if number > _MOST_TRIALS:
            raise RuntimeError(f"{strategy!r} does not end")
    chosen = _chosen(history, val, original)
    score = table.mean(chosen, test)
    best = table.best(val)
    return Replayed(
        chosen=chosen,
        test=score,
        gain=score - table.mean(original, test),
        gap=table.mean(best, test) - score,
        evaluations=spent,
        minibatches=len(history) - len(curve),
        full=len(curve) - 1,
        curve=tuple(curve),
    )


def cut(table: Table, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return val and test examples, every class in both by its share; val spread so that minibatches are balanced."""
    by_class: dict[str, list[str]] = {}
    for example in sorted(table.examples, key=lambda example: uniform_order(seed, example)):
        by_class.setdefault(table.classes.get(example, ""), []).append(example)
    val: list[tuple[float, str]] = []
    test: list[str] = []
    for members in by_class.values():
        count = round(VAL_SHARE * len(members))
        val += [((i + 0.5) / max(1, count), example) for i, example in enumerate(members[:count])]
        test += members[count:]
    return tuple(example for _, example in sorted(val)), tuple(sorted(test))


def _trial(table: Table, number: int, ask: Ask, *, prior: bool = False) -> Trial:
    return Trial(number, ask, table.observe(ask), prior)


def _chosen(history: Sequence[Trial], val: Sequence[str], original: Point) -> Point:
    """As ``optimizers/choice`` does: the best mean among points scored on all of val; ties go to the original."""
    everything = set(val)
    full = [trial for trial in history if set(trial.ask.examples) == everything]
    best = max(full, key=lambda trial: (trial.mean, trial.ask.point == original, -trial.number))
    return best.ask.point
