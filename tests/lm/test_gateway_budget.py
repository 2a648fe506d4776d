"""No attempt is sent that the budget cannot bear, and each is charged."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.budget import TOTAL, Ledger
from luthier.errors import (
    BudgetExhausted,
    CallTimeout,
    LMError,
    RateLimited,
    RequestRejected,
    ServerFault,
    StoreError,
    StudyPaused,
    Unreachable,
)
from luthier.lm.doubles import ScriptedLM
from luthier.lm.gateway import Gateway, RetryPolicy, worst_case
from luthier.lm.lm import LM, Price
from luthier.lm.request import Completion, Usage
from luthier.lm.store import Store
from luthier.types import Role
from tests.lengths import examples
from tests.lm.scenes import request, run, upper
from tests.lm.server import OpenAIServer


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


@settings(max_examples=examples(15), deadline=None)
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


@pytest.mark.parametrize("held", [False, True], ids=["the write fails", "another process holds the file"])
def test_an_attempt_that_cannot_be_written_down_holds_nothing_of_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    monkeypatch.setattr("luthier.lm.store._WAIT_FOR_OTHERS", 0.05)

    async def scene() -> None:
        store = Store(tmp_path / "store.sqlite")
        ledger = Ledger({"lm_calls": 1})
        double = ScriptedLM(upper)
        gateway, lm = Gateway(store=store, ledger=ledger, study="s"), LM(double)
        other = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE" if held else "DROP TABLE attempts")
        for number in range(3):
            with pytest.raises(StoreError):
                await gateway.complete(lm, request(f"text {number}"), Role.TASK)
        assert ledger.remaining == {"lm_calls": 1} and double.calls == 0
        if held:
            other.execute("ROLLBACK")
            async with asyncio.timeout(5):
                assert (await gateway.complete(lm, request("again"), Role.TASK)).text == "AGAIN"
        other.close()
        gateway.close()

    run(scene())


def test_a_call_that_is_cancelled_while_its_attempt_waits_to_be_written_holds_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        store = Store(tmp_path / "store.sqlite")
        ledger = Ledger({"lm_calls": 1})
        gateway = Gateway(store=store, ledger=ledger, study="s")
        other = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        call = asyncio.ensure_future(gateway.complete(LM(ScriptedLM(upper)), request("text"), Role.TASK))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(gateway.stop, 0.0)
        with pytest.raises(StudyPaused):
            await call
        assert ledger.remaining == {"lm_calls": 1}
        other.execute("ROLLBACK")
        other.close()
        gateway.close()

    run(scene())
