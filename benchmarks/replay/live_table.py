"""A table that is filled as it is asked: for programs whose stages pass free text, of which no product can be recorded.

Every cell is a real program run, made once and kept in a file, so replays with many seeds share what they pay for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmarks.replay.table import outcome_of
from luthier.errors import DataError
from luthier.search.space import Point, Space
from luthier.search.trial import Ask, Observation

Run = Callable[[Point, Sequence[str]], Mapping[str, str]]
"""Runs a point's program on examples; by example, the outcome as `OutcomeTable` writes it."""


@dataclass(frozen=True)
class LiveTable:
    """Outcomes of the points and examples that were asked for so far.

    Attributes:
        name: what it is called.
        space: the choices.
        examples: ids.
        run: makes the runs that are missing.
        file: where outcomes are kept, a line for each call of ``run``.
        classes: each example's class.
    """

    name: str
    space: Space
    examples: tuple[str, ...]
    run: Run
    file: Path
    classes: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def cells(self) -> dict[Point, dict[str, str]]:
        """What is known, by point and example."""
        known: dict[Point, dict[str, str]] = {}
        for number, line in enumerate(
            self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else (), 1
        ):
            try:
                data = json.loads(line)
                known.setdefault(Point(data["point"]), {}).update(data["outcomes"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(f"{self.file}, line {number}: no outcomes of a point: {error}") from error
        return known

    def space_at(self, trial: int) -> Space:
        """Return the choices there are at a trial: all of them."""
        return self.space

    def observe(self, ask: Ask) -> tuple[Observation, ...]:
        """Return what evaluating an ask gives."""
        found = self._filled(ask.point, ask.examples)
        return tuple(Observation(ask.point, example, 0, *outcome_of(found[example])) for example in ask.examples)

    def mean(self, point: Point, examples: Sequence[str]) -> float:
        """Return a point's mean score on some examples."""
        found = self._filled(point, examples)
        return sum(outcome_of(found[example])[0] for example in examples) / len(examples)

    def best(self, examples: Sequence[str]) -> Point:
        """Return the best of the points that are known on all these examples, and the original among them."""
        everything = set(examples)
        known = [point for point, cells in self.cells.items() if everything <= cells.keys()]
        return max([self.space.original, *known], key=lambda point: self.mean(point, examples))

    def _filled(self, point: Point, examples: Sequence[str]) -> Mapping[str, str]:
        cells = self.cells.setdefault(point, {})
        if missing := [example for example in dict.fromkeys(examples) if example not in cells]:
            outcomes = dict(self.run(point, missing))
            if lacking := [example for example in missing if example not in outcomes]:
                raise DataError(f"table {self.name!r}: the run gave no outcome for example {lacking[0]!r}")
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"point": dict(point), "outcomes": outcomes}) + "\n")
            cells.update(outcomes)
        return cells
