from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.budget import TOTAL, Ledger
from luthier.errors import BudgetExhausted
from tests.lengths import examples


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


def test_what_is_settled_is_spent_by_role_and_in_total() -> None:
    async def scene() -> None:
        ledger = Ledger({"tokens": 100})
        ledger.settle(await ledger.reserve({"tokens": 30, "lm_calls": 1}, "task"), {"tokens": 10, "lm_calls": 1})
        ledger.settle(await ledger.reserve({"tokens": 30, "lm_calls": 1}, "judge"), {"tokens": 5, "lm_calls": 1})
        assert ledger.spent[TOTAL] == {"tokens": 15, "lm_calls": 2}
        assert ledger.spent["judge"]["tokens"] == 5
        assert ledger.remaining == {"tokens": 85}

    run(scene())


def test_an_attempt_without_a_bill_stays_charged() -> None:
    async def scene() -> None:
        ledger = Ledger({"tokens": 100})
        ledger.settle(await ledger.reserve({"tokens": 60}, "task"), None)
        with pytest.raises(BudgetExhausted, match="60 of 100 spent"):
            await ledger.reserve({"tokens": 60}, "task")

    run(scene())


def test_what_does_not_fit_beside_open_reservations_waits_for_their_bills() -> None:
    async def scene() -> None:
        ledger = Ledger({"tokens": 100})
        first = await ledger.reserve({"tokens": 60}, "task")
        waiting = asyncio.create_task(ledger.reserve({"tokens": 60}, "task"))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        ledger.settle(first, {"tokens": 10})
        assert (await waiting).amounts == {"tokens": 60}

    run(scene())


def test_what_still_does_not_fit_with_none_open_is_refused() -> None:
    async def scene() -> None:
        ledger = Ledger({"tokens": 100})
        first = await ledger.reserve({"tokens": 60}, "task")
        waiting = asyncio.create_task(ledger.reserve({"tokens": 60}, "task"))
        await asyncio.sleep(0)
        ledger.settle(first, {"tokens": 50})
        with pytest.raises(BudgetExhausted):
            await waiting

    run(scene())


def test_a_cancelled_waiter_lets_the_next_one_through() -> None:
    async def scene() -> None:
        ledger = Ledger({"tokens": 100})
        first = await ledger.reserve({"tokens": 60}, "task")
        big = asyncio.create_task(ledger.reserve({"tokens": 90}, "task"))
        small = asyncio.create_task(ledger.reserve({"tokens": 20}, "task"))
        await asyncio.sleep(0.01)
        assert not small.done()
        big.cancel()
        assert (await small).amounts == {"tokens": 20}
        ledger.settle(first, {"tokens": 60})
        assert ledger.remaining == {"tokens": 20}

    run(scene())


def test_a_reservation_granted_to_a_caller_that_has_gone_is_given_back() -> None:
    async def scene() -> None:
        ledger = Ledger({"tokens": 100})
        first = await ledger.reserve({"tokens": 100}, "task")
        waiting = asyncio.create_task(ledger.reserve({"tokens": 100}, "task"))
        await asyncio.sleep(0.01)
        ledger.settle(first, {"tokens": 0})
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ledger.remaining == {"tokens": 100}

    run(scene())


def test_what_is_set_aside_is_kept_from_everybody_until_released() -> None:
    async def scene() -> None:
        ledger = Ledger({"lm_calls": 10})
        ledger.set_aside("verdict", {"lm_calls": 8})
        assert ledger.remaining == {"lm_calls": 2}
        with pytest.raises(BudgetExhausted, match="8 set aside"):
            await ledger.reserve({"lm_calls": 3}, "task")
        ledger.release("verdict")
        await ledger.reserve({"lm_calls": 3}, "task")

    run(scene())


def test_an_earlier_session_counts() -> None:
    async def scene() -> None:
        ledger = Ledger({"lm_calls": 10}, {"task": {"lm_calls": 6}, "judge": {"lm_calls": 2}})
        assert ledger.remaining == {"lm_calls": 2}
        again = Ledger({"lm_calls": 10}, ledger.spent)
        assert again.spent == ledger.spent

    run(scene())


def test_a_bill_above_its_reservation_raises_later_ones_and_is_reported() -> None:
    async def scene() -> None:
        ledger = Ledger({"tokens": 100})
        ledger.settle(await ledger.reserve({"tokens": 40}, "task"), {"tokens": 80})
        assert ledger.overshoot == {}
        assert ledger.remaining == {"tokens": 20}
        second = await ledger.reserve({"tokens": 10}, "task")
        assert second.amounts == {"tokens": 20}
        ledger.settle(second, {"tokens": 30})
        assert ledger.overshoot == {"tokens": 10}

    run(scene())


def test_nothing_starts_after_the_deadline_but_what_runs_may_end() -> None:
    async def scene() -> None:
        left = [1.0]
        ledger = Ledger({}, deadline=lambda: left[0])
        running = await ledger.reserve({"lm_calls": 1}, "task")
        left[0] = 0.0
        with pytest.raises(BudgetExhausted, match="time"):
            await ledger.reserve({"lm_calls": 1}, "task")
        ledger.settle(running, {"lm_calls": 1})

    run(scene())


def test_settling_twice_charges_once() -> None:
    async def scene() -> None:
        ledger = Ledger({"lm_calls": 10})
        reservation = await ledger.reserve({"lm_calls": 1}, "task")
        ledger.settle(reservation, {"lm_calls": 1})
        ledger.settle(reservation, {"lm_calls": 1})
        assert ledger.remaining == {"lm_calls": 9}

    run(scene())


CALLS = st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1), st.booleans(), st.integers(0, 3)), max_size=40)


@settings(max_examples=examples(60), deadline=None)
@given(limit=st.integers(1, 200), calls=CALLS)
def test_no_limit_is_ever_exceeded_while_bills_stay_within_reservations(
    limit: int, calls: list[tuple[int, float, bool, int]]
) -> None:
    async def scene() -> None:
        ledger = Ledger({"tokens": limit, "lm_calls": 30})

        async def call(worst: int, share: float, billed: bool, turns: int) -> None:
            try:
                held = await ledger.reserve({"tokens": worst, "lm_calls": 1}, "task")
            except BudgetExhausted:
                return
            for _ in range(turns):
                await asyncio.sleep(0)
            ledger.settle(held, {"tokens": worst * share, "lm_calls": 1} if billed else None)
            assert ledger.spent[TOTAL]["tokens"] <= limit * (1 + 1e-6)

        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            for each in calls:
                group.create_task(call(*each))
        assert ledger.overshoot == {}
        total = ledger.spent[TOTAL]
        assert total.get("tokens", 0) <= limit * (1 + 1e-6) and total.get("lm_calls", 0) <= 30
        assert ledger.remaining["tokens"] == pytest.approx(max(0.0, limit - total.get("tokens", 0)))

    run(scene())
