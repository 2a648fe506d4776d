"""The one seam between luthier and language models: a request in, a completion out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from luthier.canonical import content_hash
from luthier.types import Endpoint

KEY_VERSION = 1
"""Part of every store key; raised when the meaning of a request changes."""


@dataclass(frozen=True, slots=True)
class TextPart:
    """A run of text."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image: where its bytes are, and their SHA-256, which is all that keys and journals hold."""

    sha256: str
    media_type: str
    url: str = field(compare=False)
    """A ``data:`` or ``https:`` address."""


Part = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool the LM asks to be run."""

    id: str
    name: str
    arguments: str
    """JSON text, as the LM wrote it."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool offered to the LM."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | tuple[Part, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The text of all text parts."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    def luthier_json(self) -> dict[str, Any]:
        """Return the turn as JSON, images by hash."""
        return message_json(self)


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """The JSON form an answer must have."""

    name: str
    schema: Mapping[str, Any]
    """JSON Schema."""


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that can change a completion, and nothing else (but ``affinity``).

    Exactly one of ``messages`` (chat) and ``prompt`` (completions) is given.
    A sampling field left at None is not sent.
    """

    endpoint: Endpoint = Endpoint.CHAT
    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tools: tuple[Tool, ...] = ()
    schema: OutputSchema | None = None
    """Sent as ``response_format`` where the server supports it."""
    grammar: str | None = None
    """GBNF, for llama.cpp servers."""
    choices: tuple[str, ...] = ()
    """All texts that ``grammar`` allows, where they are few: the end of one that is known by its beginning need not
    be written. Not part of the key, because the grammar is."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the body, sent as they are."""
    sample: int = 0
    """Tells draws of one request apart; 0 at temperature 0."""
    draw: Callable[[], int] | None = field(default=None, compare=False, repr=False)
    """Numbers a draw at temperature 0 where the server turns out to take no temperature. Not part of the key."""
    affinity: str = ""
    """Requests that share a prefix carry the same word, so a server can keep the prefix warm. Not part of the key."""

    def key(self, lm_identity: str) -> str:
        """Return the store key of this request to the LM of that identity."""
        return content_hash([KEY_VERSION, lm_identity, request_json(self)])


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a call, or of many."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """How many of the prompt tokens the server had in its prefix cache."""
    calls: int = 0
    reasoning_tokens: int = 0
    """How many of the completion tokens were hidden reasoning, as far as the server says."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.calls + other.calls,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "other"]


@dataclass(frozen=True, slots=True)
class Completion:
    """What an LM answered."""

    text: str
    finish_reason: FinishReason = "stop"
    usage: Usage | None = None
    """None where the server sent no bill."""
    model: str = ""
    """The model the server says it used."""
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    raw: str | None = None
    """The whole reply, where a client of the user's is to read it."""


class Completer(Protocol):
    """Anything that completes a request: a client, a layer around one, a test double."""

    async def complete(self, request: Request) -> Completion:
        """Return the completion, or raise an ``LMError``."""
        ...


def message_json(message: Message) -> dict[str, Any]:
    """Return a message as JSON, images by hash."""
    out: dict[str, Any] = {"role": message.role}
    if isinstance(message.content, str):
        out["content"] = message.content
    else:
        out["content"] = [
            {"text": part.text} if isinstance(part, TextPart) else {"image": part.sha256, "type": part.media_type}
            for part in message.content
        ]
    if message.tool_calls:
        out["tool_calls"] = [[call.id, call.name, call.arguments] for call in message.tool_calls]
    if message.tool_call_id is not None:
        out["tool_call_id"] = message.tool_call_id
    return out


def request_json(request: Request) -> dict[str, Any]:
    """Return all of a request that can change its answer, as JSON; fields left out are not named."""
    named: dict[str, Any] = {
        "endpoint": request.endpoint.value,
        "messages": [message_json(message) for message in request.messages] or None,
        "prompt": request.prompt,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        "stop": list(request.stop) or None,
        "seed": request.seed,
        "tools": [[tool.name, tool.description, dict(tool.parameters)] for tool in request.tools] or None,
        "schema": None if request.schema is None else [request.schema.name, dict(request.schema.schema)],
        "grammar": request.grammar,
        "extra": dict(request.extra) or None,
        "sample": request.sample or None,
    }
    return {name: value for name, value in named.items() if value is not None}


def usage_of(completion: Completion) -> Usage:
    """Return a completion's usage as that of one call, zeros where the server sent no bill."""
    usage = completion.usage
    if usage is None:
        return Usage(calls=1)
    return replace(usage, calls=1)


def total_usage(usages: Sequence[Usage]) -> Usage:
    """Return the sum of usages."""
    return sum(usages, start=Usage())
