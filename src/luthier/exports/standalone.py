"""The frame of an exported Python file: what it offers around luthier's own rendering and parsing.

``lift`` takes these definitions into the file. Those that luthier has under the same name, it has for types; a file
knows its shapes beforehand, so its own are smaller.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.program.parse import parse
from luthier.program.render import varying
from luthier.program.shape import Shape


class Unparseable(Exception):
    """The model answered, but not in the form asked."""

    def __init__(self, message: str, *, text: str = "", predictor: str = "") -> None:
        super().__init__(message)
        self.text = text
        self.predictor = predictor


@dataclass(frozen=True)
class Field:
    """One input or output."""

    name: str


@dataclass(frozen=True)
class Signature:
    """What a predictor takes and gives."""

    name: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    reasoning: bool
    shapes: Mapping[str, Shape]
    record: Shape | None


@dataclass(frozen=True)
class Completion:
    """What a model answered."""

    text: str
    finish_reason: str
    refusal: str | None
    usage: Any = None
    """The tokens of a call are its client's to know."""


@dataclass(frozen=True)
class Predictor:
    """One call to a language model: its messages, and how its answer is read."""

    signature: Signature
    before: Sequence[Mapping[str, Any]]
    """The messages that are the same for all inputs: the instruction and the demonstrations."""
    text_before: str | None
    """The same for base models, where the prompts were tuned as one text."""
    defaults: Mapping[str, Any]
    options: Mapping[str, Any]
    """Further fields of the request, e.g. temperature; the model's name is yours to add."""

    def messages(self, **inputs: Any) -> list[dict[str, Any]]:
        """Return chat messages as OpenAI-compatible clients take them.

        Raises:
            TypeError: an input is missing, or is none of this predictor's.
        """
        last = varying(self.signature, self._given(inputs))  # type: ignore[arg-type]
        return [*(dict(message) for message in self.before), {"role": "user", "content": last}]

    def text(self, **inputs: Any) -> str:
        """Return the prompt as one text for a base model to continue.

        Raises:
            TypeError: an input is missing, or is none of this predictor's; or these prompts are for chat models.
        """
        if self.text_before is None:
            raise TypeError(f"the prompt of {self.signature.name} was exported for chat models: use messages()")
        lines = varying(self.signature, self._given(inputs))  # type: ignore[arg-type]
        first = "reasoning" if self.signature.reasoning else self.signature.outputs[0].name
        return f"{self.text_before}{lines}\n{first}:" if lines else f"{self.text_before}{first}:"

    def parse(self, answer: str, *, finish_reason: str = "stop", refusal: str | None = None) -> Any:
        """Return the value that an answer gives: text, number, choice, list, or the fields of a record as a dict.

        Raises:
            Unparseable: the answer is not in the form asked, was cut off, or refused.
        """
        return parse(self.signature, Completion(answer, finish_reason, refusal)).value  # type: ignore[arg-type]

    def reasoning(self, answer: str) -> str | None:
        """Return what the model thought before it answered, None where it did not say.

        Raises:
            Unparseable: the answer is not in the form asked.
        """
        return parse(self.signature, Completion(answer, "stop", None)).reasoning  # type: ignore[arg-type]

    def _given(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        given = {**self.defaults, **inputs}
        names = [field.name for field in self.signature.inputs]
        if wrong := [name for name in given if name not in names] + [name for name in names if name not in given]:
            raise TypeError(f"{self.signature.name} takes {', '.join(names) or 'nothing'}; look at {', '.join(wrong)}")
        return given


def output_shapes(signature: Signature) -> dict[str, Shape]:
    """Return the shape of every output field, by name."""
    return dict(signature.shapes)


def result_shape(signature: Signature) -> Shape | None:
    """Return the shape of the record that the outputs are members of, None where there is one output."""
    return signature.record


def filled(defaults: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Make records whose missing members are these."""
    return lambda values: {**defaults, **values}


def main(predictors: Mapping[str, Predictor], arguments: Sequence[str]) -> int:
    """Print the messages of one predictor as JSON: ``python FILE NAME '{"input": "value"}'``."""
    if len(arguments) != 2 or arguments[0] not in predictors:
        sys.stderr.write(f"usage: NAME INPUTS, with NAME one of {', '.join(predictors)} and INPUTS a JSON object\n")
        return 2
    messages = predictors[arguments[0]].messages(**json.loads(arguments[1]))
    sys.stdout.write(json.dumps(messages, indent=2) + "\n")
    return 0
