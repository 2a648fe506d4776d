"""An answer is paid once, kept, and shared by all who ask for it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from luthier.errors import (
    UserError,
)
from luthier.lm.doubles import ScriptedLM
from luthier.lm.engine import engine
from luthier.lm.gateway import Gateway
from luthier.lm.lm import LM
from luthier.lm.request import Usage
from luthier.lm.store import Store
from luthier.types import Role
from tests.lm.scenes import request, run, upper
from tests.lm.server import OpenAIServer


def test_a_stored_answer_is_never_asked_for_again(tmp_path: Path) -> None:
    double = ScriptedLM(upper)
    for _ in range(2):  # the second gateway finds what the first one stored
        store = Store(tmp_path / "store.sqlite")
        gateway = Gateway(store=store)
        assert gateway.complete_blocking(LM(double), request("a"), Role.TASK).text == "A"
        gateway.close()
        store.close()
    assert double.calls == 1
    assert gateway.hits == 1 and gateway.usage == {}
    assert gateway.requested == {"task": Usage(1, 1, 0, 1)}


def test_draws_are_told_apart_by_their_number() -> None:
    double = ScriptedLM(lambda asked: f"draw {asked.sample}")
    gateway = Gateway(store=Store(":memory:"))
    texts = [gateway.complete_blocking(LM(double), request("a", sample=n), Role.TASK).text for n in (1, 2, 1)]
    gateway.close()
    assert texts == ["draw 1", "draw 2", "draw 1"] and double.calls == 2


def test_settings_of_the_lm_fill_what_a_request_leaves_open() -> None:
    double = ScriptedLM(upper)
    gateway = Gateway(store=Store(":memory:"))
    lm = LM(double, temperature=0.3, top_p=0.9, max_tokens=7, extra={"min_p": 0.1})
    gateway.complete_blocking(lm, request("a"), Role.TASK)
    gateway.complete_blocking(lm, request("a", temperature=0.5, max_tokens=3), Role.TASK)
    gateway.complete_blocking(lm.with_settings(extra={"min_p": 0.2}), request("a"), Role.TASK)
    gateway.close()
    first, second, third = double.requests
    assert (first.temperature, first.top_p, first.max_tokens, first.extra) == (0.3, 0.9, 7, {"min_p": 0.1})
    assert (second.temperature, second.max_tokens) == (0.5, 3)
    assert third.extra == {"min_p": 0.2}


def test_identical_calls_in_flight_are_joined_and_a_cancelled_caller_only_detaches() -> None:
    async def scene() -> None:
        double = ScriptedLM(upper, latency=0.1)
        store = Store(":memory:")
        gateway = Gateway(store=store)
        lm = LM(double)
        calls = [asyncio.create_task(gateway.complete(lm, request("a"), Role.TASK)) for _ in range(5)]
        await asyncio.sleep(0.03)
        calls[0].cancel()
        assert [(await call).text for call in calls[1:]] == ["A"] * 4
        lonely = asyncio.create_task(gateway.complete(lm, request("b"), Role.TASK))
        await asyncio.sleep(0.03)
        lonely.cancel()
        await asyncio.sleep(0.15)  # nobody waits, yet the paid answer is kept
        while not gateway.hits:  # a busy machine may still be at it
            assert (await gateway.complete(lm, request("b"), Role.TASK)).text == "B"
        assert double.calls == 2
        gateway.close()

    run(scene())


def test_lms_that_differ_only_in_sampling_share_their_limit() -> None:
    async def scene() -> None:
        double = ScriptedLM(upper, latency=0.01)
        gateway = Gateway()
        lm = LM(double, max_in_flight=3)
        async with asyncio.TaskGroup() as group:
            for n in range(20):
                chosen = lm.with_settings(temperature=n % 2)
                group.create_task(gateway.complete(chosen, request(str(n)), Role.TASK))
        assert double.most_in_flight == 3
        gateway.close()

    run(scene())


def test_blocking_on_a_running_loop_is_an_error_that_says_what_to_do() -> None:
    async def scene() -> None:
        gateway = Gateway()
        with pytest.raises(UserError, match="await"):
            gateway.complete_blocking(LM(ScriptedLM(upper)), request("a"), Role.TASK)
        gateway.close()

    run(scene())


def test_calls_from_many_loops_and_threads_meet_on_the_engine() -> None:
    gateway = Gateway(store=Store(":memory:"))
    lm = LM(ScriptedLM(upper))
    answers: list[str] = []

    def work(n: int) -> None:
        answers.append(asyncio.run(gateway.complete(lm, request(f"t{n}"), Role.TASK)).text)
        answers.append(gateway.complete_blocking(lm, request(f"t{n}"), Role.TASK).text)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    inside = engine().submit(gateway.complete(lm, request("t0"), Role.TASK)).result(5)
    gateway.close()
    assert sorted(answers) == sorted([f"T{n}" for n in range(8)] * 2) and inside.text == "T0"


def test_a_dropped_gateway_closes_its_connections_quietly() -> None:
    with OpenAIServer() as server:
        gateway = Gateway()
        gateway.complete_blocking(LM("m", base_url=server.url), request("a"), Role.TASK)
        del gateway  # `filterwarnings = error` would make an unclosed session a failure
