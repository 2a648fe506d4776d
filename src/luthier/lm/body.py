"""A request as the JSON body that OpenAI-compatible servers take."""

from __future__ import annotations

from typing import Any

from luthier.lm.choices import beginnings
from luthier.lm.providers import PROVIDERS, Address
from luthier.lm.request import ImagePart, Message, Request, TextPart
from luthier.lm.sent_schema import SentSchema, sent_schema
from luthier.types import Endpoint


def request_body(request: Request, address: Address, *, llama: bool) -> dict[str, Any]:
    """Return the body of ``request``; fields left at None are not sent, ``extra`` goes last and wins.

    ``llama`` asks for llama.cpp's own fields: its completions endpoint ignores ``response_format``, and a schema
    beside a grammar would silently win over it.
    """
    body: dict[str, Any] = {"model": address.model}
    if request.endpoint is Endpoint.CHAT:
        body["messages"] = [message_body(message) for message in request.messages]
    else:
        body["prompt"] = request.prompt or ""
    body.update(_sampling(request, address))
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
            }
            for tool in request.tools
        ]
    if request.grammar is not None:
        body["grammar"] = request.grammar
    elif request.schema is not None:
        body.update(_schema(request, llama=llama))
    if llama:
        body["cache_prompt"] = True
        if enough := beginnings(request.choices):
            # Only the verbose answer says which of them was met.
            body.update(stop=[*request.stop, *enough], verbose=True)
    body.update(request.extra)
    return {name: value for name, value in body.items() if value is not None}


def _sampling(request: Request, address: Address) -> dict[str, Any]:
    # OpenAI's own newer models refuse "max_tokens"; other servers know no other name.
    own = address.provider is PROVIDERS["openai"] and request.endpoint is Endpoint.CHAT
    named = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_completion_tokens" if own else "max_tokens": request.max_tokens,
        "stop": list(request.stop) or None,
        "seed": request.seed,
    }
    return {name: value for name, value in named.items() if value is not None}


def _schema(request: Request, *, llama: bool) -> dict[str, Any]:
    if request.schema is None:
        return {}
    schema = dict(request.schema.schema)
    if request.endpoint is Endpoint.CHAT:
        sent = SentSchema(schema, strict=True) if llama else sent_schema(schema)  # llama.cpp knows no such rules
        if sent is None:
            return {}
        form = {"name": request.schema.name, "schema": sent.schema, "strict": sent.strict}
        return {"response_format": {"type": "json_schema", "json_schema": form}}
    return {"json_schema": schema} if llama else {}


def message_body(message: Message) -> dict[str, Any]:
    """Return a turn as OpenAI-compatible servers and clients take it."""
    out: dict[str, Any] = {"role": message.role, "content": message.content}
    if not isinstance(message.content, str):
        out["content"] = [_part(part) for part in message.content]
    if message.tool_calls:
        out["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    return out


def _part(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": part.url}}
