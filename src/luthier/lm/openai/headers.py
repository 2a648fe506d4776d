"""Headers and query fields that select what answers: a gateway's configuration, a deployment, a beta."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SELECTS = re.compile(
    r"model|provider|config|deploy|engine|\broute|router|fallback|variant|beta|tier|guardrail|region|adapter|lora|reason"
    r"|inspection|prompt-id",
    re.IGNORECASE,
)
_OTHERWISE = re.compile(r"(?<!port)key|token|secret|auth|cookie|stainless", re.IGNORECASE)
"""Credentials, which change while the model stays, and what the openai package says of itself."""


def selecting(fields: Mapping[Any, Any]) -> dict[str, str]:
    """Return those fields, of headers or of a query, that may change which model answers, and how; none is a secret.

    Tracing headers differ with every request, so only names that say it are taken.
    """
    named = sorted((str(name).lower(), str(value)) for name, value in fields.items())
    return {name: value for name, value in named if _SELECTS.search(name) and not _OTHERWISE.search(name)}
