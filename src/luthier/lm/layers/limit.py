"""The layer that keeps to a server's limits: requests at once, requests a minute, tokens a minute."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from luthier.errors import RateLimited
from luthier.lm.layers.call import Call, Gate, Layer
from luthier.lm.layers.charge import most_prompt_tokens
from luthier.lm.request import Completion

_BYTES_PER_TOKEN = 3
_HALVE_AT_MOST_EVERY = 1.0  # seconds; one burst of refusals is one sign, not many


class Limit:
    """Lets so many requests through at once and a minute; refusals (429) halve the former, successes raise it again."""

    def __init__(self, inner: Layer, gate: Gate, *, most: int, rpm: int | None, tpm: int | None) -> None:
        self._inner = inner
        self._gate = gate
        self._most = most
        self._allowed = float(most)
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._halved_at = float("-inf")
        self._requests = None if rpm is None else Pace(rpm)
        self._tokens = None if tpm is None else Pace(tpm)

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        return max(1, int(self._allowed))

    async def complete(self, call: Call) -> Completion:
        """Return the inner layer's answer once there is room.

        Raises:
            StudyPaused: all calls end.
        """
        await self._enter()
        try:
            await self._keep_pace(call)
            self._gate.check()
            completion = await self._inner.complete(call)
        except RateLimited:
            self._halve()
            raise
        finally:
            self._leave()
        self._allowed = min(float(self._most), self._allowed + 1.0 / self._allowed)
        if self._tokens is not None and completion.usage is not None:
            self._tokens.give_back(_estimate(call) - completion.usage.tokens)
        return completion

    async def _enter(self) -> None:
        if self._in_flight < self.allowed and not self._waiting:
            self._in_flight += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # the turn had come
            else:
                self._waiting.remove(turn)
            raise

    def _leave(self) -> None:
        self._in_flight -= 1
        while self._waiting and self._in_flight < self.allowed:
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)

    async def _keep_pace(self, call: Call) -> None:
        if self._requests is not None:
            await self._requests.take(1)
        if self._tokens is not None:
            await self._tokens.take(_estimate(call))

    def _halve(self) -> None:
        now = time.monotonic()
        if now - self._halved_at >= _HALVE_AT_MOST_EVERY:
            self._halved_at = now
            self._allowed = max(1.0, self._allowed / 2)


def _estimate(call: Call) -> int:
    # Servers count what they expect to be read and written before they start.
    return most_prompt_tokens(call.request) // _BYTES_PER_TOKEN + (call.request.max_tokens or 0)


class Pace:
    """A token bucket that refills evenly and holds only what two seconds bring, so that no minute sees a burst."""

    def __init__(self, per_minute: float) -> None:
        self._rate = per_minute / 60.0
        self._capacity = max(1.0, 2.0 * self._rate)
        self._level = self._capacity
        self._filled_at = time.monotonic()

    async def take(self, amount: float) -> None:
        """Take ``amount``, waiting for the bucket; what is larger than the bucket leaves a debt."""
        while True:
            self._fill()
            if self._level >= min(amount, self._capacity):
                self._level -= amount
                return
            await asyncio.sleep((min(amount, self._capacity) - self._level) / self._rate)

    def give_back(self, amount: float) -> None:
        """Return what was taken and not used."""
        self._level = min(self._capacity, self._level + amount)

    def _fill(self) -> None:
        now = time.monotonic()
        self._level = min(self._capacity, self._level + (now - self._filled_at) * self._rate)
        self._filled_at = now
