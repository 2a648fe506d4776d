"""Inputs as they stand behind their names in a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.program.values import input_text, value_to_json


def placed(inputs: Mapping[str, Any]) -> dict[str, str]:
    """Return the text behind ``name:`` for each input: on the same line, or below it and indented."""
    texts = {name: input_text(value_to_json(value)) for name, value in inputs.items()}
    return {name: _behind(text) for name, text in texts.items()}


def _behind(text: str) -> str:
    if "\n" in text:
        return "".join(f"\n  {line}" for line in text.split("\n"))
    return f" {text}" if text else ""
