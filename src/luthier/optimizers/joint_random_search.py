"""Joint random search: MIPRO's space and schedule without its surrogate. The control the paper lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from luthier.optimizers.mipro import MIPRO
from luthier.optimizers.surrogate import Shape
from luthier.runner.facts import Facts
from luthier.runner.steps import Steps
from luthier.search.random import RandomSearch
from luthier.search.schedule import MinibatchSchedule
from luthier.search.space import Point
from luthier.search.trial import Strategy, Suggest


@dataclass(frozen=True, slots=True)
class JointRandomSearch(MIPRO):
    """Joint random search: MIPRO's space and budget, every point drawn uniformly, the best means scored in full.

    Nothing is learned from one point about another, neither which to draw nor which to score in full: what remains of
    a gain is not the surrogate's doing.
    """

    label: ClassVar[str] = "joint-random-search"

    def shape(self, facts: Facts) -> Shape:
        """Decide every number as MIPRO does; few trials are drawn like many, and all at random."""
        shape = MIPRO.shape(self, facts)
        return replace(shape, halving=False, startup=shape.trials)

    def strategy(self, steps: Steps, anchors: Sequence[Point] = ()) -> Strategy:
        """Return the schedule without anchors, which are no random draws, and without credit."""
        schedule = MIPRO.strategy(self, steps)
        assert isinstance(schedule, MinibatchSchedule)  # it never halves, see ``shape``
        return replace(schedule, credit=False)

    def suggest(self, shape: Shape) -> Suggest:
        """Return what chooses points: uniform draws."""
        return RandomSearch()
