"""A predictor's inputs as they are shown: images made of what stands for them, and turns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from luthier.lm.images import Image
from luthier.lm.turns import turn_of
from luthier.program.signature import Field, Form


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
