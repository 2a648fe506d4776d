"""Successive halving: many points on few examples, fewer on more, the last ones on all."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from luthier.search.schedule import MIN_MINIBATCH, best_partial
from luthier.search.space import Space
from luthier.search.standing import dropped, seen_examples, standings
from luthier.search.trial import Ask, Purpose, Suggest, Trial, in_order

ETA = 3
"""One in so many points goes on to the next rung."""


@dataclass(frozen=True, slots=True)
class Rung:
    """So many points, each on every example before position ``upto`` of the common order."""

    points: int
    upto: int


@dataclass(frozen=True, slots=True)
class SuccessiveHalving:
    """For budgets too small for a surrogate: halve on common, growing blocks of examples, close in full.

    Attributes:
        suggest: chooses the points of the first rung.
        examples: all validation examples.
        blocks: minibatches; put in a row, they are the order in which points see examples.
        budget: rollouts before the closing full evaluations.
        closing: full evaluations at the end.
        eta: the best of so many go on to the next rung.
        smallest: examples of the first rung.
    """

    suggest: Suggest
    examples: tuple[str, ...]
    blocks: tuple[tuple[str, ...], ...]
    budget: int
    closing: int
    eta: int = ETA
    smallest: int = MIN_MINIBATCH

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The rungs this budget pays for."""
        return plan_rungs(self.budget, len(self._order), self.closing, eta=self.eta, smallest=self.smallest)

    @property
    def _order(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(example for block in self.blocks for example in block))

    def ask(self, space: Space, history: Sequence[Trial], pending: Sequence[Ask], rng: random.Random) -> Ask | None:
        """Return a new point for the first rung, else the next race of a later rung, else a closing evaluation."""
        history = in_order(history)
        own = [trial for trial in history if not trial.prior]
        asked = [trial.ask for trial in own] + list(pending)
        explored = sum(ask.purpose is Purpose.EXPLORE for ask in asked)
        if self.rungs and explored < self.rungs[0].points:
            known = {*seen_examples(history), *(ask.point for ask in pending)}
            point = self.suggest.suggest(space, history, pending, rng, known)
            if point is not None:
                return Ask(point, self._order[: self.rungs[0].upto], Purpose.EXPLORE)
        sizes = [min(rung.points, explored) for rung in self.rungs]
        ends = list(accumulate(sizes))
        for rung in range(1, len(self.rungs)):
            if len(asked) < ends[rung]:
                return self._race(rung, sizes, own[: ends[rung - 1]], asked[ends[rung - 1] :], len(own))
        return self._close(history, pending, len(asked) - (ends[-1] if ends else 0))

    def _race(
        self, rung: int, sizes: Sequence[int], before: Sequence[Trial], racing: Sequence[Ask], told: int
    ) -> Ask | None:
        if len(before) < sum(sizes[:rung]):
            return None  # the rung below is not told in full
        below = {trial.ask.point for trial in before[-sizes[rung - 1] :]}
        broken = dropped(before)
        best = sorted((point for point in standings(before) if point in below), key=broken.__contains__)[: sizes[rung]]
        started = {ask.point for ask in racing}
        point = next(point for point in best if point not in started)
        examples = self._order[self.rungs[rung - 1].upto : self.rungs[rung].upto]
        return Ask(point, examples, Purpose.RACE)

    def _close(self, history: Sequence[Trial], pending: Sequence[Ask], closed: int) -> Ask | None:
        if closed >= self.closing or any(ask.purpose is not Purpose.FULL for ask in pending):
            return None
        best = best_partial(history, pending, shrunken=True)
        return None if best is None else Ask(best, self.examples, Purpose.FULL)


def plan_rungs(
    budget: int, examples: int, closing: int, *, eta: int = ETA, smallest: int = MIN_MINIBATCH
) -> tuple[Rung, ...]:
    """Return the rungs that ``budget`` rollouts pay for: each multiplies the examples and divides the points by eta.

    The best ``closing`` of the last rung are evaluated in full, so no rung has as few points;
    there is no rung at all where not even that many fit.
    """
    plan: tuple[Rung, ...] = ()
    height = 1
    while smallest * eta ** (height - 1) <= examples:
        # n points on the first rung; rung r > 0 shows n / eta^r of them (eta^r - eta^(r-1)) · smallest more examples.
        first = int(budget / (smallest * (1 + (height - 1) * (1 - 1 / eta))))
        rungs = tuple(Rung(first // eta**r, smallest * eta**r) for r in range(height))
        if rungs[-1].points <= closing:
            break
        plan = rungs
        height += 1
    return plan
