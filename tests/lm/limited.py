"""A server that allows so many requests a second, and what becomes of calls to it in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from luthier.errors import LMError, RateLimited
from luthier.lm.middleware.call import Call, Gate
from luthier.lm.middleware.limit import Limit
from luthier.lm.middleware.retry import Breaker, Retry, RetryPolicy
from luthier.lm.request import Completion, Request, Usage

Window = Literal["bucket", "fixed", "sliding"]
Latency = float | tuple[float, float]


class Allowance:
    """Lets ``limit`` requests through every ``seconds``, by a token bucket, a fixed or a sliding window."""

    def __init__(self, window: Window, limit: float, seconds: float = 1.0) -> None:
        self.window = window
        self.limit = limit
        self.seconds = seconds
        self._level = limit
        self._filled_at = 0.0
        self._times: deque[float] = deque()

    def refuses(self, now: float) -> float | None:
        """Count a request; return None if it may pass, else the seconds until one may again."""
        if self.window == "bucket":
            rate = self.limit / self.seconds
            self._level = min(self.limit, self._level + (now - self._filled_at) * rate)
            self._filled_at = now
            if self._level < 1.0:
                return (1.0 - self._level) / rate
            self._level -= 1.0
            return None
        begins = now - self.seconds if self.window == "sliding" else now // self.seconds * self.seconds
        while self._times and (self._times[0] <= begins if self.window == "sliding" else self._times[0] < begins):
            self._times.popleft()
        if len(self._times) >= self.limit:
            return (self._times[0] if self.window == "sliding" else begins) + self.seconds - now
        self._times.append(now)
        return None


@dataclass
class LimitedServer:
    """Answers after ``latency``, and refuses at once what its allowance, its width or its whims do not allow."""

    allowance: Allowance | None
    latency: Latency
    retry_after: Literal["none", "whole", "exact"] = "none"
    width: float = math.inf
    """The most in flight."""
    whim: float = 0.0
    """The share of requests that it refuses for no reason."""
    rng: random.Random = field(default_factory=lambda: random.Random("server"))
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    in_flight: int = 0

    async def complete(self, call: Call) -> Completion:
        """Answer or refuse."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        wait = 1.0 if self.in_flight >= self.width or self.rng.random() < self.whim else None
        if wait is None and self.allowance is not None:
            wait = self.allowance.refuses(now)
        if wait is not None:
            await asyncio.sleep(0.002)
            self.refused.append(now)
            hint = {"none": None, "whole": float(math.ceil(wait)), "exact": wait}[self.retry_after]
            raise RateLimited("slow down", retry_after=hint)
        self.in_flight += 1
        try:
            await asyncio.sleep(self.latency if isinstance(self.latency, float) else self.rng.uniform(*self.latency))
        finally:
            self.in_flight -= 1
        self.answered.append(loop.time())
        return Completion("x", usage=Usage(5, 5, 0, 1))


@dataclass(frozen=True)
class Found:
    """What came of a run, after its warm-up."""

    rate: float
    """Answers a second."""
    refused: float
    """The share of requests that were refused."""


async def work(
    server: LimitedServer,
    *,
    callers: int,
    warm_up: float,
    seconds: float,
    limit: Callable[[Gate], Limit] | None = None,
) -> Found:
    """Keep ``callers`` busy through limiter and retries, as an evaluation of that concurrency does."""
    loop = asyncio.get_running_loop()
    gate = Gate(loop)
    policy = RetryPolicy()
    layer = Limit(server, gate, most=256, rpm=None, tpm=None) if limit is None else limit(gate)
    retry = Retry(layer, policy, Breaker(policy, gate, "server"), gate, lambda error, wait: None)
    numbers = itertools.count()
    ends = loop.time() + warm_up + seconds

    async def caller() -> None:
        while loop.time() < ends:
            try:
                await retry.complete(Call(Request(prompt="p", max_tokens=10), str(next(numbers)), "task"))
            except LMError:
                continue

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(caller()) for _ in range(callers)]
        await asyncio.sleep(warm_up + seconds)
        for task in tasks:
            task.cancel()
    begins = ends - seconds
    answered = sum(begins <= at < ends for at in server.answered)
    refused = sum(begins <= at < ends for at in server.refused)
    return Found(answered / seconds, refused / max(1, answered + refused))
