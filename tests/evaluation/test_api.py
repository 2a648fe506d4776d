"""``lt.evaluate`` and ``lt.aevaluate``: one contract, sync and async, with faults found before anything is paid."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import (
    BudgetExhausted,
    CandidateError,
    ConfigError,
    DataError,
    DiscoveryError,
    MetricError,
    ProgramFailed,
)
from luthier.lm.doubles import RefusingLM, ScriptedLM
from luthier.lm.request import Request
from luthier.lm.store import Store
from tests.evaluation.world import TRUTH, aprogram, kind, program

DATA = [{"number": str(i), "answer": TRUTH[i % 2]} for i in range(12)]


def even(request: Request) -> str:
    return "even"


def test_a_program_is_evaluated() -> None:
    evaluation = lt.evaluate(program, DATA, lt.exact_match, lm=lt.LM(ScriptedLM(even)))
    assert (evaluation.mean, evaluation.n, evaluation.unscored) == (0.5, 12, 0)
    assert len(evaluation.rollouts) == 12
    assert evaluation.usage.calls == 12


def test_async_programs_are_evaluated_from_sync_code() -> None:
    assert lt.evaluate(aprogram, DATA, lt.exact_match, lm=lt.LM(ScriptedLM(even))).mean == 0.5


@pytest.mark.parametrize("function", [program, aprogram])
def test_the_async_twin_runs_on_the_callers_loop(function: Any) -> None:
    async def main() -> lt.Evaluation:
        home = asyncio.get_running_loop()

        async def metric(example: Any, prediction: str) -> bool:
            assert asyncio.get_running_loop() is home
            return bool(example.answer == prediction)

        return await lt.aevaluate(function, DATA, metric, lm=lt.LM(ScriptedLM(even)))

    assert asyncio.run(main()).mean == 0.5


@pytest.mark.parametrize("function", [program, aprogram])
def test_the_sync_twin_works_where_a_loop_is_running(function: Any) -> None:
    async def notebook_cell() -> float:
        return lt.evaluate(function, DATA, lt.exact_match, lm=lt.LM(ScriptedLM(even))).mean

    assert asyncio.run(notebook_cell()) == 0.5


def test_the_callers_context_is_seen_by_user_code() -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
    token = tenant.set("me")
    try:
        metric = lambda example, prediction: tenant.get() == "me"  # noqa: E731
        assert lt.evaluate(program, DATA[:2], metric, lm=lt.LM(ScriptedLM(even))).mean == 1.0
    finally:
        tenant.reset(token)


def test_a_callable_is_an_lm() -> None:
    assert lt.evaluate(program, DATA, lt.exact_match, lm=lambda request: "even").mean == 0.5


def test_a_candidate_is_evaluated_and_repeats_are_made() -> None:
    double = ScriptedLM(lambda request: "odd" if "ODD" in request.messages[0].text else "even")
    candidate = lt.Candidate({"kind": lt.Prompt("Always say ODD.")})
    evaluation = lt.evaluate(program, DATA, lt.exact_match, lm=lt.LM(double), candidate=candidate, repeats=2)
    assert len(evaluation.rollouts) == 24
    assert {rollout.prediction for rollout in evaluation.rollouts} == {"odd"}
    assert evaluation.candidate is candidate


def test_inputs_choose_columns() -> None:
    def guessing(number: str, answer: str = "") -> str:
        return answer or kind(number=number)

    with pytest.raises(DataError, match="labels leak"):
        lt.evaluate(guessing, DATA, lt.exact_match, lm=lt.LM(RefusingLM()))
    evaluation = lt.evaluate(guessing, DATA, lt.exact_match, lm=lt.LM(ScriptedLM(even)), inputs=["number"])
    assert evaluation.mean == 0.5


def test_a_program_of_any_columns_takes_those_that_inputs_name() -> None:
    def anything(**columns: str) -> str:
        return kind(number=columns["number"])

    evaluation = lt.evaluate(anything, DATA, lt.exact_match, lm=lt.LM(ScriptedLM(even)), inputs=["number"])
    assert evaluation.mean == 0.5


def test_what_a_store_holds_is_not_asked_again(tmp_path: Path) -> None:
    double = ScriptedLM(even)
    for store in (tmp_path / "store.sqlite", str(tmp_path / "store.sqlite")):
        assert lt.evaluate(program, DATA, lt.exact_match, lm=lt.LM(double), store=store).mean == 0.5
    assert double.calls == 12
    own = Store(tmp_path / "store.sqlite")
    lt.evaluate(program, DATA, lt.exact_match, lm=lt.LM(double), store=own)
    assert own.value("still open") is None
    own.close()
    assert double.calls == 12


def test_the_environment_may_name_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_STORE", str(tmp_path / "store.sqlite"))
    double = ScriptedLM(even)
    for _ in range(2):
        lt.evaluate(program, DATA, lt.exact_match, lm=lt.LM(double))
    assert double.calls == 12


def test_a_budget_is_kept() -> None:
    double = ScriptedLM(even)
    with pytest.raises(BudgetExhausted):
        lt.evaluate(program, DATA, lt.exact_match, lm=lt.LM(double), budget=lt.Budget(lm_calls=5))
    assert double.calls == 5
    assert lt.evaluate(program, DATA, lt.exact_match, lm=lt.LM(double), budget=lt.Budget(lm_calls=12)).n == 12


def test_a_budget_of_seconds_is_kept() -> None:
    double = ScriptedLM(even, latency=0.1)
    with pytest.raises(BudgetExhausted, match="time"):
        lt.evaluate(program, DATA, lt.exact_match, lm=lt.LM(double), budget=lt.Budget(seconds=0.15), concurrency=1)


class TestFaultsFoundBeforeAnyCall:
    lm = lt.LM(RefusingLM())

    def test_data(self) -> None:
        with pytest.raises(DataError, match="needs a column"):
            lt.evaluate(program, [{"n": 1}], lt.exact_match, lm=self.lm)
        with pytest.raises(DataError, match=r"not lt\.Splits"):
            lt.evaluate(program, lt.Splits(DATA, DATA), lt.exact_match, lm=self.lm)

    def test_metric(self) -> None:
        with pytest.raises(MetricError, match="several"):
            lt.evaluate(program, [{**row, "id": 1} for row in DATA], lt.exact_match, lm=self.lm)
        with pytest.raises(MetricError, match="cannot be called"):
            lt.evaluate(program, DATA, lambda example: True, lm=self.lm)

    def test_program(self) -> None:
        with pytest.raises(DiscoveryError):
            lt.evaluate(lambda number: number, DATA, lt.exact_match, lm=self.lm)

    def test_candidate(self) -> None:
        with pytest.raises(CandidateError, match="other"):
            candidate = lt.Candidate({"other": lt.Prompt("x")})
            lt.evaluate(program, DATA, lt.exact_match, lm=self.lm, candidate=candidate)

    def test_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ConfigError, match="repeats=0"):
            lt.evaluate(program, DATA, lt.exact_match, lm=self.lm, repeats=0)
        with pytest.raises(ConfigError, match="concurrency=0"):
            lt.evaluate(program, DATA, lt.exact_match, lm=self.lm, concurrency=0)
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
            lt.evaluate(program, DATA, lt.exact_match, lm=lt.LM("openai/gpt-4.1-mini"))
        nowhere = lt.LM("x/unknown-model", base_url="https://lm.invalid/v1", api_key="k")
        with pytest.raises(ConfigError, match="needs a price"):
            lt.evaluate(program, DATA, lt.exact_match, lm=nowhere, budget=lt.Budget(usd=1))
        with pytest.raises(ConfigError, match="needs a price"):
            lt.evaluate(program, DATA, lt.exact_match, lm=self.lm, budget=lt.Budget(usd=1))
        for lm, budget, told in ((lt.LM("openai/m"), None, "OPENAI_API_KEY"), (nowhere, lt.Budget(usd=1), "a price")):
            priced = lt.LM(RefusingLM(), price=lt.Price(0, 0))
            with pytest.raises(ConfigError, match=told):
                lt.evaluate(program, DATA, lt.judge("Is it?", lm=lm), lm=priced, budget=budget)

    def test_the_async_twin_finds_them_too(self) -> None:
        with pytest.raises(DataError):
            asyncio.run(lt.aevaluate(program, [], lt.exact_match, lm=self.lm))


def test_a_server_that_was_never_there_is_told_soon() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lm = lt.LM("x/model", base_url=f"http://127.0.0.1:{port}/v1", api_key="k")
    started = time.monotonic()
    with pytest.raises(ConfigError, match="cannot be reached"):
        lt.evaluate(program, DATA, lt.exact_match, lm=lm)
    assert time.monotonic() - started < 4


def test_errors_of_user_code_come_out_of_the_sync_twin() -> None:
    def metric(example: Any, prediction: str) -> bool:
        raise KeyError("colour")

    with pytest.raises(ProgramFailed, match="colour"):
        lt.evaluate(program, DATA, metric, lm=lt.LM(ScriptedLM(even)))


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_an_evaluation_and_keeps_what_was_answered(tmp_path: Path) -> None:
    main = threading.main_thread().ident
    assert main is not None
    asked: list[Request] = []

    async def slow(request: Request) -> str:
        asked.append(request)
        if len(asked) == 4:
            signal.pthread_kill(main, signal.SIGINT)
        await asyncio.sleep(0.3)
        return "even"

    path, lm = tmp_path / "store.sqlite", lt.LM(slow)
    with pytest.raises(KeyboardInterrupt):
        lt.evaluate(program, DATA, lt.exact_match, lm=lm, concurrency=4, store=path)
    assert len(asked) == 4
    assert lt.evaluate(program, DATA, lt.exact_match, lm=lm, store=path).n == 12
    assert len(asked) == 12


def test_an_evaluation_shows_itself_in_a_line() -> None:
    evaluation = lt.evaluate(program, DATA, lt.exact_match, lm=lt.LM(even))
    assert repr(evaluation) == "Evaluation(mean=0.5, stderr=0.1508, n=12, unscored=0)"
