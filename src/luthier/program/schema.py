"""What pydantic knows about a type: its JSON schema as language models see it, and how a value is made and checked.

The schema of a type is short, for it stands in prompts: no titles, no defaults, choices by their texts, every property
required and no others allowed, definitions only where a type contains itself.
"""

from __future__ import annotations

import enum
import json
import sys
import types
import typing
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import typing_extensions
from pydantic import AliasChoices, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema

from luthier.program.shape import (
    Kind,
    Member,
    Shape,
    choices_of,
    description_of,
    members_of,
    split_annotated,
)

_CHOICES = "luthier_choices"
_CLASS = "luthier_class"
"""Marks of our own in a schema that is being made: the values of a choice, the class of a record."""
_KEPT = (
    *("pattern", "format", "minLength", "maxLength", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"),
    *("multipleOf", "minItems", "maxItems"),
)
_DECIMAL = "decimal"
"""The form of numbers whose digits are kept."""
_KINDS = {"integer": Kind.INTEGER, "number": Kind.NUMBER}
_NULL = {"type": "null"}
_REF = "#/$defs/"
_MOST_REASONS = 3


class Unknown(Exception):
    """pydantic has no JSON schema for the type, or none that says anything."""


def shape_of_schema(annotation: Any) -> Shape:
    """Return the shape of a type that pydantic knows.

    Raises:
        Unknown: it does not, or takes anything for it.
    """
    annotation = _accepted(annotation)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            full = adapter.json_schema(by_alias=False, schema_generator=_Generator)
    except NameError:
        raise
    except (PydanticUserError, TypeError, AttributeError) as error:
        raise Unknown(str(error).split("\n", 1)[0]) from error
    reader = _Reader(full)
    shape = reader.shape(full)
    schema = reader.schema(full)
    if shape.kind is Kind.JSON and not schema:
        raise Unknown("it may be anything")
    if reader.defined:
        schema = {**schema, "$defs": reader.defined}
    return replace(shape, schema=schema, make=_maker(adapter))


_OF_TEXTS: Mapping[Any, Any] = {list: list[str], set: set[str], frozenset: frozenset[str], tuple: tuple[str, ...]}


def _accepted(annotation: Any) -> Any:
    """Return a type as pydantic takes it: bare collections as ones of texts, a ``typing.TypedDict`` as a newer one."""
    if isinstance(annotation, type) and annotation in _OF_TEXTS:
        return _OF_TEXTS[annotation]
    if typing.is_typeddict(annotation) and type(annotation).__module__ == "typing" and sys.version_info < (3, 12):
        return _typed_dict(annotation)
    bare, metadata = split_annotated(annotation)
    if metadata:
        return typing.Annotated[(_accepted(bare), *metadata)]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    accepted = tuple(map(_accepted, arguments))
    if origin in (None, typing.Literal) or accepted == arguments:
        return annotation
    return typing.Union[accepted] if origin in (typing.Union, types.UnionType) else origin[accepted]  # noqa: UP007


def _typed_dict(cls: Any) -> Any:
    required = cls.__required_keys__
    fields = {
        name: (typing_extensions.Required if name in required else typing_extensions.NotRequired)[_accepted(annotation)]
        for name, annotation in members_of(cls).items()
    }
    return typing_extensions.TypedDict(cls.__name__, fields)  # type: ignore[operator]


def _maker(adapter: TypeAdapter[Any]) -> Callable[[Any], Any]:
    def make(data: Any) -> Any:
        # As JSON where it can be: models that are strict about Python's types still take what JSON has no type for.
        try:
            try:
                text = json.dumps(data, default=_member_value)
            except TypeError:
                return adapter.validate_python(data, by_alias=True, by_name=True)
            return adapter.validate_json(text, by_alias=True, by_name=True)
        except ValidationError as error:
            raise ValueError(_reasons(error)) from error
        except (TypeError, ArithmeticError) as error:  # a __post_init__ or a validator that refuses them
            raise ValueError(str(error)) from error

    return make


def _member_value(value: Any) -> Any:
    if isinstance(value, enum.Enum) and isinstance(value.value, str | int | float | None):
        return value.value
    raise TypeError(f"{value!r} is not JSON")


def _reasons(error: ValidationError) -> str:
    """Return what pydantic found, in one line, without the values and links that it adds."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    reasons = [": ".join([*map(str, each["loc"]), each["msg"]]) for each in found[:_MOST_REASONS]]
    return "; ".join(reasons) + (f"; and {len(found) - _MOST_REASONS} more" if len(found) > _MOST_REASONS else "")


class _Generator(GenerateJsonSchema):
    """Writes schemas whose choices are texts, and notes the classes that they are of."""

    def enum_schema(self, schema: Any) -> dict[str, Any]:
        return {_CHOICES: choices_of(schema["members"])}

    def literal_schema(self, schema: Any) -> dict[str, Any]:
        values = schema["expected"]
        chosen = {_CHOICES: choices_of(values)}
        return {"anyOf": [chosen, dict(_NULL)]} if None in values else chosen

    def bool_schema(self, schema: Any) -> dict[str, Any]:
        return {_CHOICES: choices_of((True, False))}

    def default_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def model_schema(self, schema: Any) -> dict[str, Any]:
        return {**super().model_schema(schema), _CLASS: schema["cls"]}

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        return {**super().dataclass_schema(schema), _CLASS: schema["cls"]}

    def typed_dict_schema(self, schema: Any) -> dict[str, Any]:
        return {**super().typed_dict_schema(schema), _CLASS: schema.get("cls")}

    def named_tuple_schema(self, schema: Any) -> dict[str, Any]:
        # Its names are shown, and read: a list of values would have to be counted.
        fields = {field["name"]: field["schema"] for field in schema["fields"]}
        required = [name for name, kept in fields.items() if kept["type"] != "default"]
        properties = {name: self.generate_inner(kept) for name, kept in fields.items()}
        return {"type": "object", "properties": properties, "required": required, _CLASS: schema["cls"]}

    def call_schema(self, schema: Any) -> dict[str, Any]:
        # A NamedTuple, too: before pydantic 2.13 it is the call of its class.
        arguments = self.kw_arguments_schema(schema["arguments_schema"]["arguments_schema"], None)
        return {**arguments, _CLASS: schema["function"]}

    def decimal_schema(self, schema: Any) -> dict[str, Any]:
        return {**super().decimal_schema(schema), "format": _DECIMAL}

    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        return value


class _Reader:
    """Reads pydantic's schema of one type."""

    def __init__(self, full: Mapping[str, Any]) -> None:
        self._definitions: Mapping[str, Any] = full.get("$defs", {})
        self._open: list[str] = []
        self.defined: dict[str, Any] = {}
        """Definitions of types that contain themselves."""

    def shape(self, node: Any) -> Shape:
        """Return the shape of what a schema describes."""
        if isinstance(name := _reference(node), str):
            if name in self._open:
                return Shape(Kind.JSON)
            self._open.append(name)
            shape = self.shape(self._definitions[name])
            self._open.pop()
            return shape
        node = node if isinstance(node, Mapping) else {}
        if _CHOICES in node:
            return Shape(Kind.CHOICE, choices=node[_CHOICES])
        if variants := _variants(node):
            if node.get("format") == _DECIMAL:
                return Shape(Kind.NUMBER, form=_DECIMAL)
            return self._union(variants)
        match node.get("type"):
            case "string":
                return Shape(Kind.TEXT, form=node.get("format", ""))
            case "array":
                return self._list(node)
            case "object":
                return self._record(node)
        return Shape(_KINDS.get(node.get("type", ""), Kind.JSON))

    def schema(self, node: Any) -> dict[str, Any]:
        """Return the short schema of what a schema describes."""
        if not isinstance(node, Mapping):
            return {}
        said = {"description": node["description"]} if isinstance(node.get("description"), str) else {}
        if isinstance(name := _reference(node), str):
            return {**self._defined(name), **said}
        if _CHOICES in node:
            return {"enum": [choice.json for choice in node[_CHOICES]], **said}
        if variants := _variants(node):
            return {"anyOf": [self.schema(variant) for variant in variants], **said}
        kept = {name: node[name] for name in _KEPT if name in node}
        match node.get("type"):
            case "array":
                places = node.get("prefixItems")
                if places is not None:
                    return {"type": "array", "prefixItems": list(map(self.schema, places)), **kept, **said}
                return {"type": "array", "items": self.schema(node.get("items")), **kept, **said}
            case "object" if "properties" in node:
                # A class's own description is for its programmers.
                return _object({name: self._property(node, name) for name in node["properties"]})
            case "object":
                return {"type": "object", "additionalProperties": self.schema(node.get("additionalProperties")), **said}
            case None:
                return said
            case kind:
                return {"type": kind, **kept, **said}

    def _defined(self, name: str) -> dict[str, Any]:
        if name in self._open:
            self.defined.setdefault(name, {})
            return {"$ref": _REF + name}
        self._open.append(name)
        made = self.schema(self._definitions[name])
        self._open.pop()
        if name not in self.defined:
            return made
        self.defined[name] = made
        return {"$ref": _REF + name}

    def _property(self, node: Mapping[str, Any], name: str) -> dict[str, Any]:
        made = self.schema(node["properties"][name])
        text = self._description(node, name)
        return {**made, "description": text} if text else made

    def _description(self, node: Mapping[str, Any], name: str) -> str:
        said = node["properties"][name]
        if isinstance(said.get("description"), str) and _CLASS not in said:
            return str(said["description"])
        cls = node.get(_CLASS)
        if cls is None or hasattr(cls, "model_fields"):
            return ""
        return description_of(split_annotated(members_of(cls).get(name))[1])

    def _union(self, variants: list[Any]) -> Shape:
        rest = [variant for variant in variants if variant != _NULL]
        optional = len(rest) < len(variants)
        shapes = tuple(map(self.shape, rest))
        if len(shapes) == 1:
            return replace(shapes[0], optional=optional or shapes[0].optional)
        if all(shape.kind is Kind.CHOICE for shape in shapes):
            return Shape(Kind.CHOICE, optional, tuple(choice for shape in shapes for choice in shape.choices))
        return Shape(Kind.JSON, optional, variants=shapes)

    def _list(self, node: Mapping[str, Any]) -> Shape:
        if (places := node.get("prefixItems")) is not None:
            members = [Member(str(index), None, self.shape(place), True) for index, place in enumerate(places)]
            return Shape(Kind.LIST, members=tuple(members))
        return Shape(Kind.LIST, item=self.shape(node.get("items", {})), unique=bool(node.get("uniqueItems")))

    def _record(self, node: Mapping[str, Any]) -> Shape:
        if "properties" not in node:
            return Shape(Kind.MAPPING, item=self.shape(node.get("additionalProperties", {})))
        cls, required = node.get(_CLASS), node.get("required", ())
        types = {} if cls is None else members_of(cls)
        members = [
            Member(
                name,
                types.get(name, Any),
                self.shape(said),
                name in required,
                self._description(node, name),
                _aliases(cls, name),
            )
            for name, said in node["properties"].items()
        ]
        return Shape(Kind.RECORD, members=tuple(members), type=cls)


def _reference(node: Any) -> str | None:
    reference = node.get("$ref") if isinstance(node, Mapping) else None
    return None if reference is None else str(reference).removeprefix(_REF)


def _variants(node: Mapping[str, Any]) -> list[Any]:
    return list(node.get("anyOf") or node.get("oneOf") or ())


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    # Servers that hold a model to a schema want every property required and no others allowed.
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _aliases(cls: Any, name: str) -> tuple[str, ...]:
    info = getattr(cls, "__pydantic_fields__", {}).get(name)
    alias = getattr(info, "validation_alias", None) or getattr(info, "alias", None)
    several = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return tuple(one for one in several if isinstance(one, str) and one != name)
