"""What an OpenAI client sends and reads, as luthier understands it: pure functions on bytes."""

from __future__ import annotations

import enum
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from luthier.errors import RateLimited, RequestRejected, ServerFault
from luthier.lm.faults import BadAnswer
from luthier.lm.own_request import OwnRejected
from luthier.lm.reply import answered_refusal, error_of, read_reply
from luthier.lm.request import Completion, FinishReason, ImagePart, Message, Request, TextPart, Usage
from luthier.types import Endpoint

_WITHOUT_EFFECT = frozenset(
    (
        *("stream", "stream_options", "user", "safety_identifier"),
        *("metadata", "store", "prompt_cache_key", "prompt_cache_retention"),
    )
)
"""Fields that do not change what is answered, and so are no part of the store's key."""
_ECHOES = ("instructions", "tools")
_ECHOED = "luthier_echoed"
_DATA_URL = re.compile(r'"data:([\w/+.-]*);base64,([^"]*)"')


class Kind(enum.Enum):
    """The endpoints that can be metered, by the end of their path; no end may hide behind another."""

    CHAT = "/chat/completions"
    COMPLETIONS = "/completions"
    RESPONSES = "/responses"
    EMBEDDINGS = "/embeddings"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of an OpenAI client that can be metered."""

    kind: Kind
    base_url: str
    query: str
    body: Mapping[str, Any]

    @property
    def model(self) -> str:
        """The model asked for."""
        return str(self.body["model"])

    @property
    def streams(self) -> bool:
        """Whether the client reads the answer as a stream."""
        return bool(self.body.get("stream"))

    @property
    def is_drawn(self) -> bool:
        """Whether another call with the same request may be answered otherwise."""
        return self.kind is not Kind.EMBEDDINGS and self.body.get("temperature") != 0

    @property
    def told(self) -> list[Any]:
        """All that can change the answer."""
        named = {name: value for name, value in self.body.items() if name not in _WITHOUT_EFFECT}
        return [self.kind.value, self.query, named]

    @property
    def whole_body(self) -> bytes:
        """The body that asks for the same answer, but not as a stream."""
        named = {name: value for name, value in self.body.items() if name not in ("stream", "stream_options")}
        return json.dumps(named, ensure_ascii=False, separators=(",", ":")).encode()

    def written(self, usual: int) -> int:
        """Return how many tokens may be written at most, an answer ``usual`` ones where the body does not say."""
        if self.kind is Kind.EMBEDDINGS:
            return 1
        given = (self.body.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"))
        most = next((int(value) for value in given if value is not None), usual)
        return most * max(int(self.body.get("n") or 1), int(self.body.get("best_of") or 1))

    def read(self) -> tuple[Message, ...]:
        """Return what the server reads at most: the whole body, images apart."""
        images: list[ImagePart] = []

        def take(found: re.Match[str]) -> str:
            digest = hashlib.sha256(found[2].encode()).hexdigest()
            images.append(ImagePart(digest, found[1], f"data:{found[1]};base64,{found[2]}"))
            return '""'

        text = _DATA_URL.sub(take, json.dumps(self.body, ensure_ascii=False))
        return (Message("user", (TextPart(text), *images) if images else text),)


def asked(method: str, url: str, content: bytes) -> Asked | None:
    """Return a request as one that can be metered, or None."""
    parts = urlsplit(url)
    kind = next((kind for kind in Kind if parts.path.endswith(kind.value)), None)
    if method.upper() != "POST" or kind is None:
        return None
    try:
        body = json.loads(content)
    except ValueError:
        return None
    if not isinstance(body, dict) or not isinstance(body.get("model"), str) or body.get("background"):
        return None
    base = f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix(kind.value)}"
    return Asked(kind, base, parts.query, body)


def completion_of(request: Asked, status: int, content: bytes, headers: Mapping[str, str]) -> Completion:
    """Return a reply as a completion that holds it whole.

    Raises:
        LMError: as the tree of ``luthier.errors`` says for the status; ``OwnRejected`` where the client is to read it.
    """
    if status >= 300:
        if (refusal := answered_refusal(status, content)) is not None:
            return replace(refusal, raw=content.decode("utf-8", "replace"))
        error = error_of(status, content, headers, request.base_url)
        if not isinstance(error, RequestRejected):
            raise error
        raise OwnRejected(str(error), status=status, content=content)
    if request.kind is Kind.CHAT or request.kind is Kind.COMPLETIONS:
        endpoint = Endpoint.CHAT if request.kind is Kind.CHAT else Endpoint.COMPLETIONS
        found = read_reply(content, headers, request.base_url, Request(endpoint=endpoint))
    else:
        found = _read_other(request, content)
    return replace(found, raw=_without_echoes(request, content.decode()))


def reply_of(request: Asked, completion: Completion) -> str:
    """Return the whole reply that a completion of this request holds."""
    raw = completion.raw or ""
    if request.kind is not Kind.RESPONSES or _ECHOED not in raw:
        return raw
    body = json.loads(raw)
    echoed = {name: request.body[name] for name in body.pop(_ECHOED)}
    return json.dumps({**body, **echoed}, ensure_ascii=False)


def status_of(completion: Completion) -> int:
    """Return the status of the reply that a completion holds: 400 where it is the server's refusal of a prompt."""
    if completion.refusal is None:
        return 200
    try:
        body = json.loads(completion.raw or "")
    except ValueError:
        return 400
    return 200 if isinstance(body, dict) and {"choices", "output"} & body.keys() else 400


