"""Between DSPy's requests and responses (its ``lm15`` types) and luthier's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from dspy import lm15
from dspy._vendor.lm15.serde import request_from_dict, request_to_dict, response_from_dict, response_to_dict

from luthier.lm.request import (
    Completion,
    FinishReason,
    ImagePart,
    Message,
    OutputSchema,
    Part,
    Request,
    TextPart,
    Tool,
    ToolCall,
    Usage,
)

WHOLE = "lm15"
"""Among a request's extra fields: DSPy's request, whole, for DSPy's own client to send."""

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_call": "tool_calls",
    "content_filter": "content_filter",
}
_FINISH_BACK = {ours: theirs for theirs, ours in _FINISH.items()}
_SAMPLING = ("frequency_penalty", "presence_penalty", "top_k", "service_tier", "store")


def to_request(request: Any, *, whole: bool) -> Request:
    """Return DSPy's request as luthier's; ``whole`` adds DSPy's own, so that DSPy's client loses nothing of it."""
    config = request.config
    extra: dict[str, Any] = {WHOLE: request_to_dict(request)} if whole else _extra(config)
    return Request(
        messages=(*_system(request.system), *(one for message in request.messages for one in _messages(message))),
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=config.max_tokens,
        stop=tuple(config.stop),
        seed=config.seed,
        tools=tuple(_tool(tool) for tool in request.tools),
        schema=_schema(config.response_format),
        extra=extra,
    )


def from_request(request: Request, model: str) -> Any:
    """Return luthier's request as DSPy's: the whole one it carries, else one made of its messages."""
    whole = request.extra.get(WHOLE)
    if whole is not None:  # made for the program's LM, be it that a teacher answers
        return replace(request_from_dict(dict(whole)), model=model)
    system = "\n\n".join(message.text for message in request.messages if message.role == "system")
    turns = [message for message in request.messages if message.role != "system"]
    made = [
        lm15.Message.assistant(turn.text) if turn.role == "assistant" else lm15.Message.user(turn.text)
        for turn in turns
    ]
    if request.prompt is not None:
        made = [lm15.Message.user(request.prompt)]
    config = lm15.Config(
        temperature=request.temperature,
        top_p=request.top_p,
        max_tokens=request.max_tokens,
        stop=request.stop,
        seed=request.seed,
    )
    return lm15.Request(model=model, messages=tuple(made), system=system or None, config=config)


def hotter(request: Any, temperature: float | None) -> Any:
    """Return DSPy's request at another temperature; None leaves it."""
    return request if temperature is None else replace(request, config=replace(request.config, temperature=temperature))


def to_completion(response: Any, *, whole: bool) -> Completion:
    """Return DSPy's response as luthier's; ``whole``: nothing that DSPy's adapters might read gets lost."""
    parts = response.message.parts
    plain = all(isinstance(part, (lm15.TextPart, lm15.ToolCallPart)) for part in parts) and response.logprobs is None
    return Completion(
        text="".join(part.text for part in parts if isinstance(part, lm15.TextPart)),
        finish_reason=_FINISH.get(response.finish_reason, "other"),
        usage=_usage(response.usage),
        model=response.model,
        tool_calls=tuple(ToolCall(call.id, call.name, json.dumps(call.input)) for call in response.tool_calls),
        raw=json.dumps(response_to_dict(response), sort_keys=True) if whole and not plain else None,
    )


def to_response(completion: Completion, model: str) -> Any:
    """Return luthier's completion as DSPy's response.

    Raises:
        lm15.ContextLengthError: the server found the prompt too long.
    """
    if completion.refusal is not None and completion.finish_reason == "length" and not completion.text:
        raise lm15.ContextLengthError(completion.refusal)
    if completion.raw is not None:
        return response_from_dict(json.loads(completion.raw))
    calls = [
        lm15.ToolCallPart(call.id or f"call_{n}", call.name, _json_object(call.arguments))
        for n, call in enumerate(completion.tool_calls)
    ]
    parts = [*([lm15.TextPart(completion.text)] if completion.text or not calls else []), *calls]
    usage = completion.usage or Usage()
    return lm15.Response(
        id=None,
        model=completion.model or model,
        message=lm15.Message(role="assistant", parts=tuple(parts)),
        finish_reason=_FINISH_BACK.get(completion.finish_reason, "stop"),
        usage=lm15.Usage(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            cache_read_tokens=usage.cached_tokens,
        ),
    )


def _usage(usage: Any) -> Usage | None:
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    read = usage.input_tokens or 0
    return Usage(read, usage.output_tokens or 0, min(read, usage.cache_read_tokens or 0), 1)


def _system(system: Any) -> tuple[Message, ...]:
    if system is None:
        return ()
    return (Message("system", system if isinstance(system, str) else _content(system)),)


def _messages(message: Any) -> list[Message]:
    results = [part for part in message.parts if isinstance(part, lm15.ToolResultPart)]
    if results:
        return [Message("tool", _text(part.content), tool_call_id=part.id) for part in results]
    calls = tuple(
        ToolCall(part.id, part.name, json.dumps(part.input))
        for part in message.parts
        if isinstance(part, lm15.ToolCallPart)
    )
    role: Literal["system", "user", "assistant"] = "user"
    if message.role != "user":
        role = "assistant" if message.role == "assistant" else "system"
    return [Message(role, _content(message.parts), tool_calls=calls)]


def _content(parts: Any) -> str | tuple[Part, ...]:
    if any(isinstance(part, lm15.ImagePart) for part in parts):
        return tuple(_part(part) for part in parts if isinstance(part, (lm15.TextPart, lm15.ImagePart)))
    return _text(parts)


def _text(parts: Any) -> str:
    return "".join(part.text for part in parts if hasattr(part, "text") and part.text)


def _part(part: Any) -> Part:
    if isinstance(part, lm15.TextPart):
        return TextPart(part.text)
    url = part.url or f"data:{part.media_type};base64,{part.data}"
    return ImagePart(hashlib.sha256(url.encode()).hexdigest(), part.media_type, url)


def _tool(tool: Any) -> Tool:
    if isinstance(tool, lm15.FunctionTool):
        return Tool(tool.name, tool.description or "", dict(tool.parameters))
    return Tool(tool.name, "", dict(tool.config or {}))


def _schema(response_format: Mapping[str, Any] | None) -> OutputSchema | None:
    if response_format is None or response_format.get("type") != "json_schema":
        return None
    return OutputSchema(str(response_format.get("name") or "answer"), dict(response_format["schema"]))


def _extra(config: Any) -> dict[str, Any]:
    extra = {name: getattr(config, name) for name in _SAMPLING if getattr(config, name) is not None}
    if config.response_format is not None and config.response_format.get("type") == "json_object":
        extra["response_format"] = {"type": "json_object"}
    if config.tool_choice is not None:
        extra["tool_choice"] = config.tool_choice.mode
    return {**extra, **(config.extensions or {})}


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {"arguments": text}
    return value if isinstance(value, dict) else {"arguments": value}
