"""Prompts as OpenAI messages: each input is its name in braces, in the last message."""

from __future__ import annotations

import json
from typing import Any

from luthier.exports.parts import Part, Parts
from luthier.lm.request import message_json
from luthier.program.render import messages


def as_openai(parts: Parts) -> str:
    """Return, by predictor, the list of messages; by template region or tool, its text."""
    found = {**{part.name: placeholders(part) for part in parts.parts}, **parts.texts}
    return json.dumps(found, ensure_ascii=False, indent=2) + "\n"


def placeholders(part: Part) -> list[dict[str, Any]]:
    """Return a part's messages with ``{name}`` for every input."""
    inputs = {field.name: f"{{{field.name}}}" for field in part.signature.inputs}
    turns = messages(part.signature, part.prompt, inputs, json_form=part.json_form)
    return [message_json(turn) for turn in turns]
