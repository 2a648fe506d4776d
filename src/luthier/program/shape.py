"""The shape of a type: all that rendering, parsing, grammars, and schemas need to know about it."""

from __future__ import annotations

import dataclasses
import enum
import functools
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.errors import SignatureError


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
    """Any JSON: inside pydantic models, which check it themselves, and where the user makes the call."""


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
    """One field of a record."""

    name: str
    type: Any
    """The annotation, ``Annotated`` and all."""
    shape: Shape
    required: bool
    description: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """A type, taken apart."""

    kind: Kind
    optional: bool = False
    choices: tuple[Choice, ...] = ()
    item: Shape | None = None
    members: tuple[Member, ...] = ()
    make: Callable[[Any], Any] | None = None
    """Makes a record from a mapping of its members, or a collection from a list."""

    @property
    def structured(self) -> bool:
        """Whether the value is written as JSON rather than as plain text."""
        return self.kind in (Kind.LIST, Kind.MAPPING, Kind.RECORD, Kind.JSON)


def shape_of(annotation: Any, *, strict: bool = True) -> Shape:
    """Take a type apart; unless ``strict``, what cannot be read from text becomes plain JSON.

    Raises:
        SignatureError: the type cannot be an output.
    """
    try:
        return _cached_shape(annotation, strict)
    except TypeError:  # an unhashable argument of Annotated
        return _shape(annotation, strict)


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
        if _pydantic() is not None and isinstance(text := getattr(entry, "description", None), str):
            return text
    return ""


@functools.lru_cache(maxsize=1024)
def _cached_shape(annotation: Any, strict: bool) -> Shape:
    return _shape(annotation, strict)


def _shape(annotation: Any, strict: bool) -> Shape:
    annotation, _ = split_annotated(annotation)
    while not isinstance(annotation, type) and hasattr(annotation, "__supertype__"):  # NewType
        annotation = annotation.__supertype__
    if type(annotation).__name__ == "TypeAliasType":
        return _shape(annotation.__value__, strict)
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return _union_shape(annotation, strict)
    if origin is typing.Literal:
        return _literal_shape(typing.get_args(annotation))
    if origin in _COLLECTIONS or annotation in _COLLECTIONS:
        return _collection_shape(annotation, origin or annotation, strict)
    if origin in (dict, Mapping) or annotation is dict:
        arguments = typing.get_args(annotation)
        if arguments and arguments[0] is not str:
            return _unsupported(annotation, strict, "the keys of a dict are str")
        return Shape(Kind.MAPPING, item=_shape(arguments[1], strict) if arguments else Shape(Kind.JSON))
    if isinstance(annotation, type):
        return _class_shape(annotation, strict)
    return _unsupported(annotation, strict, "")


_COLLECTIONS: dict[Any, Callable[[Any], Any]] = {list: list, tuple: tuple, set: set, frozenset: frozenset}


def _union_shape(annotation: Any, strict: bool) -> Shape:
    arguments = typing.get_args(annotation)
    rest = [argument for argument in arguments if argument is not type(None)]
    if len(rest) != 1:
        return _unsupported(annotation, strict, "of unions, only Optional")
    inner = _shape(rest[0], strict)
    return dataclasses.replace(inner, optional=inner.optional or len(rest) < len(arguments))


def _literal_shape(values: tuple[Any, ...]) -> Shape:
    choices = []
    for value in values:
        if value is None:
            continue
        if isinstance(value, enum.Enum):
            choices.append(_enum_choice(value))
        elif isinstance(value, bool):
            choices.append(_TRUE if value else _FALSE)
        else:
            choices.append(Choice(str(value), value, value))
    return Shape(Kind.CHOICE, optional=None in values, choices=tuple(choices))


_TRUE = Choice("true", True, True, ("yes",))
_FALSE = Choice("false", False, False, ("no",))


