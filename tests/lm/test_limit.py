from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from luthier.errors import RateLimited
from luthier.lm.middleware.call import Call, Gate
from luthier.lm.middleware.limit import Limit
from luthier.lm.request import Completion, Request, Usage
from tests.lengths import in_rings
from tests.lm.limited import Allowance, Latency, LimitedServer, Window, work
from tests.lm.virtual import run_virtually


class Server:
    def __init__(self, capacity: int, latency: float = 0.005) -> None:
        self.capacity = capacity
        self.latency = latency
        self.in_flight = self.most = self.answered = 0
        self.times: list[float] = []

    async def complete(self, call: Call) -> Completion:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        self.times.append(asyncio.get_running_loop().time())
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
    run_virtually(ask_all(server, 50, most=100, rpm=1200))
    assert server.times[-1] - server.times[0] >= 0.4  # 40 at once, then 20 a second
    tokens = Server(capacity=100, latency=0.0)
    run_virtually(ask_all(tokens, 25, most=1, tpm=6000))  # each costs 10 of 100 a second
    assert tokens.times[-1] - tokens.times[0] >= 0.3


@pytest.mark.parametrize("window", ["bucket", "fixed", "sliding"])
@pytest.mark.parametrize("allowed", [20, 400])
@pytest.mark.parametrize("latency", in_rings([0.005, 0.5, (0.2, 2.0)], [0.005, (0.2, 2.0)]))
@pytest.mark.parametrize("retry_after", ["none", "whole"])
def test_a_servers_rate_is_used_to_nine_tenths_with_one_in_twenty_refused(
    window: Window, allowed: int, latency: Latency, retry_after: Literal["none", "whole"]
) -> None:
    server = LimitedServer(Allowance(window, allowed), latency, retry_after)
    found = run_virtually(work(server, callers=64, warm_up=8, seconds=25))
    mean = latency if isinstance(latency, float) else sum(latency) / 2
    assert found.rate >= 0.9 * min(allowed, 64 / mean)
    assert found.refused < 0.05


def test_a_server_that_bears_few_at_once_is_filled_and_seldom_refuses() -> None:
    found = run_virtually(work(LimitedServer(None, 0.2, width=10), callers=64, warm_up=8, seconds=25))
    assert found.rate >= 0.75 * 10 / 0.2
    assert found.refused < 0.1


def test_refusals_for_no_reason_do_not_bring_all_to_a_halt() -> None:
    found = run_virtually(work(LimitedServer(None, 0.05, whim=0.05), callers=64, warm_up=8, seconds=25))
    assert found.rate >= 0.3 * 64 / 0.05


def test_what_the_server_asks_to_wait_holds_everybody() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        sent: list[float] = []

        class Once:
            async def complete(self, call: Call) -> Completion:
                sent.append(loop.time())
                if len(sent) == 1:
                    raise RateLimited("wait", retry_after=7.0)
                return Completion("x")

        limit = Limit(Once(), gate(), most=8, rpm=None, tpm=None)
        with pytest.raises(RateLimited):
            await limit.complete(call(0))
        async with asyncio.TaskGroup() as group:
            for n in range(1, 5):
                group.create_task(limit.complete(call(n)))
        assert min(sent[1:]) >= 7.0

    run_virtually(scene())
