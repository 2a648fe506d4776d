"""Search problems whose truth is known: additive tables with examples of unequal difficulty."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from luthier.search.space import Point, Space, Variable
from luthier.search.trial import Ask, Observation, Purpose, Strategy, Trial


@dataclass(frozen=True)
class World:
    """Every (point, example) has one fixed outcome, 0 or 1, drawn from a logistic table."""

    seed: int
    space: Space
    examples: tuple[str, ...]
    effects: dict[tuple[str, str], float]
    difficulty: dict[str, float]

    def utility(self, point: Point) -> float:
        return sum(self.effects[name, level] for name, level in point.items())

    def value(self, point: Point, example: str) -> float:
        chance = 1 / (1 + math.exp(self.difficulty[example] - self.utility(point)))
        return float(random.Random(f"{self.seed}/{point.key}/{example}").random() < chance)

    def truth(self, point: Point) -> float:
        grid = [0.3 * i for i in range(-12, 13)]
        weights = [math.exp(-d * d / (2 * 1.5**2)) for d in grid]
        chances = [1 / (1 + math.exp(d - self.utility(point))) for d in grid]
        return sum(w * c for w, c in zip(weights, chances, strict=True)) / sum(weights)

    def trial(self, number: int, ask: Ask, *, prior: bool = False) -> Trial:
        seen = tuple(Observation(ask.point, e, 0, self.value(ask.point, e), "scored") for e in ask.examples)
        return Trial(number, ask, seen, prior)

    def baseline(self) -> Trial:
        return self.trial(0, Ask(self.space.original, self.examples, Purpose.FULL), prior=True)

    def blocks(self, size: int) -> tuple[tuple[str, ...], ...]:
        n = len(self.examples)
        return tuple(tuple(self.examples[(i + j) % n] for j in range(size)) for i in range(0, math.lcm(n, size), size))


def world(seed: int, *, variables: int = 4, levels: int = 6, examples: int = 45) -> World:
    rng = random.Random(f"world/{seed}")
    space = Space(
        tuple(Variable(f"v{i}", tuple(f"l{j}" for j in range(levels))) for i in range(variables)),
    )
    names = tuple(f"e{i}" for i in range(examples))
    return World(
        seed,
        space,
        names,
        {(v.name, level): rng.gauss(0, 0.6) for v in space.variables for level in v.levels},
        {name: rng.gauss(0.5, 1.5) for name in names},
    )


def all_points(space: Space) -> list[Point]:
    choices = product(*(v.levels for v in space.variables))
    return [Point({v.name: level for v, level in zip(space.variables, c, strict=True)}) for c in choices]


def run(
    strategy: Strategy,
    problem: World,
    *,
    seed: int = 0,
    batch: int = 1,
    prior: Sequence[Trial] = (),
    watch: Callable[[list[Trial], list[Ask], Ask], None] = lambda history, pending, ask: None,
) -> list[Trial]:
    """Run a strategy to its end as a study does: in synchronous batches, a generator per trial."""
    history = list(prior)
    while True:
        pending: list[Ask] = []
        while len(pending) < batch:
            rng = random.Random(f"{seed}/{len(history) + len(pending)}")
            ask = strategy.ask(problem.space, history, pending, rng)
            if ask is None:
                break
            watch(history, pending, ask)
            pending.append(ask)
        if not pending:
            return history
        for ask in pending:
            history.append(problem.trial(len(history), ask))
        assert len(history) < 2000, "a strategy must end"