def _collection_shape(annotation: Any, origin: Any, strict: bool) -> Shape:
    arguments = typing.get_args(annotation)
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        return _unsupported(annotation, strict, "return a dataclass instead of a tuple")
    return Shape(
        Kind.LIST, item=_shape(arguments[0], strict) if arguments else Shape(Kind.TEXT), make=_COLLECTIONS[origin]
    )


def _class_shape(cls: type, strict: bool) -> Shape:
    if cls is str:
        return Shape(Kind.TEXT)
    if cls is bool:
        return Shape(Kind.CHOICE, choices=(_TRUE, _FALSE))
    if cls is int:
        return Shape(Kind.INTEGER)
    if cls is float:
        return Shape(Kind.NUMBER)
    if issubclass(cls, enum.Enum):
        return Shape(Kind.CHOICE, choices=tuple(_enum_choice(member) for member in cls))
    if is_pydantic_model(cls):
        return _model_shape(cls)
    if dataclasses.is_dataclass(cls) or typing.is_typeddict(cls):
        return _record_shape(cls, strict)
    return _unsupported(cls, strict, "")


def is_pydantic_model(cls: type) -> bool:
    """Whether a class is a pydantic model; never imports pydantic."""
    pydantic = _pydantic()
    return pydantic is not None and issubclass(cls, pydantic.BaseModel)


def _pydantic() -> Any:
    # Where a model or a Field was made, pydantic is loaded; where it is not, there is none to find.
    pydantic = sys.modules.get("pydantic")
    return pydantic if pydantic is not None and hasattr(pydantic, "BaseModel") else None


def _record_shape(cls: type, strict: bool) -> Shape:
    hints = typing.get_type_hints(cls, include_extras=True)
    members = []
    if typing.is_typeddict(cls):
        required: frozenset[str] = getattr(cls, "__required_keys__", frozenset(hints))
        for name, annotation in hints.items():
            while typing.get_origin(annotation) in (typing.Required, typing.NotRequired):
                annotation = typing.get_args(annotation)[0]
            members.append(_member(name, annotation, strict, name in required))
        return Shape(Kind.RECORD, members=tuple(members), make=dict)
    for field in dataclasses.fields(cls):
        if field.init:
            given = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            members.append(_member(field.name, hints[field.name], strict, given))
    return Shape(Kind.RECORD, members=tuple(members), make=lambda values: cls(**values))


def _member(name: str, annotation: Any, strict: bool, required: bool) -> Member:
    _, metadata = split_annotated(annotation)
    return Member(name, annotation, shape_of(annotation, strict=strict), required, description_of(metadata))


def _model_shape(cls: Any) -> Shape:
    members = []
    names = {}
    for name, info in cls.model_fields.items():
        # pydantic checks its own members, so any type it knows is welcome here.
        annotation = info.annotation
        if info.metadata:
            annotation = typing.Annotated[(annotation, *info.metadata)]
        shape = shape_of(annotation, strict=False)
        members.append(Member(name, annotation, shape, info.is_required(), info.description or ""))
        alias = info.validation_alias if isinstance(info.validation_alias, str) else info.alias
        names[name] = alias or name

    def make(values: Mapping[str, Any]) -> Any:
        return cls.model_validate({names[name]: value for name, value in values.items()})

    return Shape(Kind.RECORD, members=tuple(members), make=make)


def _enum_choice(member: enum.Enum) -> Choice:
    text = _enum_text(member)
    return Choice(text, text, member, tuple(word for word in (member.name, str(member.value)) if word != text))


def _enum_text(member: enum.Enum) -> str:
    # A number says nothing to a language model; a name does.
    return member.value if isinstance(member.value, str) else member.name


def _unsupported(annotation: Any, strict: bool, hint: str) -> Shape:
    if not strict:
        return Shape(Kind.JSON)
    raise SignatureError(
        f"{type_text(annotation)} cannot be an output"
        + (f" ({hint})" if hint else "")
        + ": use str, int, float, bool, Literal, an enum, a list or Optional of those, a dataclass, or a pydantic model"
    )
