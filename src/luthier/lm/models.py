"""What is known about models by their names: the longest answer, whether they think first, what they refuse."""

from __future__ import annotations

import re
from dataclasses import dataclass

ANSWER_ROOM = 1_024
"""Tokens that an answer may have where the user does not say."""
THINKING_ROOM = 16_000
"""The same of a model that thinks first, thoughts included."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """What a model's name tells; the defaults are those of a model nothing is known about."""

    most_tokens: int | None = None
    """The most tokens of an answer, hidden reasoning included; None: unknown."""
    thinks: bool = False
    """Whether hidden reasoning takes a part of the answer's room."""
    takes_temperature: bool = True
    """False where a temperature is refused, or has no effect."""


def known_model(name: str) -> KnownModel:
    """Return what is known about a model, by the name that is sent to its server.

    >>> known_model("us.anthropic.claude-opus-4-7").takes_temperature
    False
    """
    lowered = name.lower()
    return next((known for pattern, known in _KNOWN if pattern.search(lowered)), KnownModel())


def _named(pattern: str) -> re.Pattern[str]:
    # A vendor's prefix may stand before it: openai/o3, us.anthropic.claude-opus-4-7, openai.gpt-oss-120b.
    return re.compile(rf"(?:^|[/.]){pattern}")


# Longest answers, as the model pages of the providers give them: developers.openai.com/api/docs/models,
# platform.claude.com/docs/en/about-claude/models, ai.google.dev/gemini-api/docs/models, api-docs.deepseek.com.
# Temperatures: OpenAI's reasoning models take 1 only; Claude after Opus 4.6 has deprecated it
# (platform.claude.com/docs/en/api/messages/create); deepseek-reasoner ignores it (api-docs.deepseek.com).
_KNOWN: tuple[tuple[re.Pattern[str], KnownModel], ...] = (
    (_named(r"gpt-5[\d.]*-chat"), KnownModel(16_384)),
    (_named(r"gpt-[5-9]"), KnownModel(128_000, thinks=True, takes_temperature=False)),
    (_named(r"o1-preview"), KnownModel(32_768, thinks=True, takes_temperature=False)),
    (_named(r"o1-mini"), KnownModel(65_536, thinks=True, takes_temperature=False)),
    (_named(r"(?:o1|o3|o4)(?![a-z0-9])"), KnownModel(100_000, thinks=True, takes_temperature=False)),
    (_named(r"codex-mini"), KnownModel(100_000, thinks=True, takes_temperature=False)),
    (_named(r"gpt-oss"), KnownModel(thinks=True)),
    (_named(r"gpt-4\.1"), KnownModel(32_768)),
    (_named(r"gpt-4o"), KnownModel(16_384)),
    (_named(r"gpt-4-turbo"), KnownModel(4_096)),
    (_named(r"gpt-3\.5-turbo"), KnownModel(4_096)),
    (_named(r"claude-opus-4[-.][7-9]"), KnownModel(128_000, takes_temperature=False)),
    (_named(r"claude-[a-z]+-[5-9]"), KnownModel(takes_temperature=False)),
    (_named(r"claude-opus-4[-.]6"), KnownModel(128_000)),
    (_named(r"claude-opus-4[-.]5(?!\d)"), KnownModel(64_000)),
    (_named(r"claude-opus-4"), KnownModel(32_000)),
    (_named(r"claude-sonnet-4[-.]6"), KnownModel(128_000)),
    (_named(r"claude-(?:sonnet|haiku)-4"), KnownModel(64_000)),
    (_named(r"claude-3[-.]7"), KnownModel(64_000)),
    (_named(r"claude-3[-.]5"), KnownModel(8_192)),
    (_named(r"claude-3"), KnownModel(4_096)),
    (_named(r"gemini-(?:2\.5|[3-9])"), KnownModel(65_536, thinks=True)),
    (_named(r"gemini-(?:2\.0|1\.5)"), KnownModel(8_192)),
    (_named(r"deepseek-reasoner"), KnownModel(65_536, thinks=True, takes_temperature=False)),
    (_named(r"deepseek-chat"), KnownModel(8_192)),
    (_named(r"(?:deepseek-r1|qwq|magistral|grok-4|grok-3-mini)"), KnownModel(thinks=True)),
    (_named(r"qwen[\d.]+[^/]*-thinking"), KnownModel(thinks=True)),
)
