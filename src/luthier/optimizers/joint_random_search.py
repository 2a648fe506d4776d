"""Joint random search: MIPRO's space and schedule without its surrogate. The control the paper lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from luthier.optimizers.mipro import MIPRO
from luthier.optimizers.surrogate import Shape
from luthier.search.random import RandomSearch
from luthier.search.trial import Suggest


@dataclass(frozen=True, slots=True)
class JointRandomSearch(MIPRO):
    """MIPRO, but every point is drawn uniformly: what remains of a gain is not the surrogate's doing."""

    label: ClassVar[str] = "joint-random-search"

    def suggest(self, shape: Shape) -> Suggest:
        """Return what chooses points: uniform draws."""
        return RandomSearch()
