"""Requests, a double's answer, and how a scene with a gateway is played."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from luthier.errors import (
    LMError,
    StudyPaused,
)
from luthier.lm.gateway import RetryPolicy
from luthier.lm.request import Completion, Message, Request

QUICK = RetryPolicy(first=0.001, longest=0.01, give_up_after=5)


def request(text: str, **settings: Any) -> Request:
    return Request(messages=(Message("user", text),), **settings)


def upper(asked: Request) -> str:
    return asked.messages[0].text.upper()


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    async def patiently() -> Any:
        async with asyncio.timeout(60):
            return await coroutine

    return asyncio.run(patiently())


async def outcome(call: asyncio.Task[Completion]) -> str:
    try:
        return (await call).text
    except LMError as error:
        return type(error).__name__
    except StudyPaused:
        return "StudyPaused"
