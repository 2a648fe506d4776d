"""An outage leaves a rollout unscored; what no rollout can get past ends all."""

from __future__ import annotations

import asyncio
import contextvars
import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.budget import Ledger
from luthier.errors import (
    AccessDenied,
    BudgetExhausted,
    ConfigError,
    LMError,
    ProgramFailed,
    RequestRejected,
    ServerFault,
    StoreError,
    StudyPaused,
)
from luthier.evaluation.rollout import Outcome
from luthier.lm.request import Request
from luthier.lm.store import Store
from tests.evaluation.world import DATA, World, akind, aprogram, asked, kind, outcomes, program, right


class TestInfrastructure:
    @pytest.mark.parametrize("error", [ConnectionError("gone"), TimeoutError("late"), lt.Unavailable("out")])
    def test_outages_of_user_code_leave_the_rollout_unscored(self, error: Exception) -> None:
        def flaky(number: str) -> str:
            if number == "3":
                raise error
            return kind(number=number)

        rollouts = World(flaky).run()
        assert rollouts[3].outcome is Outcome.UNSCORED
        assert rollouts[3].score is None
        assert str(error) in rollouts[3].error

    def test_an_outage_of_the_lm_leaves_the_rollout_unscored(self, both: Callable[..., Any]) -> None:
        def answer(request: Request) -> str:
            if asked(request) == 3:
                raise lt.Unavailable("down")
            return right(request)

        rollouts = World(both, answer=answer).run()
        assert outcomes(rollouts) == ["scored"] * 3 + ["unscored"] + ["scored"] * 6

    def test_an_outage_wrapped_by_user_code_is_still_an_outage(self) -> None:
        def wrapping(number: str) -> str:
            try:
                if number == "3":
                    raise ConnectionError("gone")
            except ConnectionError as error:
                raise ValueError("no documents") from error
            return kind(number=number)

        assert World(wrapping).run()[3].outcome is Outcome.UNSCORED

    def test_an_outage_inside_a_task_group_is_still_an_outage(self) -> None:
        async def parallel(number: str) -> str:
            async def ask() -> str:
                if number == "3":
                    raise lt.Unavailable("down")
                return await akind(number=number)

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask()) for _ in range(2)]
            return tasks[0].result()

        rollouts = World(parallel).run()
        assert rollouts[3].outcome is Outcome.UNSCORED
        assert rollouts[4].outcome is Outcome.SCORED

    def test_an_outage_in_the_first_rollout_leaves_the_next_to_prove_the_program(self) -> None:
        calls = []

        def flaky(number: str) -> str:
            calls.append(number)
            if len(calls) == 1:
                raise ConnectionError("gone")
            raise KeyError(kind.name)

        world = World(flaky, concurrency=1, data=DATA[:1])
        assert outcomes(asyncio.run(world.evaluator.rollouts(world.jobs()))) == ["unscored"]
        with pytest.raises(ProgramFailed):
            asyncio.run(world.evaluator.rollouts(world.jobs()))

    def test_an_outage_that_user_code_swallows_is_never_a_score(self, both: Callable[..., Any]) -> None:
        def swallowing(number: str) -> str:
            try:
                return kind(number=number)
            except Exception:  # noqa: BLE001 - what users write
                return "even"

        async def aswallowing(number: str) -> str:
            try:
                return await akind(number=number)
            except Exception:  # noqa: BLE001 - what users write
                raise KeyError("colour") from None

        def answer(request: Request) -> str:
            if asked(request) == 3:
                raise ServerFault("down")
            return right(request)

        rollouts = World(swallowing if both is program else aswallowing, answer=answer).run()
        assert outcomes(rollouts) == ["scored"] * 3 + ["unscored"] + ["scored"] * 6
        assert "down" in rollouts[3].error

    def test_an_outage_that_a_metric_swallows_is_never_a_score(self) -> None:
        def metric(example: Any, prediction: str) -> bool:
            try:
                return kind(number="13") == "odd"
            except Exception:  # noqa: BLE001 - what users write
                return False

        def answer(request: Request) -> str:
            if asked(request) == 13:
                raise ServerFault("down")
            return right(request)

        assert set(outcomes(World(program, metric, answer=answer).run())) == {"unscored"}

    @pytest.mark.parametrize("how", ["timeout", "wait_for", "cancel", "wrapped", "hidden cause"])
    def test_a_call_that_user_code_gave_up_is_never_a_score(self, how: str) -> None:
        async def impatient(number: str) -> str:
            call = asyncio.ensure_future(akind(number=number))
            try:
                if how == "timeout":
                    async with asyncio.timeout(0.4):
                        return await call
                if how == "cancel":
                    done, _ = await asyncio.wait([call], timeout=0.4)
                    call.cancel()
                    return call.result() if done else "even"
                return await asyncio.wait_for(call, 0.4)
            except TimeoutError as error:
                if how == "wrapped":
                    raise KeyError("late") from error
                if how == "hidden cause":
                    raise KeyError("late") from None
                return "even"

        async def slowly(request: Request) -> str:
            await asyncio.sleep(1.5 if asked(request) == 3 else 0)
            return right(request)

        assert outcomes(World(impatient, lm=lt.LM(slowly)).run()) == ["scored"] * 3 + ["unscored"] + ["scored"] * 6

    def test_a_thread_that_user_code_gave_up_is_never_a_score(self) -> None:
        def impatient(number: str) -> str:
            pool = ThreadPoolExecutor(1)
            call = pool.submit(contextvars.copy_context().run, lambda: kind(number=number))
            try:
                return call.result(timeout=0.4)
            except TimeoutError:
                return "even"
            finally:
                pool.shutdown(wait=False)

        async def slowly(request: Request) -> str:
            await asyncio.sleep(1.5 if asked(request) == 3 else 0)
            return right(request)

        assert outcomes(World(impatient, lm=lt.LM(slowly)).run()) == ["scored"] * 3 + ["unscored"] + ["scored"] * 6

    def test_calls_that_are_cancelled_since_another_failed_say_nothing_of_the_server(self) -> None:
        async def group(number: str) -> str:
            async def broken() -> str:
                await asyncio.sleep(0.02)
                if number == "3":
                    raise KeyError("colour")
                return await akind(number="1003" if number == "5" else number)

            async with asyncio.TaskGroup() as tasks:
                first = tasks.create_task(broken())
                tasks.create_task(akind(number=f"{2 if number in '35' else 1}00{number}"))
            return first.result()

        async def answer(request: Request) -> str:
            await asyncio.sleep(0.5 if asked(request) >= 2000 else 0)
            return "no idea" if asked(request) == 1003 else right(request)

        rollouts = World(group, lm=lt.LM(answer)).run()
        assert outcomes(rollouts)[3] == "error" and outcomes(rollouts)[5] == "unparseable"
        assert set(outcomes(rollouts)[6:]) == {"scored"}

    def test_a_rollout_that_cancels_itself_or_would_leave_is_an_error_and_none_is_lost(self) -> None:
        async def odd(number: str) -> str:
            if number == "3":
                raise asyncio.CancelledError
            if number == "4":
                sys.exit("enough")
            return await akind(number=number)

        rollouts = World(odd, concurrency=1).run()
        assert outcomes(rollouts) == ["scored"] * 3 + ["error"] * 2 + ["scored"] * 5
        assert "CancelledError" in rollouts[3].error and "SystemExit" in rollouts[4].error


