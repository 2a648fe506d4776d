"""LM calls as attributes of OpenTelemetry's conventions for generative AI; no text of them unless it is asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from luthier.errors import Unparseable
from luthier.lm.lm import LM
from luthier.lm.middleware.call import Call
from luthier.lm.own_request import OwnRequest
from luthier.lm.providers import PROVIDERS
from luthier.lm.redact import redact
from luthier.lm.request import Completion, ImagePart, Message, Request, TextPart
from luthier.program.call import own_predictor, pending_call
from luthier.program.context import Run
from luthier.program.parse import parse
from luthier.program.signature import Field
from luthier.program.values import value_to_json
from luthier.types import Endpoint, Role

_OPERATIONS = {Endpoint.CHAT: "chat", Endpoint.COMPLETIONS: "text_completion"}
_OF_CLIENTS = {"/completions": "text_completion", "/embeddings": "embeddings"}
_CONVENTIONAL = {"mistral": "mistral_ai", "gemini": "gcp.gemini", "xai": "x_ai", "llamacpp": "llama_cpp"}
_HIDDEN = "[private]"
_MOST_IN_A_SERVICE = 1000
"""``lt.use`` has one run for as long as it lives, which must not grow with every call."""
_WORD = 3
"""Shorter texts are hidden only where they stand alone: else hardly a letter were left."""


def span_name(lm: LM, request: Request) -> str:
    """Return the name that the conventions give a call's span."""
    return f"{_operation(request)} {_model(lm)}"


def attributes_of_call(lm: LM, call: Call) -> dict[str, Any]:
    """Return what is known before the answer; a setting that is not sent is None."""
    request, body = call.request, _body(call.request)
    limit = body.get("max_completion_tokens", body.get("max_output_tokens", body.get("max_tokens")))
    fields: dict[str, Any] = {
        "gen_ai.operation.name": _operation(request),
        "gen_ai.provider.name": _provider(lm),
        "gen_ai.request.model": _model(lm),
        "gen_ai.request.temperature": body.get("temperature", request.temperature),
        "gen_ai.request.top_p": body.get("top_p", request.top_p),
        "gen_ai.request.max_tokens": limit if body else request.max_tokens,
        "gen_ai.request.seed": body.get("seed", request.seed),
        "gen_ai.request.stop_sequences": list(request.stop) or None,
        "gen_ai.output.type": "text" if request.schema is None else "json",
        "luthier.predictor": None if call.role == Role.PROPOSER else request.affinity or own_predictor() or None,
        "luthier.sample": request.sample,
    }
    if lm.address is not None:
        where = urlsplit(lm.address.base_url)
        fields |= {"server.address": where.hostname, "server.port": where.port or _port(where.scheme)}
    return fields


