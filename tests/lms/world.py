"""A two-predictor program on two loopback servers, each a model with answers and a price of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import luthier as lt
from luthier.lm.request import Message, Request
from luthier.types import Endpoint
from tests.lm.server import Body, OpenAIServer
from tests.studies import world

CHEAP, DEAR = lt.Price(1.0, 2.0), lt.Price(10.0, 40.0)


@dataclass(frozen=True)
class Two:
    """Two models on two servers."""

    small: OpenAIServer
    strong: OpenAIServer

    def lms(self, **settings: Any) -> tuple[lt.LM, lt.LM]:
        """Return both as LMs."""
        small = lt.LM("openai/small", base_url=self.small.url, api_key="k", price=CHEAP, **settings)
        strong = lt.LM("openai/strong", base_url=self.strong.url, api_key="k", price=DEAR, **settings)
        return small, strong


@contextmanager
def two() -> Iterator[Two]:
    """Run two servers that answer as the world does."""
    with OpenAIServer(answer) as small, OpenAIServer(answer) as strong:
        yield Two(small, strong)


def answer(body: Body) -> str:
    """Answer a body as the world answers a request."""
    messages = tuple(Message(m["role"], m["content"]) for m in body["messages"])
    return world.answer(Request(endpoint=Endpoint.CHAT, messages=messages, stop=tuple(body.get("stop") or ())))


def askers(server: OpenAIServer) -> set[str | None]:
    """Return which predictors a server was asked by; None: the proposer, or a probe."""
    return {
        next((stop[1:] for stop in body.get("stop") or () if stop.startswith("#")), None) for body in server.requests
    }
