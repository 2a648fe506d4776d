"""Takes a type apart: by its annotation where that tells all, else by what pydantic knows of it."""

from __future__ import annotations

import functools
from typing import Any

from luthier.errors import SignatureError
from luthier.program.shape import Kind, Shape, plain_shape, type_text


def shape_of(annotation: Any, *, strict: bool = True) -> Shape:
    """Take a type apart; unless ``strict``, what cannot be read from an answer becomes plain JSON.

    Raises:
        SignatureError: the type cannot be an output.
    """
    try:
        return _cached_shape(annotation, strict)
    except TypeError:  # an unhashable argument of Annotated
        return _shape(annotation, strict)


@functools.lru_cache(maxsize=1024)
def _cached_shape(annotation: Any, strict: bool) -> Shape:
    return _shape(annotation, strict)


def _shape(annotation: Any, strict: bool) -> Shape:
    plain = plain_shape(annotation)
    if plain is not None:
        return plain
    if annotation is None or annotation is type(None):
        return _unsupported(annotation, strict, "")
    from luthier.program import schema

    try:
        return schema.shape_of_schema(annotation)
    except schema.Unknown as error:
        return _unsupported(annotation, strict, str(error))


def _unsupported(annotation: Any, strict: bool, why: str) -> Shape:
    if not strict:
        return Shape(Kind.JSON)
    raise SignatureError(
        f"{type_text(annotation)} cannot be an output"
        + (f" ({why})" if why else "")
        + ": use str, int, float, bool, Literal, an enum, a dataclass, a pydantic model, "
        "or another type that pydantic can write as a JSON schema"
    )
