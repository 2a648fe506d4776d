"""A recorded table: what every candidate of a fixed pool scored on every example, once, with a real LM.

Kept compactly, so that any strategy can be replayed on it with many seeds and no LM.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from luthier.errors import DataError
from luthier.search.space import Point, Space, Variable
from luthier.search.trial import Ask, Observation

_OUTCOMES = {
    "0": (0.0, "scored"),
    "1": (1.0, "scored"),
    **{letter: (tenths / 10, "scored") for tenths, letter in enumerate("ABCDEFGHI", 1)},
    "u": (0.0, "unparseable"),
    "e": (0.0, "error"),
}
GRADED = "0ABCDEFGHI1"
"""How scores of 0, 0.1, … 1 are written."""
_FORMAT = 1


def outcome_of(letter: str) -> tuple[float, str]:
    """Return value and kind of an outcome as tables write it."""
    return _OUTCOMES[letter]


class Table(Protocol):
    """What strategies can be replayed on."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def space(self) -> Space:
        """All choices; the first level of each variable is the original's."""
        ...

    @property
    def examples(self) -> tuple[str, ...]:
        """Ids."""
        ...

    @property
    def classes(self) -> Mapping[str, str]:
        """Each example's class; empty where there are none."""
        ...

    def space_at(self, trial: int) -> Space:
        """Return the choices there are at a trial: some levels may arrive late."""
        ...

    def observe(self, ask: Ask) -> tuple[Observation, ...]:
        """Return what evaluating an ask gives."""
        ...

    def mean(self, point: Point, examples: Sequence[str]) -> float:
        """Return a point's mean score on some examples."""
        ...

    def best(self, examples: Sequence[str]) -> Point:
        """Return the best point on some examples, or the truly best where that cannot be looked up."""
        ...


@dataclass(frozen=True)
class OutcomeTable:
    """Outcomes of all points of a space on all examples.

    Attributes:
        name: what it is called.
        space: the choices; the first level of each variable is the original's.
        examples: ids.
        classes: each example's class, for splits with every class in both parts.
        outcomes: for each point, in the order of ``points``, one character an example: ``1`` and ``0`` scored, ``A`` to
            ``I`` scored with one to nine tenths, ``u`` unparseable, ``e`` program error.
        made: how it was recorded.
        late: by variable and level, the trial from which on a level can be chosen; all others can be from the start.
    """

    name: str
    space: Space
    examples: tuple[str, ...]
    classes: Mapping[str, str]
    outcomes: Sequence[str]
    made: Mapping[str, Any] = field(default_factory=dict)
    late: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.outcomes) != self.space.size:
            raise DataError(f"table {self.name!r} has {len(self.outcomes)} rows for {self.space.size} points")
        for row in self.outcomes:
            if len(row) != len(self.examples) or set(row) - _OUTCOMES.keys():
                raise DataError(
                    f"table {self.name!r} has a row that is not {len(self.examples)} outcomes: {row[:80]!r}"
                )

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """All points, the last variable's levels changing fastest."""
        names = [variable.name for variable in self.space.variables]
        combinations = product(*(variable.levels for variable in self.space.variables))
        return tuple(Point(dict(zip(names, levels, strict=True))) for levels in combinations)

    @cached_property
    def rows(self) -> Mapping[Point, str]:
        """Outcomes by point."""
        return dict(zip(self.points, self.outcomes, strict=True))

    @cached_property
    def columns(self) -> Mapping[str, int]:
        """Where an example stands."""
        return {example: i for i, example in enumerate(self.examples)}

    def space_at(self, trial: int) -> Space:
        """Return the choices there are at a trial."""
        if not self.late:
            return self.space
        variables = (
            replace(v, levels=tuple(x for x in v.levels if self.late.get(v.name, {}).get(x, 0) <= trial))
            for v in self.space.variables
        )
        return Space(tuple(variables))

    def best(self, examples: Sequence[str]) -> Point:
        """Return the best point on some examples; ties go to the original, then to the first."""
        return max(self.points, key=lambda point: (self.mean(point, examples), point == self.space.original))

    def observe(self, ask: Ask) -> tuple[Observation, ...]:
        """Return what evaluating an ask gives."""
        row = self.rows[ask.point]
        return tuple(
            Observation(ask.point, example, 0, *_OUTCOMES[row[self.columns[example]]]) for example in ask.examples
        )

    def mean(self, point: Point, examples: Sequence[str]) -> float:
        """Return a point's mean score on some examples."""
        row = self.rows[point]
        return sum(_OUTCOMES[row[self.columns[example]]][0] for example in examples) / len(examples)

    def part(self, chosen: Callable[[Variable], bool]) -> OutcomeTable:
        """Return the table of the programs in which only the chosen variables differ from the original."""
        variables = tuple(v if chosen(v) else replace(v, levels=v.levels[:1]) for v in self.space.variables)
        space = Space(variables)
        kept = OutcomeTable(self.name, space, self.examples, self.classes, [self.outcomes[0]] * space.size)
        return replace(kept, outcomes=tuple(self.rows[point] for point in kept.points), made=self.made)

    def save(self, path: Path) -> None:
        """Write the table as one readable JSON file."""
        data = {
            "format": _FORMAT,
            "name": self.name,
            "made": dict(self.made),
            "variables": [{"name": v.name, "levels": list(v.levels)} for v in self.space.variables],
            "examples": [[example, self.classes.get(example, "")] for example in self.examples],
            **({"late": {name: dict(levels) for name, levels in self.late.items()}} if self.late else {}),
            "outcomes": list(self.outcomes),
        }
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: Path) -> OutcomeTable:
        """Read a table back.

        Raises:
            DataError: the file is not one.
        """
        if path.suffix == ".jsonl":
            raise DataError(f"{path} holds cells of a live table (benchmarks/free_text.py), of which not all were run")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] != _FORMAT:
                raise DataError(f"{path} has format {data['format']}; this luthier reads {_FORMAT}")
            late: Mapping[str, Mapping[str, Any]] = data.get("late", {})
            return OutcomeTable(
                data["name"],
                Space(tuple(Variable(v["name"], tuple(v["levels"])) for v in data["variables"])),
                _examples(data["examples"]),
                dict(data["examples"]),
                tuple(data["outcomes"]),
                data["made"],
                {name: {level: int(at) for level, at in levels.items()} for name, levels in late.items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is not a recorded table: {error}") from error


def _examples(written: Sequence[Any]) -> tuple[str, ...]:
    if strange := [pair for pair in written if not (isinstance(pair, list) and len(pair) == 2)]:
        raise TypeError(f"examples are [id, class], not {strange[0]!r}")
    counted = Counter(example for example, _ in written)
    if twice := [example for example, n in counted.items() if n > 1]:
        raise ValueError(f"example {twice[0]!r} is there {counted[twice[0]]} times")
    return tuple(counted)
