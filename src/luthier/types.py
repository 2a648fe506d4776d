"""Types that every layer speaks."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import TypeAlias

JSON: TypeAlias = bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"] | None
"""A value that JSON can hold."""


class Role(enum.StrEnum):
    """On whose behalf an LM is called; budgets and usage are kept by role."""

    TASK = "task"
    TEACHER = "teacher"
    PROPOSER = "proposer"
    JUDGE = "judge"


class Endpoint(enum.StrEnum):
    """Which of a server's endpoints takes a request; it decides the renderer, too."""

    CHAT = "chat"
    COMPLETIONS = "completions"