class TestWhatEndsAll:
    def test_a_budget_that_user_code_swallows_still_ends_all(self, both: Callable[..., Any]) -> None:
        def swallowing(number: str) -> str:
            try:
                return kind(number=number)
            except Exception:  # noqa: BLE001 - what users write
                return "even"

        with pytest.raises(BudgetExhausted):
            World(swallowing, ledger=Ledger({"lm_calls": 4})).run()

    @pytest.mark.parametrize(
        ("error", "raised"),
        [(AccessDenied("wrong key"), StudyPaused), (RequestRejected("no such model"), RequestRejected)],
    )
    def test_what_no_rollout_can_get_past_ends_all(
        self, error: LMError, raised: type[Exception], both: Callable[..., Any]
    ) -> None:
        def answer(request: Request) -> str:
            if asked(request) == 3:
                raise error
            return right(request)

        with pytest.raises(raised, match=str(error)):
            World(both, answer=answer, concurrency=2).run()

    @pytest.mark.parametrize("table", ["answers", "vals"])
    def test_a_store_that_fails_is_never_a_score_whatever_user_code_swallows(
        self, table: str, tmp_path: Path, both: Callable[..., Any]
    ) -> None:
        @lt.recorded
        def looked_up(number: str) -> str:
            return number

        def swallowing(number: str) -> str:
            try:
                return kind(number=looked_up(number))
            except Exception:  # noqa: BLE001 - what users write
                return "even"

        async def aswallowing(number: str) -> str:
            try:
                return await akind(number=looked_up(number))
            except Exception:  # noqa: BLE001 - what users write
                raise KeyError("colour") from None

        store = Store(tmp_path / "store.sqlite")
        with closing(sqlite3.connect(tmp_path / "store.sqlite")) as other:
            other.execute(f"DROP TABLE {table}")
        with pytest.raises(StoreError, match="store"):
            World(swallowing if both is program else aswallowing, store=store).run()

    def test_a_setting_that_ends_all_does_so_whatever_user_code_swallows(self, both: Callable[..., Any]) -> None:
        def swallowing(number: str) -> str:
            try:
                return kind(number=number)
            except Exception:  # noqa: BLE001 - what users write
                return "even"

        with pytest.raises(ConfigError, match="returned"):
            World(swallowing, lm=lt.LM(lambda request: 7)).run()  # type: ignore[arg-type,return-value]

    def test_an_exhausted_budget_is_raised_and_the_rest_cancelled(self, both: Callable[..., Any]) -> None:
        world = World(both, ledger=Ledger({"lm_calls": 4}), concurrency=2)
        with pytest.raises(BudgetExhausted):
            world.run()
        assert world.double.calls == 4
        assert len(world.seen) <= 4

    def test_a_stopped_gateway_pauses(self) -> None:
        world = World()
        world.gateway.stop()
        with pytest.raises(StudyPaused):
            world.run()

    def test_user_code_that_wraps_it_does_not_hide_it(self) -> None:
        def wrapping(number: str) -> str:
            try:
                return kind(number=number)
            except Exception as error:
                raise RuntimeError("it failed") from error

        with pytest.raises(BudgetExhausted):
            World(wrapping, ledger=Ledger({"lm_calls": 4})).run()

    def test_cancelling_cancels(self) -> None:
        world = World(aprogram, latency=30)

        async def impatient() -> None:
            async with asyncio.timeout(0.1):
                await world.evaluator.rollouts(world.jobs())

        with pytest.raises(TimeoutError):
            asyncio.run(impatient())
        world.gateway.close()
