"""The shape of a type: what rendering, reading, and grammars need to know about it.

Text, numbers, and choices are known from the annotation alone. Every other type is pydantic's: its JSON schema says how
a value is written, and its ``TypeAdapter`` makes the value. pydantic is imported where the first such type is met.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class Kind(enum.Enum):
    """What a value is made of."""

    TEXT = "text"
    INTEGER = "whole number"
    NUMBER = "number"
    CHOICE = "choice"
    LIST = "list"
    MAPPING = "mapping"
    RECORD = "record"
    JSON = "json"
    """Any other JSON: a union, a type that contains itself, and where the user makes the call."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One allowed value of a choice."""

    text: str
    json: Any
    value: Any
    aliases: tuple[str, ...] = ()
    """Other words for it, read but never written."""


@dataclass(frozen=True, slots=True)
class Member:
    """One field of a record, or one place of a tuple."""

    name: str
    type: Any
    """The annotation, ``Annotated`` and all."""
    shape: Shape
    required: bool
    description: str = ""
    aliases: tuple[str, ...] = ()
    """Other names it is read by."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A type, taken apart."""

    kind: Kind
    optional: bool = False
    choices: tuple[Choice, ...] = ()
    item: Shape | None = None
    members: tuple[Member, ...] = ()
    """Of a record, or of a list whose every place has a type of its own."""
    variants: tuple[Shape, ...] = ()
    """What a union may be."""
    form: str = ""
    """How a text is written, as JSON schemas name it: ``date``, ``uuid``, …"""
    unique: bool = False
    """Whether a list is a set."""
    type: Any = None
    """The class of a record."""
    schema: Any = None
    """The JSON schema, where pydantic knows the type."""
    make: Callable[[Any], Any] | None = None
    """Makes the value of what was read, and checks it; None: what was read is the value."""

    @property
    def structured(self) -> bool:
        """Whether the value is written as JSON rather than as plain text."""
        return self.kind in (Kind.LIST, Kind.MAPPING, Kind.RECORD, Kind.JSON)


def type_text(annotation: Any) -> str:
    """Return a type as one writes it."""
    annotation, _ = split_annotated(annotation)
    if isinstance(annotation, str):
        return annotation
    if annotation is None or annotation is type(None):
        return "None"
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " | ".join(map(type_text, arguments))
    if arguments and (origin := typing.get_origin(annotation)) is not None:
        inside = ", ".join("..." if argument is Ellipsis else type_text(argument) for argument in arguments)
        return f"{getattr(origin, '__name__', str(origin))}[{inside}]"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return f"{annotation.__name__}({', '.join(_enum_text(member) for member in annotation)})"
    return getattr(annotation, "__name__", None) or str(annotation)


def split_annotated(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type without ``Annotated``, and what was annotated."""
    if typing.get_origin(annotation) is typing.Annotated:
        return annotation.__origin__, tuple(annotation.__metadata__)
    return annotation, ()


def description_of(metadata: tuple[Any, ...]) -> str:
    """Return the description among an annotation's metadata: a plain string, or a pydantic ``Field``'s."""
    for entry in metadata:
        if isinstance(entry, str):
            return entry
        if is_pydantic_loaded() and isinstance(text := getattr(entry, "description", None), str):
            return text
    return ""


def is_constrained(metadata: tuple[Any, ...]) -> bool:
    """Whether an annotation's metadata is of pydantic's, and says more than a description."""
    return is_pydantic_loaded() and any(
        getattr(entry, "metadata", None)
        if type(entry).__name__ == "FieldInfo"
        else type(entry).__module__.split(".")[0] in ("annotated_types", "pydantic", "pydantic_core")
        for entry in metadata
    )


def is_pydantic_loaded() -> bool:
    """Whether there can be a model or a ``Field`` at all; never imports pydantic."""
    return hasattr(sys.modules.get("pydantic"), "BaseModel")


def plain_shape(annotation: Any) -> Shape | None:
    """Return the shape of a type that needs no pydantic: text, number, choice, or ``Optional`` of one."""
    annotation, metadata = split_annotated(annotation)
    if is_constrained(metadata):
        return None
    while not isinstance(annotation, type) and hasattr(annotation, "__supertype__"):  # NewType
        annotation = annotation.__supertype__
    if type(annotation).__name__ == "TypeAliasType":
        return plain_shape(annotation.__value__)
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        rest = [argument for argument in typing.get_args(annotation) if argument is not type(None)]
        inner = plain_shape(rest[0]) if len(rest) == 1 else None
        return None if inner is None else dataclasses.replace(inner, optional=True)
    if origin is typing.Literal:
        values = typing.get_args(annotation)
        return Shape(Kind.CHOICE, optional=None in values, choices=choices_of(values))
    if not isinstance(annotation, type):
        return None
    if annotation is bool:
        return Shape(Kind.CHOICE, choices=choices_of((True, False)))
    if issubclass(annotation, enum.Enum):
        return Shape(Kind.CHOICE, choices=choices_of(tuple(annotation)))
    kind = {str: Kind.TEXT, int: Kind.INTEGER, float: Kind.NUMBER}.get(annotation)
    return None if kind is None else Shape(kind)


def choices_of(values: typing.Iterable[Any]) -> tuple[Choice, ...]:
    """Return choices between values, None left out."""
    return tuple(_choice(value) for value in values if value is not None)


def _choice(value: Any) -> Choice:
    if isinstance(value, enum.Enum):
        text = _enum_text(value)
        return Choice(text, text, value, tuple(word for word in (value.name, str(value.value)) if word != text))
    if isinstance(value, bool):
        return Choice("true", True, True, ("yes",)) if value else Choice("false", False, False, ("no",))
    return Choice(str(value), value, value)


def _enum_text(member: enum.Enum) -> str:
    # A number says nothing to a language model; a name does.
    return member.value if isinstance(member.value, str) else member.name


def members_of(cls: type) -> Mapping[str, Any]:
    """Return the annotations of a record's members, ``Annotated`` and all."""
    fields = getattr(cls, "model_fields", None)
    if fields is None:
        hints = typing.get_type_hints(cls, include_extras=True)
        return {name: _without_required(annotation) for name, annotation in hints.items()}
    return {
        name: typing.Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
        for name, info in fields.items()
    }


def _without_required(annotation: Any) -> Any:
    while typing.get_origin(annotation) in (typing.Required, typing.NotRequired):
        annotation = typing.get_args(annotation)[0]
    return annotation
