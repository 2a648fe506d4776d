"""The search space: an append-only, finite product of choices, named by content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from luthier.canonical import content_hash


@dataclass(frozen=True, slots=True)
class Variable:
    """One choice. Its levels are content hashes of payloads that the search does not interpret.

    The first level is the original's: what the user's program has today.
    """

    name: str
    levels: tuple[str, ...]
    kind: Literal["categorical", "ordinal"] = "categorical"

    def __post_init__(self) -> None:
        if not self.levels or len(set(self.levels)) != len(self.levels):
            raise ValueError(f"variable {self.name!r} needs distinct levels, and at least one")


class Point(Mapping[str, str]):
    """One level for every variable: hashable, ordered by variable name."""

    __slots__ = ("_items", "key")

    def __init__(self, levels: Mapping[str, str]) -> None:
        self._items = dict(sorted(levels.items()))
        self.key: str = content_hash(self._items)
        """Content hash: equal points have equal keys."""

    def __getitem__(self, name: str) -> str:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.key == self.key

    def __repr__(self) -> str:
        return f"Point({self._items})"


@dataclass(frozen=True, slots=True)
class Space:
    """A finite product of choices; a value, so adding a level gives a new space."""

    variables: tuple[Variable, ...]
    arrivals: tuple[Point, ...] = ()
    """Points that levels arrived with while the search ran, in their order (OPRO's proposals)."""

    def __getitem__(self, name: str) -> Variable:
        return {variable.name: variable for variable in self.variables}[name]

    @property
    def free(self) -> tuple[Variable, ...]:
        """The variables that really have a choice."""
        return tuple(variable for variable in self.variables if len(variable.levels) > 1)

    @property
    def original(self) -> Point:
        """The point of first levels: the user's program as it is."""
        return Point({variable.name: variable.levels[0] for variable in self.variables})

    @property
    def size(self) -> int:
        """How many points there are."""
        size = 1
        for variable in self.variables:
            size *= len(variable.levels)
        return size

    def with_level(self, name: str, level: str) -> Space:
        """Return a space in which variable ``name`` has one more level (or the same space, if it has it)."""
        if level in self[name].levels:
            return self
        grown = replace(self[name], levels=(*self[name].levels, level))
        return replace(self, variables=tuple(grown if known.name == name else known for known in self.variables))

    def with_arrivals(self, levels: Mapping[str, Sequence[str]], points: Sequence[Point]) -> Space:
        """Return a space with further levels by variable, and with the points that are to be tried with them."""
        space = self
        for name, arrived in levels.items():
            for level in arrived:
                space = space.with_level(name, level)
        return replace(space, arrivals=(*space.arrivals, *points))

    def to_json(self) -> list[dict[str, object]]:
        """Return the space as JSON."""
        return [{"name": v.name, "levels": list(v.levels), "kind": v.kind} for v in self.variables]
