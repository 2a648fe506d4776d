"""How servers say that they refuse a prompt, and not the caller: it is too long for the model, or a filter flags it.

Every provider has words of its own, in the message or in a code. They are read where the server speaks, never where it
repeats the prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from luthier.lm.request import FinishReason

_TOO_LONG = (
    r"context_?(length|window|size)_?(is_)?exceed",  # OpenAI, z.ai ("model_context_window_exceeded")
    r"exceed_context_size",  # llama.cpp
    r"context (length|window)",  # OpenAI, Azure, vLLM, SGLang, LM Studio, MiniMax, OpenRouter, DeepSeek, Ollama, …
    r"context limit",  # Anthropic ("input length and `max_tokens` exceed context limit"), LiteLLM
    r"(model|input|prompt|total) tokens? limit|tokens? limit (was )?exceeded",  # Kimi, watsonx
    r"context size",  # llama.cpp
    r"maximum (context|prompt|model|input) (length|limit|size|tokens)",  # xAI, Mistral, vLLM
    r"(prompt|inputs?|messages?|conversation)( \w+)? too (long|large)",  # Anthropic, Bedrock, Fireworks, Ollama
    r"request( body| entity)? too large|request_?too_?large|payload too large",  # Anthropic, GitHub, Groq, proxies
    r"tokens?_limit_(reached|exceeded)",  # GitHub
    r"(input|prompt) (token count|tokens|length)\b.{0,60}\b(exceed|only supports)",  # Gemini, Vertex AI, OpenAI
    r"exceeds? the maximum number of (input )?tokens",  # Gemini, Vertex AI
    r"(number|count) of (input |prompt )?tokens\b.{0,60}\b(exceed|larger|greater)",  # Cohere, watsonx
    r"too many (input |prompt )?tokens(?! per)",  # Bedrock, Cohere
    r"range of input length",  # DashScope
    r"reduce (the length of )?(the |your )?(messages?|prompt|input)",  # Groq, Cerebras, DeepSeek
    r"`?inputs`? (tokens \+ `max_new_tokens` must be|must have less than)",  # Hugging Face TGI, Together
    r"tokens in request more than max",  # Friendli
    r"messages\S* .{0,40}string too long",  # OpenAI
)
_FLAGGED = (
    r"content[_ -]?filter",  # OpenAI, Azure, Anthropic ("blocked by content filtering policy"), Zhipu
    r"content[_ -]?(policy|management|moderation)",  # OpenAI, Azure, LiteLLM
    r"responsible_?ai",  # Azure
    r"invalid_prompt",  # OpenAI
    r"flagged (as|for|by)|(input|prompt|request|content|output) (was|were|is|has been) (flagged|blocked)",  # OpenRouter
    r"content exists risk|considered high risk",  # DeepSeek, Moonshot
    r"data_?inspection_?failed|inappropriate content",  # DashScope
    r"new_sensitive|sensitive (content|words?|information)",  # MiniMax, Zhipu
    r"prohibited[_ ]content|block_?reason|blocked (due to|for) (safety|policy)",  # Gemini, Vertex AI
    r"safety (system|filter|setting)",  # OpenAI, Gemini
    r"guardrail",  # Bedrock, LiteLLM
)
_FLAGGED_AS_FORBIDDEN = (  # where a 403 speaks of the prompt, and not of a key
    r"(requires?|failed|by) moderation|(input|prompt|request|content) was flagged",  # OpenRouter, Mistral
    r"safety[ _]check|violat\w+ .{0,40}(guideline|polic(y|ies))",  # xAI, Groq
)
_RATE = re.compile(r"rate.?limit|per (minute|min|second|day|hour)\b|\b[tr]p[md]\b|quota", re.IGNORECASE)
_LENGTH, _FILTER, _FORBIDDEN = (
    re.compile("|".join(words), re.IGNORECASE)
    for words in (_TOO_LONG, _FLAGGED + _FLAGGED_AS_FORBIDDEN, _FLAGGED_AS_FORBIDDEN)
)
_NEVER_FITS = re.compile(r"request too large for", re.IGNORECASE)
"""More than the account may send in a minute, so waiting does not help: OpenAI (429), Groq (413)."""
_OF_THE_CALLER = (401, 402, 404, 405, 407)
_SPEAKS = (
    "message",
    "code",
    "type",
    "status",
    "detail",
    "details",
    "error",
    "errors",
    "msg",
    "reason",
    "raw",
    "innererror",
)
"""Where servers speak; what they repeat of a request stands elsewhere ("input", "flagged_input", …)."""
_MOST = 4000


def refused_prompt(status: int, content: bytes) -> FinishReason | None:
    """Say how an answer with that status ended if the server refuses the prompt: ``length``, ``content_filter``; None.

    None as well where it refuses the caller, a setting, or for now.
    """
    if status < 400 or status in _OF_THE_CALLER:
        return None
    said = " ".join(_said(content.decode("utf-8", "replace")))
    if _NEVER_FITS.search(said):
        return "length"
    if status == 429 or _RATE.search(said):
        return None
    if status == 403:
        return "content_filter" if _FORBIDDEN.search(said) else None
    if status < 500 and _FILTER.search(said):
        return "content_filter"
    return "length" if status == 413 or _LENGTH.search(said) else None


def _said(text: str) -> Iterator[str]:
    try:
        body = json.loads(text)
    except ValueError:
        if not text.lstrip().startswith("<"):  # a page of whatever stands between: it knows nothing of prompts
            yield text[:_MOST]
        return
    yield from _words_of(body)


def _words_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        # A proxy hands on what the provider behind it said, as text.
        yield from _said(value) if value.startswith("{") else (value[:_MOST],)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name in _SPEAKS or name == "metadata":
                yield from _words_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from _words_of(item)
