"""What is asked, what is observed, and the strategy between them."""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Trial:
    """An answered ask."""

    number: int
    """Counted from 0 over all purposes."""
    ask: Ask
    observations: tuple[Observation, ...]

    @property
    def mean(self) -> float:
        """Mean value over the trial's observations."""
        return sum(o.value for o in self.observations) / len(self.observations)


class Suggest(Protocol):
    """Chooses the next point; what it is evaluated on is the schedule's choice."""

    def suggest(
        self, space: Space, history: Sequence[Trial], pending: Sequence[Ask], rng: random.Random
    ) -> Point | None:
        """Return a point, or None when there is none left. Pure: same arguments, same answer."""
        ...


class Strategy(Protocol):
    """Chooses the next ask: which point, on which examples, and why."""

    def ask(self, space: Space, history: Sequence[Trial], pending: Sequence[Ask], rng: random.Random) -> Ask | None:
        """Return the next ask, or None when the search is over. Pure: same arguments, same answer."""
        ...


def trial_json(trial: Trial) -> dict[str, Any]:
    """Return a trial's outcome as JSON (the point is named by the ask's event)."""
    return {
        "number": trial.number,
        "outcomes": [
            {
                "example": o.example,
                "repeat": o.repeat,
                "value": o.value,
                "outcome": o.outcome,
                "measures": dict(o.measures),
                "cost": dict(o.cost),
            }
            for o in trial.observations
        ],
    }
