from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.budget import TOTAL, Ledger
from luthier.errors import (
    AccessDenied,
    BudgetExhausted,
    CallTimeout,
    ConfigError,
    LMError,
    RateLimited,
    RequestRejected,
    ServerFault,
    StudyPaused,
    Unreachable,
    UserError,
)
from luthier.lm.doubles import ScriptedLM
from luthier.lm.engine import engine
from luthier.lm.gateway import Gateway, RetryPolicy, worst_case
from luthier.lm.lm import LM, Price
from luthier.lm.request import Completion, Message, Request, Usage
from luthier.lm.store import Store
from luthier.types import Role
from tests.lm.server import Fault, OpenAIServer

QUICK = RetryPolicy(first=0.001, longest=0.01, give_up_after=5)


def request(text: str, **settings: Any) -> Request:
    return Request(messages=(Message("user", text),), **settings)


def upper(asked: Request) -> str:
    return asked.messages[0].text.upper()


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    async def patiently() -> Any:
        async with asyncio.timeout(20):
            return await coroutine

    return asyncio.run(patiently())


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
        assert (await gateway.complete(lm, request("b"), Role.TASK)).text == "B"
        assert double.calls == 2 and gateway.hits == 1
        gateway.close()

    run(scene())


def test_an_error_reaches_all_who_joined() -> None:
    async def scene() -> None:
        gateway = Gateway()
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


@pytest.mark.parametrize("error", [AccessDenied("no"), RequestRejected("never"), ValueError("user code")])
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
        assert [await _outcome(call) for call in calls] == ["StudyPaused"] * 2
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


def test_the_budget_is_kept_under_concurrency() -> None:
    async def scene() -> None:
        double = ScriptedLM(upper, latency=0.005)
        ledger = Ledger({"lm_calls": 10})
        gateway = Gateway(store=Store(":memory:"), ledger=ledger, study="s")
        lm = LM(double)

        async def call(n: int) -> bool:
            try:
                await gateway.complete(lm, request(f"text {n}"), Role.TASK)
            except BudgetExhausted:
                return False
            return True

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call(n)) for n in range(40)]
        assert sum(task.result() for task in tasks) == 10 == double.calls
        assert ledger.spent[TOTAL]["lm_calls"] == 10
        gateway.close()

    run(scene())


@settings(max_examples=15, deadline=None)
@given(limit=st.integers(300, 3000), lengths=st.lists(st.integers(1, 200), min_size=1, max_size=25))
def test_tokens_and_dollars_never_exceed_their_limits(limit: int, lengths: list[int]) -> None:
    async def scene() -> None:
        double = ScriptedLM(upper)
        dollars = limit / 1_000_000
        ledger = Ledger({"tokens": limit, "usd": dollars})
        gateway = Gateway(ledger=ledger)
        lm = LM(double, max_tokens=200, price=Price(1.0, 1.0))

        async def call(n: int, length: int) -> None:
            try:
                await gateway.complete(lm, request(f"{n} {'x' * length}"), Role.TASK)
            except BudgetExhausted:
                return

        async with asyncio.TaskGroup() as group:
            for n, length in enumerate(lengths):
                group.create_task(call(n, length))
        spent = ledger.spent[TOTAL]
        assert spent.get("tokens", 0) <= limit and spent.get("usd", 0) <= dollars * (1 + 1e-6)
        assert gateway.usage.get("task", Usage()).tokens == spent.get("tokens", 0)
        gateway.close()

    run(scene())


def test_the_worst_case_bounds_the_bill() -> None:
    lm = LM(ScriptedLM(upper), max_tokens=50, price=Price(2.0, 8.0))
    worst = worst_case(lm, request("é" * 100))
    assert worst["lm_calls"] == 1 and worst["tokens"] >= 200 + 50
    assert worst["usd"] == pytest.approx((2.0 * (worst["tokens"] - 50) + 8.0 * 50) / 1e6)
    assert worst_case(lm, request("a", max_tokens=5))["tokens"] < worst["tokens"]


