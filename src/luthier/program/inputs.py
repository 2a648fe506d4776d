"""A predictor's inputs as they are shown: images made of what stands for them, and turns."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, get_args, get_origin, get_type_hints
from uuid import UUID

from luthier.errors import DataError
from luthier.lm.images import Image
from luthier.lm.request import Message
from luthier.lm.turns import turn_of
from luthier.program.shape import type_text
from luthier.program.signature import Field, Form
from luthier.program.values import json_to_value, value_to_json


def declared_inputs(function: Callable[..., Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's inputs as a program declares them: models, dates, and the like as instances of their classes.

    Text, numbers, choices, and what lists and mappings hold of them stay as they are in the row.

    Raises:
        DataError: a value is not of the declared type.
    """
    made = dict(inputs)
    for name, annotation in _made_types(function).items():
        if made.get(name) is None:
            continue
        try:
            made[name] = json_to_value(annotation, value_to_json(made[name]))
        except ValueError as error:
            raise DataError(
                f"the column {name!r} does not fit the program's parameter {name}: {type_text(annotation)}: {error}. "
                "Change the value, or the parameter's type"
            ) from error
    return made


@functools.lru_cache(maxsize=64)
def _made_types(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the parameters whose values are made of what a row holds, with their types."""
    plain = getattr(function, "function", function)
    try:
        hints = get_type_hints(plain, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return {}
    hints.pop("return", None)
    return {name: hint for name, hint in hints.items() if _holds_classes(hint)}


def _holds_classes(annotation: Any) -> bool:
    """Whether a type is a class that pydantic makes of JSON, or holds one; never turns and images."""
    if arguments := get_args(annotation):
        inside = arguments[:1] if get_origin(annotation) is Annotated else arguments
        return any(map(_holds_classes, inside))
    if not isinstance(annotation, type) or annotation in (Image, Message):
        return False
    if dataclasses.is_dataclass(annotation) or hasattr(annotation, "model_fields") or hasattr(annotation, "_fields"):
        return not hasattr(annotation, "luthier_json")
    return issubclass(annotation, date | time | timedelta | Decimal | UUID)


def normal_inputs(fields: Iterable[Field], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs with images made of paths, addresses, and bytes, and turns of what clients have for turns.

    Raises:
        DataError: one stands for no image, or no turn.
    """
    found = dict(inputs)
    for field in fields:
        value = found.get(field.name)
        if value is None or field.form is Form.TEXT:
            continue
        if field.form is Form.CHAT:
            found[field.name] = [turn_of(turn) for turn in value]
        else:
            found[field.name] = [Image.of(one) for one in value] if isinstance(value, list | tuple) else Image.of(value)
    return found
