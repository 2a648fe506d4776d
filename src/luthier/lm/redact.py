"""One redactor: keys and URL credentials never reach a file, a message or a screen."""

from __future__ import annotations

import re

_MASK = "[redacted]"
_SHORTEST = 6
_PLACEHOLDERS = frozenset(
    {"EMPTY", "ollama", "no-key", "not-needed", "dummy"}
)  # words that servers without keys ask for
_known: set[str] = set()  # keys of this process, in whatever form; the one place that must see them all

_PATTERNS = (
    # user:password@ in an address
    (re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.\-]*://)[^/\s@?#]+@"), rf"\1{_MASK}@"),
    # ?api_key=…, "access_token": "…", x-api-key: …
    (
        re.compile(
            r"(?i)((?:x-)?api[-_]?key|access[-_]?token|auth[-_]?token|secret|password|(?<=[?&])key|(?<=[?&])token)"
            r"(\"?'?\s*[=:]\s*\"?'?)[^\s\"'&,;}<>]+"
        ),
        rf"\1\2{_MASK}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=\-*]{6,}"), rf"\1 {_MASK}"),
    # The usual forms of keys, also half-masked by a server
    (re.compile(r"\b(?:sk|pk|rk|gsk|hf|xai|ghp|tgp)[-_][A-Za-z0-9_\-*.]{8,}"), _MASK),
    (re.compile(r"\bAIza[A-Za-z0-9_\-]{16,}"), _MASK),
)


def register_secret(secret: str | None) -> None:
    """Remember a key, so that ``redact`` finds it whatever its form."""
    if secret is not None and len(secret) >= _SHORTEST and secret not in _PLACEHOLDERS:
        _known.add(secret)


def redact(text: str) -> str:
    """Return ``text`` without keys and URL credentials."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
