"""A help desk as people write it with the openai package, connected; its server answers as it is told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import luthier as lt

NEVER_ASKED = lt.LM(lambda request: "never asked")

Settings = dict[str, Any]


def rows(n: int) -> list[dict[str, str]]:
    return [{"ticket": f"Where is parcel {i}?", "answer": "delivery"} for i in range(n)]


def program(client: Any, **settings: Any) -> Callable[[str], str]:
    """Return a program of one predictor that makes its own call."""

    @lt.predictor
    def queue(ticket: str) -> str:
        """Name the queue."""
        reply = client.chat.completions.create(
            **{"model": "m", "messages": lt.prompt().messages(), "temperature": 0, "max_tokens": 8, **settings}
        )
        return str(reply.choices[0].message.content)

    def desk(ticket: str) -> str:
        return queue(ticket=ticket)

    return desk


def aprogram(client: Any, **settings: Any) -> Callable[[str], Any]:
    """Return the same, async."""

    @lt.predictor
    async def queue(ticket: str) -> str:
        """Name the queue."""
        reply = await client.chat.completions.create(
            **{"model": "m", "messages": lt.prompt().messages(), "temperature": 0, "max_tokens": 8, **settings}
        )
        return str(reply.choices[0].message.content)

    async def desk(ticket: str) -> str:
        return await queue(ticket=ticket)

    return desk


def evaluate(desk: Callable[..., Any], n: int = 3, **settings: Any) -> lt.Evaluation:
    return lt.evaluate(desk, rows(n), lt.exact_match, **{"lm": NEVER_ASKED, **settings})
