"""Chat turns as values: what users hand in as a history, read from either form, and sent to their clients."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.errors import DataError
from luthier.lm.body import message_body
from luthier.lm.images import Image
from luthier.lm.request import ImagePart, Message, Part, TextPart, ToolCall

__all__ = ["message_body", "turn_of"]

_ROLES = ("system", "user", "assistant", "tool")


def turn_of(value: Any) -> Message:
    """Return a turn from a ``Message``, from its JSON, or from what OpenAI-compatible clients have.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(value, Message):
        return value
    if hasattr(value, "model_dump"):  # a message object of the openai package
        value = value.model_dump(mode="json", exclude_none=True)
    if not isinstance(value, Mapping) or value.get("role") not in _ROLES:
        raise DataError(f"{value!r:.200} is no turn of a chat: give lt.Message(role, content), or its JSON")
    content = value.get("content")
    calls = tuple(_call(call) for call in value.get("tool_calls") or ())
    said = content if isinstance(content, str) else tuple(_part(part) for part in content or ()) or ""
    return Message(value["role"], said, calls, value.get("tool_call_id"))


def _call(call: Any) -> ToolCall:
    if isinstance(call, Sequence) and not isinstance(call, str):
        return ToolCall(*call)
    if "function" in call:
        return ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
    arguments = call["arguments"]
    return ToolCall(call["id"], call["name"], arguments if isinstance(arguments, str) else json.dumps(arguments))


def _part(part: Any) -> Part:
    if isinstance(part, TextPart | ImagePart):
        return part
    if isinstance(part, Image):
        return part.part
    if isinstance(part.get("image_url"), Mapping):
        return Image(part["image_url"]["url"]).part
    return Image.of(part).part if "image" in part else TextPart(part["text"])
