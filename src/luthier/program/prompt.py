"""What is tuned, as values: instructions, demonstrations, and texts."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from luthier.lm.images import Image, known_images


class Kind(enum.StrEnum):
    """What a component is."""

    PROMPT = "prompt"
    """A predictor's: instruction and demos."""
    INSTRUCTION = "instruction"
    """A predictor's whose answers may be tool calls, of which no demo can be made: the instruction alone."""
    DEMOS = "demos"
    """A predictor's whose words are a template's: the demos alone."""
    FIXED = "fixed"
    """A predictor that has nothing of its own to tune."""
    REGION = "region"
    """A marked part of a prompt template."""
    TOOL = "tool"
    """What an LM reads about a tool, or of one of its parameters."""

    @property
    def takes_demos(self) -> bool:
        """Whether demos belong to it."""
        return self in (Kind.PROMPT, Kind.DEMOS)

    @property
    def takes_text(self) -> bool:
        """Whether it has an instruction or a text."""
        return self not in (Kind.DEMOS, Kind.FIXED)


class DemoSource(enum.StrEnum):
    """Where a demonstration comes from."""

    LABELED = "labeled"
    """A row of the training data, as it is."""
    BOOTSTRAPPED = "bootstrapped"
    """A predictor's inputs and outputs in a rollout that passed."""
    RETRIED = "retried"
    """The same of an example that failed at first, and passed when it was tried again."""
    COMPLETED = "completed"
    """A predictor's real inputs in a rollout that failed elsewhere, with the row's column of that name for output."""
    CORRECTIVE = "corrective"
    """A predictor's real inputs in a rollout, its own output, which was wrong, replaced by the row's column."""
    WRITTEN = "written"
    """Given by the user."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a demonstration was met."""

    source: DemoSource
    example: str | None = None
    rollout: str | None = None
    predictor: str | None = None
    call: int | None = None
    """Which call of the predictor in the rollout it is, from 0."""
    teacher: str | None = None
    """Identity of the LM."""
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Demo:
    """One worked example of a predictor. Values are JSON."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    reasoning: str | None = None
    provenance: Provenance | None = field(default=None, compare=False)
    _images: tuple[Image, ...] = field(init=False, repr=False, compare=False)
    """Those that its values name by hash, where they are known: they live as long as it does."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_images", known_images(self.inputs))

    def to_json(self) -> dict[str, Any]:
        """Return the demo as JSON, provenance included."""
        out: dict[str, Any] = {"inputs": dict(self.inputs), "outputs": dict(self.outputs)}
        if self.reasoning is not None:
            out["reasoning"] = self.reasoning
        if self.provenance is not None:
            p = self.provenance
            named = {
                "source": p.source.value,
                "example": p.example,
                "rollout": p.rollout,
                "predictor": p.predictor,
                "call": p.call,
                "teacher": p.teacher,
                "temperature": p.temperature,
            }
            out["provenance"] = {name: value for name, value in named.items() if value is not None}
        return out

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Demo:
        """Read a demo back.

        Raises:
            KeyError, ValueError: a field is missing or of the wrong form.
        """
        provenance = None
        if (p := data.get("provenance")) is not None:
            provenance = Provenance(**{**p, "source": DemoSource(p["source"])})
        return Demo(dict(data["inputs"]), dict(data["outputs"]), data.get("reasoning"), provenance)


@dataclass(frozen=True, slots=True)
class Prompt:
    """The value of one component: a predictor's instruction and demos, or a text alone."""

    instruction: str
    demos: tuple[Demo, ...] = ()
    kind: Kind = Kind.PROMPT

    def to_json(self) -> dict[str, Any]:
        """Return the prompt as JSON."""
        out: dict[str, Any] = {"instruction": self.instruction, "demos": [demo.to_json() for demo in self.demos]}
        return out if self.kind is Kind.PROMPT else {**out, "kind": self.kind.value}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Prompt:
        """Read a prompt back; without a kind it is a predictor's."""
        demos = tuple(Demo.from_json(demo) for demo in data["demos"])
        return Prompt(data["instruction"], demos, Kind(data.get("kind", Kind.PROMPT)))
