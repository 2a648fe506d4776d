"""One contract for everything that completes a request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from luthier.errors import CallTimeout, Unavailable, Unreachable
from luthier.lm.doubles import RefusingLM, ScriptedLM
from luthier.lm.gateway import Gateway, RetryPolicy
from luthier.lm.lm import LM
from luthier.lm.request import Completion, Message, Request
from luthier.lm.store import Store
from luthier.types import Endpoint, Role
from tests.lm.server import Body, Fault, OpenAIServer

KINDS = ("client chat", "client completions", "callable sync", "callable async", "scripted", "store-wrapped")
Ask = Callable[[Request], "asyncio.Future[Completion]"]


def words(text: str) -> str:
    return f"{len(text)} letters, ending in {text[-3:]}"


def from_body(body: Body) -> str:
    return words(body["prompt"] if "prompt" in body else body["messages"][-1]["content"])


def from_request(request: Request) -> str:
    return words(request.messages[-1].text)


async def from_request_async(request: Request) -> Completion:
    await asyncio.sleep(0)
    return Completion(from_request(request))


class World:
    """An LM of one kind, whose next call can be made to fail or to be slow."""

    def __init__(self, kind: str, server: OpenAIServer) -> None:
        self.kind = kind
        self.server = server
        self.fails = False
        self.slow = 0.0
        self.lm = self._lm()
        self.gateway = Gateway(
            store=Store(":memory:") if kind == "store-wrapped" else None, retry=RetryPolicy(give_up_after=0)
        )

    def request(self, text: str) -> Request:
        if self.kind == "client completions":
            return Request(endpoint=Endpoint.COMPLETIONS, prompt=text)
        return Request(messages=(Message("user", text),))

    async def ask(self, text: str) -> str:
        return (await self.gateway.complete(self.lm, self.request(text), Role.TASK)).text

    def fail_next(self) -> None:
        self.fails = True
        self.server.faults = [Fault(drop=True)]

    def slow_down(self, seconds: float) -> None:
        self.slow = self.server.latency = seconds

    def _lm(self) -> LM:
        if self.kind == "client completions":
            return LM("m", base_url=self.server.url, endpoint="completions", timeout=0.5)
        if self.kind == "client chat":
            return LM("m", base_url=self.server.url, timeout=0.5)
        if self.kind == "callable sync":
            return LM(self._sync, timeout=0.5)
        if self.kind == "callable async":
            return LM(self._async, timeout=0.5)
        return LM(ScriptedLM(self._scripted))

    def _scripted(self, request: Request) -> str:
        if self.fails:
            self.fails = False
            raise Unreachable("gone")
        return from_request(request)

    def _sync(self, request: Request) -> str:
        if self.fails:
            self.fails = False
            raise ConnectionResetError("gone")
        time.sleep(self.slow)
        return from_request(request)

    async def _async(self, request: Request) -> Completion:
        if self.fails:
            self.fails = False
            raise ConnectionResetError("gone")
        await asyncio.sleep(self.slow)
        return await from_request_async(request)


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with OpenAIServer(from_body) as server:
        made = World(request.param, server)
        yield made
        made.gateway.close()


@asynccontextmanager
async def patience(seconds: float = 5.0) -> AsyncIterator[None]:
    async with asyncio.timeout(seconds):
        yield


def test_the_same_request_gets_the_same_answer(world: World) -> None:
    async def scene() -> None:
        async with patience():
            first = await world.ask("one two three")
            assert first == words("one two three")
            assert await world.ask("one two three") == first
            assert await world.ask("something else") != first

    asyncio.run(scene())


def test_many_requests_at_once_do_not_mix(world: World) -> None:
    async def scene() -> None:
        texts = [f"text number {n} {'x' * n}" for n in range(40)]
        async with patience(), asyncio.TaskGroup() as group:
            tasks = [group.create_task(world.ask(text)) for text in texts]
        assert [task.result() for task in tasks] == [words(text) for text in texts]

    asyncio.run(scene())


def test_a_lost_connection_is_unavailable_and_the_next_call_succeeds(world: World) -> None:
    async def scene() -> None:
        world.fail_next()
        async with patience():
            with pytest.raises(Unavailable):
                await world.ask("again")
            assert await world.ask("again") == words("again")

    asyncio.run(scene())


def test_a_cancelled_caller_leaves_a_working_line(world: World) -> None:
    async def scene() -> None:
        world.slow_down(0.05)
        async with patience():
            call = asyncio.create_task(world.ask("slow"))
            await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await world.ask("slow") == words("slow")

    if world.kind in ("scripted", "store-wrapped"):
        world.lm = LM(ScriptedLM(from_request, latency=0.05))
    asyncio.run(scene())


@pytest.mark.parametrize(
    "world", ["client chat", "client completions", "callable sync", "callable async"], indirect=True
)
def test_an_answer_that_takes_too_long_is_a_timeout(world: World) -> None:
    async def scene() -> None:
        world.slow_down(0.8)
        async with patience():
            with pytest.raises(CallTimeout, match=r"0\.5 s"):
                await world.ask("late")

    asyncio.run(scene())


def test_a_blocking_call_answers_a_user_thread(world: World) -> None:
    assert world.gateway.complete_blocking(world.lm, world.request("abc"), Role.TASK).text == words("abc")


def test_a_sync_callable_does_not_hold_up_others() -> None:
    async def scene() -> None:
        def slow(request: Request) -> str:
            time.sleep(0.1)
            return "done"

        gateway = Gateway()
        lm = LM(slow)
        requests = [Request(messages=(Message("user", str(n)),)) for n in range(20)]
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(gateway.complete(lm, request, Role.TASK))
        assert time.monotonic() - began < 1.0
        gateway.close()

    asyncio.run(scene())


def test_an_object_with_call_or_with_complete_is_an_lm() -> None:
    class Caller:
        async def __call__(self, request: Request) -> str:
            return "called"

    gateway = Gateway()
    request = Request(messages=(Message("user", "?"),))
    assert gateway.complete_blocking(LM(Caller()), request, Role.TASK).text == "called"
    with pytest.raises(AssertionError, match="must not be asked"):
        gateway.complete_blocking(LM(RefusingLM()), request, Role.TASK)
    gateway.close()
