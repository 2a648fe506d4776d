"""What is asked, what is observed, and the strategy between them."""

from __future__ import annotations

import enum
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from luthier.search.space import Point, Space


class Purpose(enum.StrEnum):
    """Why a point is evaluated."""

    EXPLORE = "explore"
    """On a minibatch, to learn about the space."""
    RACE = "race"
    """On further examples, to tell the best apart."""
    FULL = "full"
    """On every validation example, so that it may be chosen."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to evaluate a point on some examples."""

    point: Point
    examples: tuple[str, ...]
    """Ids of examples."""
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Observation:
    """The outcome of one point on one example."""

    point: Point
    example: str
    repeat: int
    value: float
    outcome: str
    """The kind of rollout: ``scored``, ``unparseable`` or ``error``; the unscored are never told."""
    measures: Mapping[str, float] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)
    """What the journal says of it, further facts included, of which the search interprets ``refused`` alone."""

    @property
    def disqualifies(self) -> bool:
        """Whether a few such drop the point: what it stands for raised, or was refused as too long or flagged."""
        return self.outcome == "error" or bool(self.detail.get("refused"))


@dataclass(frozen=True, slots=True)
class Trial:
    """An answered ask."""

    number: int
    """Counted from 0 over all purposes."""
    ask: Ask
    observations: tuple[Observation, ...]
    prior: bool = False
    """Known before the search began, not asked by it: it informs, but counts for no schedule."""

    @property
    def mean(self) -> float:
        """Mean value over the trial's observations."""
        return sum(o.value for o in self.observations) / len(self.observations)


class Suggest(Protocol):
    """Chooses the next point; what it is evaluated on is the schedule's choice."""

    def suggest(
        self,
        space: Space,
        history: Sequence[Trial],
        pending: Sequence[Ask],
        rng: random.Random,
        closed: Collection[Point] = frozenset(),
    ) -> Point | None:
        """Return a point that is neither ``closed`` nor pending, or None when there is none left.

        Pure: same arguments, same answer.
        """
        ...


class Strategy(Protocol):
    """Chooses the next ask: which point, on which examples, and why."""

    def ask(self, space: Space, history: Sequence[Trial], pending: Sequence[Ask], rng: random.Random) -> Ask | None:
        """Return the next ask, or None: with asks pending, until they are told; without, the search is over.

        Pure: same arguments, same answer.
        """
        ...


def in_order(history: Iterable[Trial]) -> list[Trial]:
    """Return the trials by number, in whichever order they arrived."""
    return sorted(history, key=lambda trial: trial.number)


def observation_json(observation: Observation) -> dict[str, Any]:
    """Return an observation as JSON (its point is named by the ask's event)."""
    return {
        "example": observation.example,
        "repeat": observation.repeat,
        "outcome": observation.outcome,
        "value": observation.value,
        "measures": dict(observation.measures),
        "cost": dict(observation.cost),
        **observation.detail,
    }


def observation_of(point: Point, data: Mapping[str, Any]) -> Observation:
    """Read back what `observation_json` wrote."""
    return Observation(
        point=point,
        example=data["example"],
        repeat=data["repeat"],
        value=data["value"],
        outcome=data["outcome"],
        measures=data["measures"],
        cost=data["cost"],
        detail=data,
    )
