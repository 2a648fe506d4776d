"""A predictor's signature: its fields and its original instruction."""

from __future__ import annotations

import collections.abc
import enum
import types
import typing
from dataclasses import dataclass
from typing import Any

from luthier.canonical import content_hash
from luthier.lm.images import Image
from luthier.lm.request import Message
from luthier.program.offered import Reply

REASONING = "reasoning"
"""The name of the field that holds what the LM thought before it answered."""


class Private:
    """Marks a field, as in ``Annotated[str, lt.Private]``: never in demos, proposals, or reports."""


class Form(enum.Enum):
    """How an input is shown to the LM."""

    TEXT = "text"
    CHAT = "chat"
    """Turns of a conversation, each a turn of the rendered chat."""
    IMAGE = "image"
    """One image, or a list of them, each a part of the turn."""


@dataclass(frozen=True, slots=True)
class Field:
    """One input or output."""

    name: str
    type: Any
    """The annotation; ``Annotated`` only where that says what a value must keep to."""
    description: str = ""
    private: bool = False
    """Marked ``lt.Private``: never in demos, proposals, or reports."""
    choices: tuple[str, ...] = ()
    """The values, as text, of a ``Literal``, an enum, or a bool output; empty otherwise."""
    type_text: str = "str"
    """The type as one writes it, for prompts and fingerprints."""

    @property
    def form(self) -> Form:
        """How it is shown, where it is an input."""
        kinds = set(_item_types(self.type))
        if Message in kinds and self.type is not Message:
            return Form.CHAT
        return Form.IMAGE if Image in kinds else Form.TEXT


@dataclass(frozen=True, slots=True)
class Signature:
    """What a predictor takes, gives, and is told to do."""

    name: str
    instruction: str
    """The original instruction, verbatim."""
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    reasoning: bool = False
    result: Any = None
    """The return annotation: how outputs become the value that the predictor returns."""

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Names of what the LM writes, in order."""
        return (*((REASONING,) if self.reasoning else ()), *(field.name for field in self.outputs))

    @property
    def is_free(self) -> bool:
        """Whether the answer is taken as it is, tool calls and all (``lt.Reply``)."""
        return self.result is Reply

    @property
    def line(self) -> str:
        """The signature on one line, e.g. ``question: str -> answer: int``."""
        inputs = ", ".join(f"{f.name}: {f.type_text}" for f in self.inputs)
        outputs = ", ".join(f"{f.name}: {f.type_text}" for f in self.outputs)
        return f"{inputs} -> {'reasoning, ' if self.reasoning else ''}{outputs}"

    @property
    def fingerprint(self) -> str:
        """The line and a content hash over fields and types, not over the instruction: what a prompt depends on."""
        digest = content_hash(
            {
                "inputs": [[f.name, f.type_text, f.description] for f in self.inputs],
                "outputs": [[f.name, f.type_text, f.description] for f in self.outputs],
                "reasoning": self.reasoning,
            }
        )
        # The line stands in front so that an error about drift can show what changed.
        return f"{self.line} # {digest}"


def _item_types(annotation: Any) -> tuple[Any, ...]:
    """Return a type, and what it is a list or an optional of."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType) or origin in (list, tuple, collections.abc.Sequence):
        return tuple(kind for argument in arguments for kind in _item_types(argument))
    return (annotation,)
