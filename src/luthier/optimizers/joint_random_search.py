"""Joint random search: MIPRO's space and schedule without its surrogate. The control the paper lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from luthier.optimizers.mipro import MIPRO
from luthier.optimizers.surrogate import Shape
from luthier.optimizers.workbench import Workbench
from luthier.search.random import RandomSearch
from luthier.search.space import Point
from luthier.search.trial import Strategy, Suggest


@dataclass(frozen=True, slots=True)
class JointRandomSearch(MIPRO):
    """MIPRO, but every point is drawn uniformly: what remains of a gain is not the surrogate's doing."""

    label: ClassVar[str] = "joint-random-search"

    def strategy(self, bench: Workbench, anchors: Sequence[Point] = ()) -> Strategy:
        """Return the schedule without anchors, which are no random draws."""
        return MIPRO.strategy(self, bench)

    def suggest(self, shape: Shape) -> Suggest:
        """Return what chooses points: uniform draws."""
        return RandomSearch()