@pytest.mark.parametrize(
    ("fault", "charged"),
    [
        (ServerFault("500"), "worst case"),
        (CallTimeout("late"), "worst case"),
        (RateLimited("429"), "a call without tokens"),
        (RequestRejected("400"), "a call without tokens"),
    ],
)
def test_an_attempt_without_a_bill_is_charged(fault: LMError, charged: str) -> None:
    store = Store(":memory:")
    ledger = Ledger({})
    gateway = Gateway(store=store, ledger=ledger, study="s", retry=RetryPolicy(give_up_after=0))
    lm = LM(ScriptedLM(upper, faults=[fault]))
    with pytest.raises(LMError):
        gateway.complete_blocking(lm, request("a"), Role.TASK)
    gateway.close()
    expected = worst_case(lm, request("a")) if charged == "worst case" else {"lm_calls": 1}
    assert ledger.spent["task"] == expected == store.spent("s")["task"]


def test_an_answer_without_a_bill_is_charged_at_its_worst_case() -> None:
    ledger = Ledger({})
    gateway = Gateway(ledger=ledger)
    lm = LM(ScriptedLM(lambda asked: Completion("x")))
    gateway.complete_blocking(lm, request("a"), Role.TASK)
    gateway.close()
    assert ledger.spent["task"] == worst_case(lm, request("a"))


def test_a_server_that_was_never_reached_has_not_been_paid() -> None:
    with OpenAIServer() as server:
        gone = server.url
    ledger = Ledger({})
    gateway = Gateway(ledger=ledger, retry=RetryPolicy(give_up_after=0))
    with pytest.raises(Unreachable):
        gateway.complete_blocking(LM("m", base_url=gone), request("a"), Role.TASK)
    gateway.close()
    assert ledger.spent[TOTAL] == {}


def test_a_resumed_study_starts_from_what_was_spent(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    for session in range(3):
        store = Store(path)
        ledger = Ledger({"lm_calls": 5}, store.spent("s"))
        assert ledger.spent[TOTAL].get("lm_calls", 0) == 2 * session
        gateway = Gateway(store=store, ledger=ledger, study="s")
        lm = LM(ScriptedLM(upper))
        gateway.complete_blocking(lm, request(f"a{session}"), Role.TASK)
        if session < 2:
            gateway.complete_blocking(lm, request(f"b{session}"), Role.PROPOSER)
        else:
            with pytest.raises(BudgetExhausted):
                gateway.complete_blocking(lm, request(f"b{session}"), Role.PROPOSER)
        gateway.close()
        store.close()


def test_stopping_lets_calls_in_flight_end_and_starts_none() -> None:
    async def scene() -> None:
        double = ScriptedLM(upper, latency=0.15)
        store = Store(":memory:")
        gateway = Gateway(store=store)
        lm = LM(double, max_in_flight=2)
        calls = [asyncio.create_task(gateway.complete(lm, request(str(n)), Role.TASK)) for n in range(6)]
        await asyncio.sleep(0.05)
        await asyncio.to_thread(gateway.stop, 1.0)
        outcomes = [await _outcome(call) for call in calls]
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
        assert [await _outcome(call) for call in calls] == ["StudyPaused"] * 2
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 1.5
        gateway.close()
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


def test_a_dropped_gateway_closes_its_connections_quietly() -> None:
    with OpenAIServer() as server:
        gateway = Gateway()
        gateway.complete_blocking(LM("m", base_url=server.url), request("a"), Role.TASK)
        del gateway  # `filterwarnings = error` would make an unclosed session a failure


async def _outcome(call: asyncio.Task[Completion]) -> str:
    try:
        return (await call).text
    except LMError as error:
        return type(error).__name__
    except StudyPaused:
        return "StudyPaused"
