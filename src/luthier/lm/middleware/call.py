"""What passes through the layers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from luthier.errors import StudyPaused
from luthier.lm.faults import NeverSent
from luthier.lm.own_request import OwnRequest
from luthier.lm.request import Completer, Completion, Request


@dataclass(slots=True, eq=False)
class Call:
    """One request on its way, with what the layers must know about it besides."""

    request: Request
    key: str
    role: str
    sent: bool = False
    """Whether the current attempt may have reached the server."""
    stored: bool = False
    """Whether the store answered."""


class Layer(Protocol):
    """Anything that takes a call: a layer around another, or the end of the line."""

    async def complete(self, call: Call) -> Completion:
        """Return the completion, or raise an ``LMError``."""
        ...


class Gate:
    """Open until something ends all calls; every layer that waits looks at it afterwards."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reason: str | None = None
        self._loop = loop
        self._pausing: set[asyncio.Future[None]] = set()

    def shut(self, reason: str) -> None:
        """Let nothing new through and wake who pauses; the first reason stands. Callable from any thread."""
        if self.reason is None:
            self.reason = reason
            self._loop.call_soon_threadsafe(self._wake)

    async def pause(self, seconds: float) -> None:
        """Sleep, but only while open."""
        turn: asyncio.Future[None] = self._loop.create_future()
        timer = self._loop.call_later(seconds, _finish, turn)
        try:
            await self.wait_for(turn)
        finally:
            timer.cancel()

    async def wait_for(self, turn: asyncio.Future[None]) -> None:
        """Wait until ``turn`` has come, but only while open."""
        self._pausing.add(turn)
        try:
            await turn
        finally:
            self._pausing.discard(turn)

    def check(self) -> None:
        """Do nothing while open.

        Raises:
            StudyPaused: the gate is shut.
        """
        if self.reason is not None:
            raise StudyPaused(self.reason)

    def _wake(self) -> None:
        for turn in self._pausing:
            _finish(turn)


def _finish(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


class End:
    """The end of the line: hands the bare request to a completer, or lets the user's own client send it."""

    def __init__(self, completer: Completer) -> None:
        self._completer = completer

    async def complete(self, call: Call) -> Completion:
        """Return the completer's answer."""
        call.sent = True
        try:
            if isinstance(call.request, OwnRequest) and call.request.ask is not None:
                return await call.request.ask()
            return await self._completer.complete(call.request)
        except NeverSent:
            call.sent = False
            raise
