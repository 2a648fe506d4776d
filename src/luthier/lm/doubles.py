"""Language models for tests: one that follows a function, and one that must not be asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable

from luthier.errors import LMError
from luthier.lm.callables import as_completion
from luthier.lm.request import Completion, Request, Usage

_BYTES_PER_TOKEN = 4


class ScriptedLM:
    """Answers with a function of the request, and counts.

    The function runs on the engine's loop, so it must not block; ``latency`` waits without blocking.
    Text it returns gets a made-up bill of a token for every four bytes.

    Args:
        function: from a request to a completion or text.
        identity: tells this double's stored answers from another's.
        latency: seconds until each answer.
        faults: raised one a call, in order, before the first answer; None in it stands for a call that succeeds.

    Attributes:
        calls: how many requests have come.
        requests: the requests, in the order they came.
        most_in_flight: the most requests at one time.
    """

    supports_schema = False
    supports_grammar = False

    def __init__(
        self,
        function: Callable[[Request], Completion | str],
        identity: str = "scripted",
        latency: float = 0.0,
        faults: Iterable[LMError | None] = (),
    ) -> None:
        self.identity = identity
        self.calls = 0
        self.requests: list[Request] = []
        self.most_in_flight = 0
        self._function = function
        self._latency = latency
        self._faults = list(faults)
        self._in_flight = 0
        self._lock = threading.Lock()  # protects the counters, should the double serve two loops

    async def complete(self, request: Request) -> Completion:
        """Return the function's answer, or raise the next fault."""
        with self._lock:
            self.calls += 1
            self.requests.append(request)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            fault = self._faults.pop(0) if self._faults else None
        try:
            if self._latency > 0:
                await asyncio.sleep(self._latency)
            if fault is not None:
                raise fault
            answer = self._function(request)
        finally:
            with self._lock:
                self._in_flight -= 1
        return _billed(answer, request) if isinstance(answer, str) else as_completion(answer, self.identity)


class RefusingLM:
    """Fails the test that asks it anything."""

    identity = "refusing"

    async def complete(self, request: Request) -> Completion:
        """Raise ``AssertionError``."""
        raise AssertionError(f"This LM must not be asked, but was: {request}")


def _billed(text: str, request: Request) -> Completion:
    prompt = (request.prompt or "") + "".join(message.text for message in request.messages)
    return Completion(text, usage=Usage(_tokens(prompt), _tokens(text), 0, 1))


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)
