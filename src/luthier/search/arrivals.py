"""Points in a given order, each once: those that arrive while a search runs (OPRO), and those made before it."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from luthier.search.space import Point, Space
from luthier.search.standing import predicted_best
from luthier.search.trial import Ask, Trial


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Suggests what arrived and was not asked yet."""

    def suggest(
        self,
        space: Space,
        history: Sequence[Trial],
        pending: Sequence[Ask],
        rng: random.Random,
        closed: Collection[Point] = frozenset(),
    ) -> Point | None:
        """Return the first arrival that is neither closed, nor pending, nor told; None until another arrives."""
        return next((point for point in waiting(space, history, pending) if point not in closed), None)


@dataclass(frozen=True, slots=True)
class Listed:
    """Suggests given points in their order; then the combination of parts that stand best, each by itself."""

    points: tuple[Point, ...]

    def suggest(
        self,
        space: Space,
        history: Sequence[Trial],
        pending: Sequence[Ask],
        rng: random.Random,
        closed: Collection[Point] = frozenset(),
    ) -> Point | None:
        """Return the next point."""
        for point in self.points:
            if point not in closed:
                return point
        best = predicted_best(history, space)
        return None if best is None or best in closed else best


def waiting(space: Space, history: Iterable[Trial], pending: Iterable[Ask] = ()) -> list[Point]:
    """Return the arrivals that nobody has asked for yet, in order, each once."""
    asked = {trial.ask.point for trial in history} | {ask.point for ask in pending}
    return [point for point in dict.fromkeys(space.arrivals) if point not in asked]
