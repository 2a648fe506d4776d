"""What an OpenAI-compatible server answers, as a completion or as an error of our tree."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping
from typing import Any

from luthier.errors import AccessDenied, LMError, RateLimited, RequestRejected, ServerFault
from luthier.lm.choices import completed
from luthier.lm.faults import BadAnswer
from luthier.lm.redact import redact
from luthier.lm.refused import refused_prompt
from luthier.lm.request import Completion, FinishReason, Request, ToolCall, Usage
from luthier.types import Endpoint

_SHOWN = 400  # characters of a server's own words
_QUOTA_WORDS = ("insufficient_quota", "billing_hard_limit", "insufficient balance", "insufficient credits")
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens", "cache_n")
"""Names of the prompt tokens that were in the server's cache: OpenAI's and most others', DeepSeek's, Anthropic's,
llama.cpp's own."""
_FINISH: Mapping[str | None, FinishReason] = {
    None: "stop",
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def answered_refusal(status: int, content: bytes) -> Completion | None:
    """Return the completion that an error's status stands for where the server refuses the prompt, not the caller.

    One candidate's prompt that is too long, or one example that a filter stops, is an answer, if a bad one; it must
    not end a study.
    """
    if (reason := refused_prompt(status, content)) is None:
        return None
    return Completion("", reason, Usage(calls=1), refusal=redact(_words(content.decode("utf-8", "replace"))))


def error_of(status: int, content: bytes, headers: Mapping[str, str], where: str) -> LMError:
    """Return the error that a status of 400 or above stands for, without keys in its message."""
    said = content.decode("utf-8", "replace")
    message = redact(f"{where} answered {status}: {_words(said)}")
    wait = retry_after(headers)
    if status == 402 or (status in (403, 429) and any(word in said.lower() for word in _QUOTA_WORDS)):
        return AccessDenied(f"{message} The account's quota or credit is used up: raise it, then run again.")
    if status in (401, 403):
        return AccessDenied(f"{message} Mend the key, or what it is allowed to use, then run again.")
    if status == 429:
        return RateLimited(message, retry_after=wait)
    if status >= 500 or status in (408, 409, 425):
        return ServerFault(message, retry_after=wait)
    return RequestRejected(message)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the server asks to wait, as a number or a date says it, or None."""
    milliseconds = headers.get("retry-after-ms") or headers.get("Retry-After-Ms")
    if milliseconds is not None and _number(milliseconds) is not None:
        return max(0.0, (_number(milliseconds) or 0.0) / 1000)
    value = headers.get("Retry-After") or headers.get("retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return max(0.0, seconds)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def read_reply(content: bytes, headers: Mapping[str, str], where: str, request: Request) -> Completion:
    """Return the completion in a server's answer to a request.

    Raises:
        BadAnswer: the body is no JSON, or has no choices.
        LMError: the body is an error in spite of its status.
    """
    try:
        body = json.loads(content)
        if isinstance(body, dict) and body.get("error") and not body.get("choices"):
            status = _status(body["error"])
            if (refused := answered_refusal(status, content)) is not None:
                return refused
            raise error_of(status, content, headers, where)
        choice = body["choices"][0]
        chat = request.endpoint is Endpoint.CHAT
        text, calls, refusal = _chat(choice["message"]) if chat else (choice["text"], (), None)
        if not isinstance(text, str):
            raise TypeError(f"text is {type(text).__name__}")
        met = (body.get("__verbose") or {}).get("stopping_word") or ""
        whole = completed(text + met, request.choices)
        finish = choice.get("finish_reason")
        return Completion(
            text=text if whole is None else whole,
            finish_reason=_FINISH.get(finish, "other") if whole is None else "stop",
            usage=_usage(body),
            model=str(body.get("model") or ""),
            tool_calls=calls,
            refusal=refusal,
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        said = redact(_words(content.decode("utf-8", "replace")))
        raise BadAnswer(f"{where} sent an answer that is none ({type(error).__name__}): {said}") from None


def _chat(message: Mapping[str, Any]) -> tuple[str, tuple[ToolCall, ...], str | None]:
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content)
    calls = tuple(
        ToolCall(str(call.get("id") or ""), call["function"]["name"], call["function"].get("arguments") or "")
        for call in message.get("tool_calls") or ()
    )
    return "" if content is None else content, calls, message.get("refusal")


def _usage(body: Mapping[str, Any]) -> Usage | None:
    usage = body.get("usage")
    if not isinstance(usage, dict) or usage.get("prompt_tokens") is None:
        return None
    said = {**(body.get("timings") or {}), **usage, **(usage.get("prompt_tokens_details") or {})}
    cached = next((said[name] for name in _CACHED if said.get(name) is not None), 0)
    read = int(usage["prompt_tokens"])
    return Usage(read, int(usage.get("completion_tokens") or 0), min(read, int(cached)), 1)


def _status(error: Any) -> int:
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def _words(said: str) -> str:
    """Return the server's own sentence, shortened."""
    try:
        error = json.loads(said).get("error")
        said = error if isinstance(error, str) else str(error["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    said = " ".join(said.split())
    return said if len(said) <= _SHOWN else said[:_SHOWN] + "…"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
