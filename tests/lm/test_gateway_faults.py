"""What waiting mends is tried again; what it cannot is said; stopping ends in time."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from luthier.budget import Ledger
from luthier.errors import (
    AccessDenied,
    CallTimeout,
    ConfigError,
    LMError,
    RateLimited,
    RequestRejected,
    ServerFault,
    StudyPaused,
    Unreachable,
)
from luthier.lm.doubles import ScriptedLM
from luthier.lm.gateway import Gateway, RetryPolicy
from luthier.lm.lm import LM
from luthier.lm.store import Store
from luthier.types import Role
from tests.lm.scenes import QUICK, outcome, request, run, upper
from tests.lm.server import Fault, OpenAIServer


def test_an_error_reaches_all_who_joined() -> None:
    async def scene() -> None:
        gateway = Gateway(lasting=True)
        lm = LM(ScriptedLM(upper, latency=0.02, faults=[AccessDenied("no")]))
        calls = [asyncio.create_task(gateway.complete(lm, request("a"), Role.TASK)) for _ in range(3)]
        for call in calls:
            with pytest.raises(AccessDenied):
                await call
        assert (await gateway.complete(lm, request("a"), Role.TASK)).text == "A"
        gateway.close()

    run(scene())


def test_infrastructure_faults_are_retried_and_counted() -> None:
    said: list[str] = []
    double = ScriptedLM(upper, faults=[ServerFault("boom"), RateLimited("slow"), Unreachable("sk-abcdefghijklm")])
    gateway = Gateway(retry=QUICK, on_fault=said.append)
    assert gateway.complete_blocking(LM(double), request("a"), Role.TASK).text == "A"
    gateway.close()
    assert gateway.faults == {"ServerFault": 1, "RateLimited": 1, "Unreachable": 1}
    assert len(said) == 3 and "trying again" in said[0] and "abcdefghijklm" not in said[2]


def test_a_denial_ends_all_calls_at_once() -> None:
    async def scene() -> None:
        double = ScriptedLM(upper, latency=0.02, faults=[None, None, AccessDenied("no credit")])
        waiting = LM(ScriptedLM(upper, identity="waiting", faults=[RateLimited("", retry_after=500)]))
        gateway = Gateway()
        lm = LM(double, max_in_flight=4)
        calls = [asyncio.create_task(gateway.complete(lm, request(str(n)), Role.TASK)) for n in range(50)]
        calls.append(asyncio.create_task(gateway.complete(waiting, request("a"), Role.TASK)))
        ends = [await outcome(call) for call in calls]
        assert ends.count("StudyPaused") > len(ends) - 8, "but what was in flight"
        assert double.calls <= 8
        with pytest.raises(StudyPaused, match="no credit"):
            await gateway.complete(lm, request("later"), Role.TASK)
        gateway.close()

    run(scene())


def test_what_lasts_is_ended_by_nothing() -> None:
    policy = RetryPolicy(first=0.001, longest=0.001, give_up_after=9, breaker_failures=2, breaker_seconds=0)
    down: list[LMError | None] = [ServerFault("down")] * 5 + [AccessDenied("no"), None]
    gateway = Gateway(retry=policy, lasting=True)
    lm = LM(ScriptedLM(upper, faults=down))
    with pytest.raises(AccessDenied):
        gateway.complete_blocking(lm, request("a"), Role.TASK)
    assert gateway.complete_blocking(lm, request("a"), Role.TASK).text == "A"
    gateway.close()


def test_two_calls_given_up_in_a_row_pause_everything_where_few_are_in_flight() -> None:
    policy = RetryPolicy(first=0.02, longest=0.02, give_up_after=0.1, breaker_failures=10_000, breaker_seconds=0.1)
    double = ScriptedLM(upper, faults=[CallTimeout("dead")] * 10_000)
    gateway = Gateway(retry=policy)
    lm = LM(double)
    with pytest.raises(CallTimeout):
        gateway.complete_blocking(lm, request("a"), Role.TASK)
    with pytest.raises(StudyPaused, match="has not answered"):
        gateway.complete_blocking(lm, request("b"), Role.TASK)
    gateway.close()


@pytest.mark.parametrize("error", [RequestRejected("never"), ValueError("user code")])
def test_what_waiting_cannot_mend_is_raised_at_once(error: Any) -> None:
    double = ScriptedLM(upper, faults=[error])
    gateway = Gateway(retry=QUICK)
    with pytest.raises(type(error)):
        gateway.complete_blocking(LM(double), request("a"), Role.TASK)
    gateway.close()
    assert double.calls == 1


def test_a_call_is_given_up_after_its_time() -> None:
    double = ScriptedLM(upper, faults=[CallTimeout("late")] * 1000)
    gateway = Gateway(retry=RetryPolicy(first=0.02, longest=0.02, give_up_after=0.2))
    began = time.monotonic()
    with pytest.raises(CallTimeout):
        gateway.complete_blocking(LM(double), request("a"), Role.TASK)
    gateway.close()
    assert time.monotonic() - began < 2 and double.calls > 2


def test_a_retry_waits_as_long_as_the_server_asks() -> None:
    with OpenAIServer(faults=[Fault(429, headers={"Retry-After": "0.4"})]) as server:
        gateway = Gateway(retry=QUICK)
        began = time.monotonic()
        assert gateway.complete_blocking(LM("m", base_url=server.url), request("a"), Role.TASK).text == "ok"
        gateway.close()
    assert time.monotonic() - began >= 0.4


def test_a_wait_beyond_the_patience_of_a_call_ends_it_at_once() -> None:
    double = ScriptedLM(upper, faults=[RateLimited("tomorrow", retry_after=86400)])
    gateway = Gateway(retry=QUICK)
    with pytest.raises(RateLimited):
        gateway.complete_blocking(LM(double), request("a"), Role.TASK)
    gateway.close()


def test_many_failures_in_a_row_and_no_success_pause_everything() -> None:
    async def scene() -> None:
        double = ScriptedLM(upper, faults=[ServerFault("down")] * 10_000)
        policy = RetryPolicy(first=0.01, longest=0.01, give_up_after=60, breaker_failures=20, breaker_seconds=0.2)
        gateway = Gateway(retry=policy)
        lm = LM(double)
        calls = [asyncio.create_task(gateway.complete(lm, request(str(n)), Role.TASK)) for n in range(4)]
        for call in calls:
            with pytest.raises(StudyPaused, match="failures in a row"):
                await call
        with pytest.raises(StudyPaused):
            await gateway.complete(lm, request("later"), Role.TASK)
        gateway.close()

    run(scene())


def test_a_pause_wakes_those_who_wait_to_try_again() -> None:
    async def scene() -> None:
        waiting = LM(ScriptedLM(upper, identity="waiting", faults=[RateLimited("", retry_after=500)]))
        failing = LM(ScriptedLM(upper, faults=[ServerFault("down")] * 99))
        policy = RetryPolicy(first=0.01, longest=0.01, breaker_failures=5, breaker_seconds=0)
        gateway = Gateway(retry=policy)
        calls = [asyncio.create_task(gateway.complete(lm, request("a"), Role.TASK)) for lm in (waiting, failing)]
        assert [await outcome(call) for call in calls] == ["StudyPaused"] * 2
        gateway.close()

    run(scene())


def test_failures_between_successes_do_not_pause() -> None:
    faults: list[LMError | None] = [ServerFault("x"), None] * 40
    gateway = Gateway(
        retry=RetryPolicy(first=0.001, longest=0.001, breaker_failures=3, breaker_seconds=0.0, give_up_after=9)
    )
    lm = LM(ScriptedLM(upper, faults=faults))
    for n in range(40):
        assert gateway.complete_blocking(lm, request(f"t{n}"), Role.TASK).text == f"T{n}"
    gateway.close()


def test_stopping_lets_calls_in_flight_end_and_starts_none() -> None:
    async def scene() -> None:
        double = ScriptedLM(upper, latency=0.15)
        store = Store(":memory:")
        gateway = Gateway(store=store)
        lm = LM(double, max_in_flight=2)
        calls = [asyncio.create_task(gateway.complete(lm, request(str(n)), Role.TASK)) for n in range(6)]
        await asyncio.sleep(0.05)
        await asyncio.to_thread(gateway.stop, 1.0)
        outcomes = [await outcome(call) for call in calls]
        assert outcomes == ["0", "1", *["StudyPaused"] * 4]
        assert double.calls == 2
        with pytest.raises(StudyPaused):
            await gateway.complete(lm, request("0"), Role.TASK)
        again = Gateway(store=store)
        assert (await again.complete(lm, request("1"), Role.TASK)).text == "1" and again.hits == 1
        gateway.close()
        again.close()

    run(scene())


def test_stopping_cancels_what_outlasts_the_grace_and_ends_in_time() -> None:
    async def scene() -> None:
        gateway = Gateway(retry=RetryPolicy(first=60, longest=60))
        slow = LM(ScriptedLM(upper, latency=30))
        backing_off = LM(ScriptedLM(upper, identity="failing", faults=[RateLimited("", retry_after=100)]))
        calls = [asyncio.create_task(gateway.complete(lm, request("a"), Role.TASK)) for lm in (slow, backing_off)]
        await asyncio.sleep(0.05)
        began = time.monotonic()
        threads = [threading.Thread(target=gateway.stop, args=(0.2,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert [await outcome(call) for call in calls] == ["StudyPaused"] * 2
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 1.5
        gateway.close()
        gateway.close()

    run(scene())


def test_a_probe_finds_a_good_server_and_is_not_stored() -> None:
    with OpenAIServer() as server:
        store = Store(":memory:")
        gateway = Gateway(store=store, ledger=Ledger({}), study="s")
        lm = LM("m", base_url=server.url)
        run(gateway.probe(lm))
        run(gateway.probe(lm))
        run(gateway.probe(LM(ScriptedLM(upper))))
        gateway.close()
        assert [body["max_tokens"] for body in server.requests] == [1, 1]
        assert store.spent("s")["probe"]["lm_calls"] == 2


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(404, {"error": {"message": "model m does not exist"}}), "model m does not exist"),
        (Fault(401, {"error": {"message": "bad key"}}), "denies access"),
        (Fault(drop=True), "cannot be reached"),
        # vLLM, where the longest answer alone does not fit the model: not every prompt to come is to be found too long
        (Fault(400, {"error": {"message": "This model's maximum context length is 8192 tokens."}}), "max_tokens"),
        (Fault(400, {"error": {"message": "Blocked.", "code": "content_filter"}}), "Blocked"),
    ],
)
def test_a_probe_says_what_is_wrong_and_where(fault: Fault, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.lm.gateway._PROBE_PATIENCE", 0.2)
    with OpenAIServer(faults=[fault] * 50) as server:
        gateway = Gateway()
        with pytest.raises(ConfigError, match=says) as caught:
            run(gateway.probe(LM("m", base_url=server.url)))
        assert server.url in str(caught.value)
        gateway.close()


def test_a_probe_waits_for_a_starting_server_and_accepts_a_busy_one() -> None:
    with OpenAIServer(faults=[Fault(503), None, *[Fault(429, headers={"Retry-After": "99"})] * 3]) as server:
        gateway = Gateway(retry=QUICK)
        run(gateway.probe(LM("m", base_url=server.url)))
        run(gateway.probe(LM("m", base_url=server.url)))
        gateway.close()


def test_a_missing_key_is_found_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    gateway = Gateway()
    for call in (gateway.probe(LM("openai/m")), gateway.complete(LM("openai/m"), request("a"), Role.TASK)):
        with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
            run(call)
    gateway.close()