def as_stream(request: Asked, content: str) -> bytes:
    """Return a whole reply as the stream that the client wants to read: all at once, then its end."""
    body = json.loads(content)
    if request.kind is Kind.RESPONSES:
        return b"".join(_event(event["type"], event) for event in _response_events(body))
    options = request.body.get("stream_options")
    with_usage = bool(isinstance(options, Mapping) and options.get("include_usage"))
    shared = {name: value for name, value in body.items() if name not in ("choices", "usage")}
    if request.kind is Kind.CHAT:
        shared["object"] = "chat.completion.chunk"
        chunks = [
            [{**choice, "delta": _delta(choice["message"]), "finish_reason": None} for choice in body["choices"]],
            [{**choice, "delta": {}, "logprobs": None} for choice in body["choices"]],
        ]
        for choice in (choice for chunk in chunks for choice in chunk):
            del choice["message"]
    else:
        chunks = [body["choices"]]
    told: list[dict[str, Any]] = [{**shared, "choices": chunk} for chunk in chunks]
    if with_usage:
        told.append({**shared, "choices": [], "usage": body.get("usage")})
    return b"".join(_event(None, chunk) for chunk in told) + b"data: [DONE]\n\n"


def _without_echoes(request: Asked, raw: str) -> str:
    """Return a reply without what it repeats of the prompt, since stores hold no prompts."""
    if request.kind is not Kind.RESPONSES:
        return raw
    body = json.loads(raw)
    same = [name for name in _ECHOES if request.body.get(name) and body.get(name) == request.body[name]]
    kept = {name: value for name, value in body.items() if name not in same}
    return json.dumps({**kept, _ECHOED: same}, ensure_ascii=False) if same else raw


def _read_other(request: Asked, content: bytes) -> Completion:
    try:
        body = json.loads(content)
        model, usage = str(body.get("model") or ""), body.get("usage")
        if request.kind is Kind.EMBEDDINGS:
            bill = None if usage is None else Usage(int(usage["prompt_tokens"]), 0, 0, 1)
            return Completion("", usage=bill if body["data"] else None, model=model)
        if body.get("status") == "failed":
            _raise_failed(request, body.get("error") or {})
        parts = [part for item in body["output"] if item["type"] == "message" for part in item["content"]]
        cached = ((usage or {}).get("input_tokens_details") or {}).get("cached_tokens") or 0
        return Completion(
            text="".join(part["text"] for part in parts if part["type"] == "output_text"),
            finish_reason=_finish(body),
            usage=None if usage is None else Usage(usage["input_tokens"], usage["output_tokens"], cached, 1),
            model=model,
            refusal=next((part["refusal"] for part in parts if part["type"] == "refusal"), None),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadAnswer(f"{request.base_url} sent an answer that is none ({type(error).__name__}).") from None


def _raise_failed(request: Asked, error: Mapping[str, Any]) -> None:
    message = f"{request.base_url} failed: {error.get('message')}"
    match error.get("code"):
        case "server_error":
            raise ServerFault(message)
        case "rate_limit_exceeded":
            raise RateLimited(message)


def _finish(body: Mapping[str, Any]) -> FinishReason:
    reason = (body.get("incomplete_details") or {}).get("reason")
    if reason is not None:
        return {"max_output_tokens": "length", "content_filter": "content_filter"}.get(reason, "other")  # type: ignore[return-value]
    return "tool_calls" if any(item["type"] == "function_call" for item in body["output"]) else "stop"


def _delta(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = [{"index": index, **call} for index, call in enumerate(message.get("tool_calls") or ())]
    return {**message, **({"tool_calls": calls} if calls else {})}


def _response_events(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events of a response in their order, each part's text in one piece."""
    number = -1

    def event(kind: str, **fields: Any) -> dict[str, Any]:
        nonlocal number
        number += 1
        return {"type": f"response.{kind}", "sequence_number": number, **fields}

    begun = {**body, "status": "in_progress", "output": [], "usage": None}
    yield event("created", response=begun)
    yield event("in_progress", response=begun)
    for index, item in enumerate(body["output"]):
        place = {"item_id": item.get("id", ""), "output_index": index}
        empty = {name: [] if name in ("content", "summary") else value for name, value in item.items()}
        if item["type"] == "function_call":
            empty["arguments"] = ""
        yield event("output_item.added", output_index=index, item=empty)
        if item["type"] == "function_call":
            yield event("function_call_arguments.delta", **place, delta=item["arguments"])
            yield event("function_call_arguments.done", **place, arguments=item["arguments"], name=item["name"])
        for at, part in enumerate(item.get("content") or ()):
            name = {"output_text": "text", "refusal": "refusal"}.get(part["type"])
            if item["type"] != "message" or name is None:
                continue
            more = {"logprobs": part.get("logprobs") or []} if name == "text" else {}
            yield event("content_part.added", **place, content_index=at, part={**part, name: "", "annotations": []})
            yield event(f"{part['type']}.delta", **place, content_index=at, delta=part[name], **more)
            yield event(f"{part['type']}.done", **place, content_index=at, **{name: part[name]}, **more)
            yield event("content_part.done", **place, content_index=at, part=part)
        yield event("output_item.done", output_index=index, item=item)
    end = body.get("status") if body.get("status") in ("incomplete", "failed") else "completed"
    yield event(str(end), response=body)


def _event(name: str | None, data: Mapping[str, Any]) -> bytes:
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
