"""Chains of 2 to 16 predictors: spaces so large that outcomes are computed when they are asked for."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from benchmarks.replay.synthetic import BEST, ORIGINAL, chance_of, quality_of
from luthier.canonical import uniform_order
from luthier.errors import ConfigError
from luthier.search.space import Point, Space, Variable
from luthier.search.trial import Ask, Observation

LENGTHS = (2, 4, 8, 16)


@dataclass(frozen=True)
class Chain:
    """A program of so many predictors in a row, each with an instruction and a demo set that add to its quality.

    The original scores .45 and the best point .70, however long the chain is: what one choice brings shrinks with the
    length. An outcome is drawn from the seed, the point, and the example alone.
    """

    length: int
    seed: int
    levels: int = 4
    width: int = 100
    """Examples."""

    def __post_init__(self) -> None:
        if self.length not in LENGTHS:
            raise ConfigError(f"no chain has {self.length} predictors; there are {', '.join(map(str, LENGTHS))}")

    @property
    def name(self) -> str:
        """What it is called."""
        return f"chain-{self.length}-{self.seed}"

    @cached_property
    def space(self) -> Space:
        """Two choices for each predictor."""
        levels = tuple(f"l{i}" for i in range(self.levels))
        names = [f"p{i:02}.{part}" for i in range(self.length) for part in ("demos", "instruction")]
        return Space(tuple(Variable(name, levels) for name in names))

    @cached_property
    def examples(self) -> tuple[str, ...]:
        """Ids."""
        return tuple(f"e{i}" for i in range(self.width))

    @property
    def classes(self) -> Mapping[str, str]:
        """There are none."""
        return {}

    def space_at(self, trial: int) -> Space:
        """Return the choices there are at a trial: all of them."""
        return self.space

    def observe(self, ask: Ask) -> tuple[Observation, ...]:
        """Return what evaluating an ask gives."""
        passed = self._passed(ask.point)
        return tuple(Observation(ask.point, example, 0, float(passed[example]), "scored") for example in ask.examples)

    def mean(self, point: Point, examples: Sequence[str]) -> float:
        """Return a point's mean score on some examples."""
        passed = self._passed(point)
        return sum(passed[example] for example in examples) / len(examples)

    def best(self, examples: Sequence[str]) -> Point:
        """Return the truly best point."""
        effects = self._effects
        return Point({v.name: max(v.levels, key=lambda level: effects[v.name, level]) for v in self.space.variables})

    @cached_property
    def _effects(self) -> dict[tuple[str, str], float]:
        rng = random.Random(f"chain/{self.length}/{self.seed}")
        low, high = (quality_of(share, list(self._difficulty.values())) for share in (ORIGINAL, BEST))
        span = 0.0
        while span <= 0:  # an original that is best everywhere cannot be bettered
            drawn = {(v.name, level): rng.gauss(0, 1) for v in self.space.variables for level in v.levels}
            span = sum(
                max(drawn[v.name, level] for level in v.levels) - drawn[v.name, v.levels[0]]
                for v in self.space.variables
            )
        first = low / len(self.space.variables)
        return {
            (v.name, level): first + (drawn[v.name, level] - drawn[v.name, v.levels[0]]) * (high - low) / span
            for v in self.space.variables
            for level in v.levels
        }

    @cached_property
    def _difficulty(self) -> dict[str, float]:
        rng = random.Random(f"chain/{self.length}/{self.seed}/difficulty")
        return {example: rng.gauss(0.0, 1.2) for example in self.examples}

    @cached_property
    def _known(self) -> dict[Point, dict[str, bool]]:
        return {}

    def _passed(self, point: Point) -> dict[str, bool]:
        if point not in self._known:
            quality = sum(self._effects[item] for item in point.items())
            self._known[point] = {
                example: uniform_order(f"{self.name}/{point.key}", example) / 2**64
                < chance_of(quality, self._difficulty[example], 0.0)
                for example in self.examples
            }
        return self._known[point]
