"""Uniform random search, without asking for a point that is closed or pending."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product

from luthier.search.space import Point, Space
from luthier.search.trial import Ask, Trial


@dataclass(frozen=True, slots=True)
class RandomSearch:
    """Draws points uniformly (MIPRO §4.1 draws demonstration sets so)."""

    def suggest(
        self,
        space: Space,
        history: Sequence[Trial],
        pending: Sequence[Ask],
        rng: random.Random,
        closed: Collection[Point] = frozenset(),
    ) -> Point | None:
        """Return a uniform draw from the open points, or None when all are taken."""
        return uniform_point(space, {*closed, *(ask.point for ask in pending)}, rng)


def uniform_point(space: Space, taken: Collection[Point], rng: random.Random) -> Point | None:
    """Return a uniform draw from the points of ``space`` that are not ``taken``, or None."""
    if space.size <= 2 * len(taken) + 16:
        names = [variable.name for variable in space.variables]
        levels = product(*(variable.levels for variable in space.variables))
        points = (Point(dict(zip(names, choice, strict=True))) for choice in levels)
        left = [point for point in points if point not in taken]
        return rng.choice(left) if left else None
    while True:  # at least half of the points are open
        point = Point({variable.name: rng.choice(variable.levels) for variable in space.variables})
        if point not in taken:
            return point
