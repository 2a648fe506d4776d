"""What all chat forms have in common: messages that never change, and a last one made of the inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.exports.parts import Part
from luthier.program.render import messages
from luthier.program.values import input_text, value_to_json


def before(part: Part) -> list[dict[str, Any]]:
    """Return the messages that come before all inputs: the instruction and the demonstrations."""
    return sent(part, {})[:-1]


def sent(part: Part, inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages that luthier sends for these inputs: what every form is held to."""
    turns = messages(part.signature, part.prompt, inputs, json_form=part.json_form)
    return [{"role": turn.role, "content": turn.text} for turn in turns]


def texts(part: Part, inputs: Mapping[str, Any]) -> dict[str, str]:
    """Return the text that stands for each input in a message."""
    names = [field.name for field in part.signature.inputs if field.name in inputs]
    return {name: input_text(value_to_json(inputs[name])) for name in names}
