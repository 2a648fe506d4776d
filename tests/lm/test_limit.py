from __future__ import annotations

import asyncio
import time

import pytest

from luthier.errors import RateLimited
from luthier.lm.layers.call import Call, Gate
from luthier.lm.layers.limit import Limit
from luthier.lm.request import Completion, Request, Usage


class Server:
    def __init__(self, capacity: int, latency: float = 0.005) -> None:
        self.capacity = capacity
        self.latency = latency
        self.in_flight = self.most = self.answered = 0
        self.times: list[float] = []

    async def complete(self, call: Call) -> Completion:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        self.times.append(time.monotonic())
        try:
            await asyncio.sleep(self.latency)
            if self.in_flight > self.capacity:
                raise RateLimited("slow down")
        finally:
            self.in_flight -= 1
        self.answered += 1
        return Completion("x", usage=Usage(5, 5, 0, 1))


def call(n: int, max_tokens: int = 10) -> Call:
    return Call(Request(prompt="p", max_tokens=max_tokens), str(n), "task")


def gate() -> Gate:
    return Gate(asyncio.get_running_loop())


async def ask_all(server: Server, count: int, *, most: int, rpm: int | None = None, tpm: int | None = None) -> None:
    limit = Limit(server, gate(), most=most, rpm=rpm, tpm=tpm)
    async with asyncio.TaskGroup() as group:
        for n in range(count):
            group.create_task(limit.complete(call(n)))


def test_no_more_than_so_many_are_in_flight() -> None:
    server = Server(capacity=100)
    asyncio.run(ask_all(server, 30, most=4))
    assert server.most == 4 and server.answered == 30


def test_a_refusal_halves_what_may_be_in_flight_and_successes_raise_it_again() -> None:
    async def scene() -> None:
        server = Server(capacity=0)
        limit = Limit(server, gate(), most=8, rpm=None, tpm=None)
        with pytest.raises(RateLimited):
            await limit.complete(call(0))
        assert limit.allowed == 4
        server.capacity = 100
        for n in range(200):
            await limit.complete(call(n))
            if limit.allowed == 8:
                return
        raise AssertionError("never rose again")

    asyncio.run(scene())


def test_one_burst_of_refusals_halves_once() -> None:
    async def scene() -> None:
        limit = Limit(Server(capacity=0), gate(), most=8, rpm=None, tpm=None)
        tasks = [asyncio.create_task(limit.complete(call(n))) for n in range(8)]
        await asyncio.wait(tasks)
        assert all(isinstance(task.exception(), RateLimited) for task in tasks)
        assert limit.allowed == 4

    asyncio.run(scene())


def test_a_cancelled_waiter_gives_its_turn_away() -> None:
    async def scene() -> None:
        server = Server(capacity=100, latency=0.02)
        limit = Limit(server, gate(), most=1, rpm=None, tpm=None)
        tasks = [asyncio.create_task(limit.complete(call(n))) for n in range(4)]
        await asyncio.sleep(0.005)
        tasks[1].cancel()
        await asyncio.wait(tasks, timeout=2)
        assert server.answered == 3 and server.most == 1
        await limit.complete(call(9))

    asyncio.run(scene())


def test_requests_and_tokens_a_minute_are_paced() -> None:
    server = Server(capacity=100, latency=0.0)
    asyncio.run(ask_all(server, 50, most=100, rpm=1200))
    assert server.times[-1] - server.times[0] >= 0.4  # 40 at once, then 20 a second
    tokens = Server(capacity=100, latency=0.0)
    asyncio.run(ask_all(tokens, 25, most=1, tpm=6000))  # each costs 10 of 100 a second
    assert tokens.times[-1] - tokens.times[0] >= 0.3
