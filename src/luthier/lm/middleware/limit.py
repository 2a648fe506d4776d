"""The layer that keeps to a server's limits: those given, and those that its refusals show."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass

from luthier.errors import RateLimited
from luthier.lm.middleware.call import Call, Gate, Layer
from luthier.lm.middleware.charge import most_prompt_tokens
from luthier.lm.middleware.pace import LearnedRate, Pace
from luthier.lm.refusals import most_written
from luthier.lm.request import Completion

_BYTES_PER_TOKEN = 3
_TICK = 1e-6  # seconds that no timer can tell from now
_LONGEST_HOLD = 60.0  # seconds; who asks for more speaks of a quota, of which each call learns and gives up by itself


class Limit:
    """Lets so many requests through at once and a second; refusals (429) lower both, successes and time raise them.

    Requests wait in one queue, first come first served, and hold no place in flight while they wait for their pace.
    What the server asks to wait holds the whole queue.
    """

    def __init__(self, inner: Layer, gate: Gate, *, most: int, rpm: int | None, tpm: int | None) -> None:
        self._inner = inner
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self._most = most
        self._allowed = self._lowest = float(most)
        self._in_flight = 0
        self._waiting: deque[_Turn] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._learned = LearnedRate()
        self._pace = Pace(math.inf)
        self._requests = Pace(math.inf if rpm is None else rpm / 60.0)
        self._tokens = Pace(math.inf if tpm is None else tpm / 60.0)

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        return max(1, int(self._allowed))

    async def complete(self, call: Call) -> Completion:
        """Return the inner layer's answer once there is room.

        Raises:
            StudyPaused: all calls end.
        """
        tokens = 0 if self._tokens.rate == math.inf else _estimate(call)
        await self._enter(tokens)
        sent = self._loop.time()
        self._learned.sent(sent)
        try:
            completion = await self._inner.complete(call)
        except RateLimited as error:
            self._refused(sent, error.retry_after)
            raise
        finally:
            self._leave()
        self._allowed = min(float(self._most), self._allowed + 1.0 / self._allowed)
        if completion.usage is not None:
            self._tokens.give_back(tokens - completion.usage.tokens)
        return completion

    async def _enter(self, tokens: int) -> None:
        turn = _Turn(self._loop.create_future(), tokens)
        self._waiting.append(turn)
        self._let_in()
        try:
            if not turn.came.done():
                await self._gate.wait_for(turn.came)
            self._gate.check()
        except BaseException:
            if turn.in_flight:
                self._leave()
            else:
                self._waiting.remove(turn)
            raise

    def _leave(self) -> None:
        self._in_flight -= 1
        self._let_in()

    def _let_in(self) -> None:
        """Let in who may go now, and look again when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._in_flight < self.allowed:
            turn, now = self._waiting[0], self._loop.time()
            self._pace.rate = self._learned.at(now)
            paces = ((self._pace, 1), (self._requests, 1), (self._tokens, turn.tokens))
            wait = max(self._learned.held_until - now, *(pace.wait(amount, now) for pace, amount in paces))
            if wait > _TICK:
                self._timer = self._loop.call_later(wait, self._let_in)
                return
            for pace, amount in paces:
                pace.take(amount)
            self._waiting.popleft()
            self._in_flight += 1
            turn.in_flight = True
            if not turn.came.done():
                turn.came.set_result(None)

    def _refused(self, sent: float, retry_after: float | None) -> None:
        hold = retry_after if retry_after is not None and retry_after <= _LONGEST_HOLD else 0.0
        if self._learned.refused(sent, self._loop.time(), hold):
            self._lowest = self._allowed / 2
        # Never below what the server is still at work on, because that it accepts.
        self._allowed = min(self._allowed, max(1.0, self._lowest, 2.0 * (self._in_flight - 1)))


@dataclass(slots=True, eq=False)
class _Turn:
    """A call in the queue."""

    came: asyncio.Future[None]
    tokens: int
    in_flight: bool = False


def _estimate(call: Call) -> int:
    # Servers count what they expect to be read and written before they start.
    return most_prompt_tokens(call.request) // _BYTES_PER_TOKEN + (most_written(call.request) or 0)
