"""Schedules: which points are seen on a few examples, and which in full."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from luthier.search.space import Point, Space
from luthier.search.standing import dropped, fully_evaluated, predicted_best, seen_examples, standings
from luthier.search.trial import Ask, Purpose, Suggest, Trial, in_order

MIN_MINIBATCH, MAX_MINIBATCH = 6, 25
MIN_TRIALS = 16
"""Below this many minibatch trials, successive halving does better than a surrogate."""


def minibatch_size(budget: int, n_val: int, variables: int, closing: int) -> int:
    """Return how many examples a trial should see (``budget`` in rollouts, closing evaluations reserved first).

    A quarter of an even share per variable, so that each gets about four trials; but never so
    large that fewer than sixteen trials fit, where six examples still can be had.
    """
    explore = budget - closing * n_val
    share = explore // (4 * max(variables, MIN_TRIALS // 4))
    return min(max(share, MIN_MINIBATCH), MAX_MINIBATCH, n_val)


def trials_for(budget: int, n_val: int, minibatch: int, closing: int) -> int:
    """Return how many minibatch trials fit beside ``closing`` full evaluations; below `MIN_TRIALS`, halve instead."""
    return max(0, (budget - closing * n_val) // minibatch)


def paper_trials(full_evaluations: float, n_train: int, minibatch: int, full_every: int) -> int:
    """Return T_mb, the minibatch trials that a budget of so many full evaluations buys (MIPRO, released code)."""
    # floor(T·|D| / (B + |D| / S)), in integers so that no rounding decides.
    evaluations = round(full_evaluations * n_train)
    return evaluations * full_every // (minibatch * full_every + n_train)


def batch_size(minibatch: int, trials: int) -> int:
    """Return how many trials run side by side: enough to fill 64 connections, at most a twentieth of all."""
    return max(1, min(-(-64 // minibatch), trials // 20))


@dataclass(frozen=True, slots=True)
class FullSchedule:
    """Every trial on all examples (MIPRO §4.1, random search)."""

    suggest: Suggest
    examples: tuple[str, ...]
    trials: int

    def ask(self, space: Space, history: Sequence[Trial], pending: Sequence[Ask], rng: random.Random) -> Ask | None:
        """Return a full evaluation of a point that has none, until ``trials`` were asked."""
        if _count(history, pending, Purpose.FULL) >= self.trials:
            return None
        closed = fully_evaluated(history, pending)
        point = self.suggest.suggest(space, in_order(history), pending, rng, closed)
        return None if point is None else Ask(point, self.examples, Purpose.FULL)


@dataclass(frozen=True, slots=True)
class MinibatchSchedule:
    """Trials on minibatches, and full evaluations of the most promising points.

    The paper's (MIPRO §4.3): ``full_every=S, first_full=True, closing=0``: after every S-th
    minibatch trial, from the first, the best mean among points without a full evaluation gets one.
    Ours: ``full_every=None, closing=2`` or ``3``: the full evaluations come last, on the best shrunken means.

    Attributes:
        suggest: chooses the points.
        examples: all validation examples.
        blocks: minibatches; every point of a batch is given the same one.
        trials: how many minibatch trials there are; full evaluations are counted apart.
        full_every: minibatch trials between two full evaluations; None: none on the way.
        closing: full evaluations at the end.
        first_full: whether the first full evaluation follows the first trial, not the S-th.
        batch: how many asks are evaluated side by side.
        anchors: points to begin with, before ``suggest`` chooses.
        credit: whether the closing points are those whose levels did best, met together or not; without it, the best
            plain means of points that were drawn.
    """

    suggest: Suggest
    examples: tuple[str, ...]
    blocks: tuple[tuple[str, ...], ...]
    trials: int
    full_every: int | None = None
    closing: int = 0
    first_full: bool = False
    batch: int = 1
    anchors: tuple[Point, ...] = ()
    credit: bool = True

    def ask(self, space: Space, history: Sequence[Trial], pending: Sequence[Ask], rng: random.Random) -> Ask | None:
        """Return a full evaluation where one is due, else a minibatch trial, else a closing full evaluation."""
        history = in_order(history)
        if self._full_is_due(history, pending):
            # The paper's ranking: the plain mean over all that was observed.
            best = best_partial(history, pending, shrunken=False)
            if best is not None:
                return Ask(best, self.examples, Purpose.FULL)
        if _count(history, pending, Purpose.EXPLORE) < self.trials:
            point = self._explore(space, history, pending, rng)
            if point is not None:
                return Ask(point, self._minibatch(point, history), Purpose.EXPLORE)
        return self._close(space, history, pending)

    def _full_is_due(self, history: Sequence[Trial], pending: Sequence[Ask]) -> bool:
        if self.full_every is None:
            return False
        told = _count(history, (), Purpose.EXPLORE)
        if self.closing and told >= self.trials:
            return False  # the closing evaluations are due anyway
        since = max(_explored_before_last_full(history, pending), told - self.batch)
        return any(self._is_slot(count) for count in range(since + 1, told + 1))

    def _is_slot(self, explored: int) -> bool:
        # In the paper's count from zero, trial t is followed by a full evaluation where t % S == 0.
        return (explored - 1 if self.first_full else explored) % (self.full_every or 1) == 0

    def _explore(
        self, space: Space, history: Sequence[Trial], pending: Sequence[Ask], rng: random.Random
    ) -> Point | None:
        asked = {trial.ask.point for trial in history} | {ask.point for ask in pending}
        anchor = next((point for point in self.anchors if point not in asked), None)
        if anchor is not None:
            return anchor
        in_blocks = {example for block in self.blocks for example in block}
        return self.suggest.suggest(space, history, pending, rng, closed_points(history, pending, in_blocks))

    def _minibatch(self, point: Point, history: Sequence[Trial]) -> tuple[str, ...]:
        # What was told is the same for a whole batch, so its points share a block.
        block = -(-_count(history, (), Purpose.EXPLORE) // self.batch) % len(self.blocks)
        seen = seen_examples(trial for trial in history if trial.ask.point == point).get(point, set())
        return tuple(islice(_unseen(self.blocks, block, seen), len(self.blocks[block])))

    def _close(self, space: Space, history: Sequence[Trial], pending: Sequence[Ask]) -> Ask | None:
        if any(ask.purpose is Purpose.EXPLORE for ask in pending):
            return None  # they may be the best
        closed = _full_since_last_explore(history, pending)
        if closed >= self.closing:
            return None
        best = best_partial(history, pending, shrunken=self.credit)
        if closed == 0 and self.closing > 1 and self.credit:
            # One full evaluation goes to the point that combines the best levels, met together or not.
            combined = predicted_best(history, space)
            if combined is not None and combined not in fully_evaluated(history, pending) | dropped(history):
                best = combined
        return None if best is None else Ask(best, self.examples, Purpose.FULL)


def closed_points(history: Sequence[Trial], pending: Sequence[Ask], examples: Collection[str]) -> set[Point]:
    """Return the points with nothing left to see: fully evaluated, seen on every example bit by bit, or dropped."""
    everything = set(examples)
    complete = {point for point, seen in seen_examples(history).items() if everything <= seen}
    return complete | fully_evaluated(history, pending) | dropped(history)


def best_partial(history: Sequence[Trial], pending: Sequence[Ask], *, shrunken: bool) -> Point | None:
    """Return the most promising point without a full evaluation, told or pending.

    Ties go to the better shrunken mean, then to the first seen.
    """
    done = fully_evaluated(history, pending) | dropped(history)
    rows = [row for point, row in standings(history).items() if point not in done]
    if not rows:
        return None
    return max(rows, key=lambda row: row.shrunk if shrunken else row.mean).point


def _unseen(blocks: Sequence[Sequence[str]], start: int, seen: set[str]) -> Iterator[str]:
    """Yield the examples from block ``start`` on, round once, each once, without those ``seen``."""
    given = set(seen)
    for offset in range(len(blocks)):
        for example in blocks[(start + offset) % len(blocks)]:
            if example not in given:
                given.add(example)
                yield example


def _count(history: Iterable[Trial], pending: Iterable[Ask], purpose: Purpose) -> int:
    told = sum(trial.ask.purpose is purpose and not trial.prior for trial in history)
    return told + sum(ask.purpose is purpose for ask in pending)


def _asked(history: Sequence[Trial], pending: Sequence[Ask]) -> list[Purpose]:
    return [trial.ask.purpose for trial in history if not trial.prior] + [ask.purpose for ask in pending]


def _explored_before_last_full(history: Sequence[Trial], pending: Sequence[Ask]) -> int:
    purposes = _asked(history, ())
    if any(ask.purpose is Purpose.FULL for ask in pending):
        return purposes.count(Purpose.EXPLORE)
    last = max((i for i, purpose in enumerate(purposes) if purpose is Purpose.FULL), default=0)
    return purposes[:last].count(Purpose.EXPLORE)


def _full_since_last_explore(history: Sequence[Trial], pending: Sequence[Ask]) -> int:
    purposes = _asked(history, pending)
    last = max((i for i, purpose in enumerate(purposes) if purpose is Purpose.EXPLORE), default=-1)
    return purposes[last + 1 :].count(Purpose.FULL)