def attributes_of_answer(call: Call, completion: Completion) -> dict[str, Any]:
    """Return what an answer adds; one from the store, or shared with an identical call in flight, cost nothing."""
    fields: dict[str, Any] = {
        "gen_ai.response.finish_reasons": [completion.finish_reason],
        "luthier.answered_by": "store" if call.stored else "lm" if call.sent else "shared",
    }
    if completion.model:
        fields["gen_ai.response.model"] = completion.model
    if (usage := completion.usage) is not None:
        fields["gen_ai.usage.input_tokens"] = usage.prompt_tokens
        fields["gen_ai.usage.output_tokens"] = usage.completion_tokens
        if usage.cached_tokens:
            fields["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
    return fields


def texts_of_call(call: Call, run: Run | None) -> dict[str, str]:
    """Return what is sent, as the conventions write it, without keys and private fields."""
    pending, request = pending_call.get(), call.request
    if pending is not None and run is not None:
        private = _names(pending.predictor.signature.inputs)
        keep_private(run, [value for name, value in pending.inputs.items() if name in private])
    messages = _own_messages(request) or request.messages or (Message("user", request.prompt or ""),)
    return {"gen_ai.input.messages": json.dumps([_message(m, run) for m in messages], ensure_ascii=False)}


def texts_of_answer(completion: Completion, run: Run | None) -> dict[str, str]:
    """Return what was answered, in the same way; nothing of an answer whose private fields cannot be told apart."""
    pending, text = pending_call.get(), completion.text
    if pending is not None and run is not None and (private := _names(pending.predictor.signature.outputs)):
        try:
            outputs = parse(pending.predictor.signature, completion).outputs
        except Unparseable:
            outputs = None
        if outputs is None or len(outputs) == len(private):
            text = _HIDDEN
        else:
            keep_private(run, [value for name, value in outputs.items() if name in private])
    said = _message(Message("assistant", text, completion.tool_calls), run)
    answer = {**said, "finish_reason": completion.finish_reason}
    return {"gen_ai.output.messages": json.dumps([answer], ensure_ascii=False)}


def keep_private(run: Run, values: Iterable[Any]) -> None:
    """Note texts that nothing told of this run may hold."""
    for value in values:
        run.private.update(dict.fromkeys(_leaves(value_to_json(value))))
    while run.ambient and len(run.private) > _MOST_IN_A_SERVICE:
        del run.private[next(iter(run.private))]


def _hidden(text: str, run: Run | None) -> str:
    """Return a text without private values, also as they are written in JSON, and without keys."""
    for value in sorted(run.private if run is not None else (), key=len, reverse=True):
        forms = {value, *(json.dumps(value, ensure_ascii=ascii)[1:-1] for ascii in (False, True))}
        written = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
        text = re.sub(written if len(value) >= _WORD else rf"(?<!\w)(?:{written})(?!\w)", _HIDDEN, text)
    return redact(text)


def _message(message: Message, run: Run | None) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for part in (TextPart(message.content),) if isinstance(message.content, str) else message.content:
        if isinstance(part, ImagePart):  # by its hash: pictures do not belong in a trace
            parts.append({"type": "image", "mime_type": part.media_type, "sha256": part.sha256})
        elif part.text:
            parts.append({"type": "text", "content": _hidden(part.text, run)})
    for call in message.tool_calls:
        arguments = _hidden(call.arguments, run)
        parts.append({"type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments})
    return {"role": message.role, "parts": parts}


def _body(request: Request) -> Mapping[str, Any]:
    """Return the body that a client of the user's own sends; nothing where luthier wrote the request."""
    return request.told[-1] if isinstance(request, OwnRequest) else {}


def _operation(request: Request) -> str:
    if isinstance(request, OwnRequest):
        return _OF_CLIENTS.get(request.told[0], "chat")
    return _OPERATIONS[request.endpoint]


def _own_messages(request: Request) -> tuple[Message, ...]:
    """Return a client's chat as messages; nothing where it holds more than text: then its whole body is reported."""
    turns = _body(request).get("messages") or ()
    if not all(isinstance(turn.get("content"), str) and not turn.get("tool_calls") for turn in turns):
        return ()
    return tuple(Message(turn["role"], turn["content"]) for turn in turns)


def _leaves(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif value is not None and not isinstance(value, bool) and (text := str(value).strip()):
        yield text
        lines = [line.strip() for line in text.splitlines()]
        yield from filter(None, lines if len(lines) > 1 else ())


def _names(fields: Iterable[Field]) -> frozenset[str]:
    return frozenset(field.name for field in fields if field.private)


def _model(lm: LM) -> str:
    return lm.name if lm.address is None else lm.address.model


def _provider(lm: LM) -> str:
    if lm.is_local:
        return "local"
    if not isinstance(lm.model, str):
        return "python"
    if lm.address is not None and ".azure.com" in lm.address.base_url:
        return "azure.ai.openai"
    known = lm.address.provider if lm.address is not None else None
    prefix = next((name for name, each in PROVIDERS.items() if each is known), lm.model.partition("/")[0])
    # Any other server speaks OpenAI's protocol, which is what the conventions have this name for.
    return _CONVENTIONAL.get(prefix, prefix) if prefix in PROVIDERS else "openai"


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80
