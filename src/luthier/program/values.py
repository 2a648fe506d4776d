"""Values as JSON and back, and as the text that a language model reads."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Set
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID

from luthier.program.output_type import shape_of
from luthier.program.shape import Choice, Kind, Shape
from luthier.program.signature import Signature


def value_to_json(value: Any) -> Any:
    """Return any value as JSON; what JSON cannot hold becomes its ``repr``."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, str) else value.name
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else repr(float(value))
    if isinstance(value, Mapping):
        return {str(key): value_to_json(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: value_to_json(item) for name, item in zip(value._fields, value, strict=True)}
    if isinstance(value, list | tuple):
        return [value_to_json(item) for item in value]
    if isinstance(value, Set):
        return _sorted(value_to_json(item) for item in value)
    return _object_to_json(value)


def _sorted(items: Iterable[Any]) -> list[Any]:
    # A set has no order of its own; a stored answer is found again only if the text is always the same.
    return [json.loads(text) for text in sorted({json.dumps(item, sort_keys=True) for item in items})]


def _object_to_json(value: Any) -> Any:
    if (own := getattr(type(value), "luthier_json", None)) is not None:
        return own(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: value_to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    # pydantic models, dates, numpy scalars and arrays: asked by method, so no library is imported here.
    for method, arguments in (("model_dump", {"mode": "json"}), ("isoformat", {}), ("tolist", {}), ("item", {})):
        if callable(convert := getattr(type(value), method, None)):
            converted = convert(value, **arguments)
            if isinstance(converted, bool | int | float | str | list | dict):
                return value_to_json(converted)
    return str(value) if isinstance(value, Decimal | UUID | PurePath) else repr(value)


def json_to_value(annotation: Any, data: Any) -> Any:
    """Return the value of a type that JSON stands for.

    Raises:
        ValueError: the JSON is not of that type.
        SignatureError: the type is not supported.
    """
    return value_of(shape_of(annotation, strict=False), data)


_BITS = {"1": True, "0": False, "1.0": True, "0.0": False}


def read_label(annotation: Any, label: Any) -> Any:
    """Return the value of a type that a label in a table stands for: as an answer is read, and 1 and 0 are bools.

    Raises:
        ValueError: the label is not of that type.
        SignatureError: the type is not supported.
    """
    if annotation is bool and str(label) in _BITS:
        return _BITS[str(label)]
    return json_to_value(annotation, value_to_json(label))


def value_of(shape: Shape, data: Any) -> Any:
    """Return the value of a shape that JSON stands for; numbers and choices may be written as text.

    Raises:
        ValueError: the JSON is not of that shape, or breaks a rule of the type.
    """
    read = read_json(shape, data)
    return read if shape.make is None or (read is None and shape.optional) else shape.make(read)


def read_json(shape: Shape, data: Any) -> Any:
    """Return JSON as a shape has it, before the value is made of it: its numbers as numbers, its choices' values.

    Raises:
        ValueError: the JSON is not of that shape.
    """
    if data is None and shape.kind is not Kind.JSON:
        if shape.optional:
            return None
        raise ValueError("it is null")
    readers: Mapping[Kind, Callable[[Shape, Any], Any]] = {
        Kind.TEXT: _text,
        Kind.INTEGER: _number,
        Kind.NUMBER: _number,
        Kind.LIST: _list,
        Kind.MAPPING: _mapping,
        Kind.RECORD: _record,
        Kind.JSON: _variant,
    }
    return choice_of(shape, data).value if shape.kind is Kind.CHOICE else readers[shape.kind](shape, data)


def _text(shape: Shape, data: Any) -> str:
    if isinstance(data, int | float) and not isinstance(data, bool):
        return json.dumps(data)
    if not isinstance(data, str):
        raise ValueError("it is no text")
    return data


def choice_of(shape: Shape, data: Any) -> Choice:
    """Return the one choice that a JSON value stands for.

    Raises:
        ValueError: none, or more than one.
    """
    exact = [c for c in shape.choices if type(c.json) is type(data) and c.json == data]
    if not exact and not isinstance(data, list | dict):
        text = "true" if data is True else "false" if data is False else str(data)
        exact = [c for c in shape.choices if c.text == text]
        if not exact:
            form = folded(text.strip())
            exact = [c for c in shape.choices if form in map(folded, (c.text, *c.aliases))]
    if len(exact) != 1:
        raise ValueError(f"it is not one of {', '.join(choice.text for choice in shape.choices)}")
    return exact[0]


def folded(text: str) -> str:
    """Return a text without case, its letters spelled in the one of Unicode's ways that all others stand for."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _number(shape: Shape, data: Any) -> Any:
    if isinstance(data, str):
        if shape.form:  # a decimal, whose digits are kept
            return data
        data = float(data) if shape.kind is Kind.NUMBER else int(data)
    if isinstance(data, bool) or not isinstance(data, int | float):
        raise ValueError("it is no number")
    try:
        number = float(data)
    except OverflowError as error:
        if shape.kind is Kind.INTEGER:
            return data
        raise ValueError("it is too large") from error
    if not math.isfinite(number):
        raise ValueError("it is no finite number")
    if shape.kind is Kind.NUMBER:
        return number
    if number != int(number):
        raise ValueError("it is no whole number")
    return int(data)


def _list(shape: Shape, data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise ValueError("it is no list")
    if shape.item is None:
        if len(data) != len(shape.members):
            raise ValueError(f"it has {len(data)} items, not {len(shape.members)}")
        return [value_of(member.shape, item) for member, item in zip(shape.members, data, strict=True)]
    read = [value_of(shape.item, item) for item in data]
    return read if not shape.unique else [value_of(shape.item, item) for item in _sorted(map(value_to_json, read))]


def _mapping(shape: Shape, data: Any) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise ValueError("it is no object")
    assert shape.item is not None
    return {str(key): value_of(shape.item, item) for key, item in data.items()}


def _record(shape: Shape, data: Any) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise ValueError("it is no object")
    values = dict(data)
    for member in shape.members:
        name = member.name
        written = next((key for key in (name, *member.aliases) if key in data), None)
        if written is not None:
            item = values.pop(written)
            try:
                values[name] = value_of(member.shape, item)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        elif member.required:
            if not member.shape.optional:
                raise ValueError(f"{name} is missing")
            values[name] = None
    return values


def _variant(shape: Shape, data: Any) -> Any:
    """Return data as the first of a union's types that it is of as it is written; which one it is, its maker says."""
    for variant in shape.variants:
        try:
            if isinstance(data, _WRITTEN_AS[variant.kind]) and not (
                isinstance(data, bool) and variant.kind in (Kind.INTEGER, Kind.NUMBER)
            ):
                return read_json(variant, data)
        except ValueError:
            continue
    return data


_WRITTEN_AS: Mapping[Kind, Any] = {
    Kind.TEXT: str,
    Kind.INTEGER: int,
    Kind.NUMBER: (int, float),
    Kind.CHOICE: (str, int, float),
    Kind.LIST: list,
    Kind.MAPPING: dict,
    Kind.RECORD: dict,
    Kind.JSON: object,
}


def output_shapes(signature: Signature) -> dict[str, Shape]:
    """Return the shape of every output field, by name."""
    return {field.name: shape_of(field.type, strict=False) for field in signature.outputs}


def result_shape(signature: Signature) -> Shape | None:
    """Return the shape of the value a predictor returns if it is a record that its outputs are members of."""
    shape = shape_of(signature.result, strict=False)
    if shape.kind is not Kind.RECORD or shape.optional or hasattr(signature.result, "luthier_json"):
        return None
    return shape


def result_to_outputs(signature: Signature, value: Any) -> tuple[dict[str, Any], str | None]:
    """Take the value that a predictor's own body returned apart into outputs and reasoning, as JSON."""
    data = value_to_json(value)
    if result_shape(signature) is None or not isinstance(data, dict):
        return {signature.outputs[0].name: data}, None
    reasoning = data.pop("reasoning", None) if signature.reasoning else None
    names = {field.name for field in signature.outputs}
    return {name: item for name, item in data.items() if name in names}, reasoning


def input_text(data: Any) -> str:
    """Return a JSON value as a predictor's input shows it: text as it is, lists as numbered lines, the rest as JSON."""
    if isinstance(data, str):
        return data
    if data is None:
        return "none"
    if isinstance(data, bool | int | float):
        return json.dumps(data)
    if isinstance(data, list) and data:
        return "\n".join(f"{number}. {_item_text(item)}" for number, item in enumerate(data, 1))
    return json.dumps(data, ensure_ascii=False)


def _item_text(item: Any) -> str:
    text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
    return text.replace("\n", "\n   ")


def output_text(shape: Shape, data: Any) -> str:
    """Return a JSON value as a predictor's answer writes it; structured values are JSON on one line."""
    if shape.structured:
        return json.dumps(data, ensure_ascii=False)
    if data is None:
        return "none"
    if isinstance(data, str) and shape.kind is not Kind.CHOICE:
        return data
    if shape.kind is Kind.CHOICE:
        try:
            return choice_of(shape, data).text
        except ValueError:
            return data if isinstance(data, str) else json.dumps(data)
    return json.dumps(data, ensure_ascii=False)
