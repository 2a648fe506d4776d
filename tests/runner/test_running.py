"""Where studies run: inside a running loop, in a thread, on the caller's loop; and who listens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import StudyPaused
from luthier.lm.doubles import ScriptedLM
from luthier.study.journal import read_journal
from tests.optimizers.studies import Interrupted, journal, tune
from tests.studies import world

QUICK = "labeled-few-shot"


@lt.predictor(name="parity", stop=["#parity"])
async def parity(number: str) -> str:
    """Say whether the number is even."""
    return lt.predict()


LOOPS: set[int] = set()


async def awaited(number: str) -> str:
    """Describe a number, on some loop."""
    LOOPS.add(id(asyncio.get_running_loop()))
    return await parity(number=number)


def test_optimize_works_inside_a_running_loop(tmp_path: Path) -> None:
    async def notebook() -> Any:
        return tune(tmp_path / "s", QUICK)

    assert asyncio.run(notebook()).verdict.n == 40


def test_optimize_works_in_a_thread(tmp_path: Path) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(tune(tmp_path / "s", QUICK)))
    thread.start()
    thread.join(60)
    assert found[0].verdict.n == 40


def test_an_async_program_runs_on_the_callers_loop_and_is_awaited_when_deployed(tmp_path: Path) -> None:
    LOOPS.clear()

    async def study() -> None:
        result = await lt.aoptimize(
            awaited,
            world.rows(100),
            lt.exact_match("parity"),
            lm=lt.LM(ScriptedLM(world.answer)),
            optimizer=QUICK,
            study_dir=tmp_path / "s",
        )
        assert {id(asyncio.get_running_loop())} == LOOPS
        assert await result.program("12") in ("even", "odd")

    asyncio.run(study())


def test_an_async_program_can_be_tuned_without_a_loop(tmp_path: Path) -> None:
    result = tune(tmp_path / "s", QUICK, program=awaited, metric=lt.exact_match("parity"))
    assert result.verdict.n == 40


def test_the_listener_gets_every_event_of_the_journal_and_transient_ones(tmp_path: Path) -> None:
    heard: list[Mapping[str, Any]] = []
    result = tune(tmp_path / "s", QUICK, on_event=heard.append)
    kept = [found for found in heard if not found.get("transient")]
    assert kept == read_journal(tmp_path / "s" / "journal.jsonl") == list(result.events)
    assert {found["event"] for found in heard if found.get("transient")} == {"rollout"}


@pytest.mark.parametrize("transient", [True, False])
def test_an_error_of_the_listener_stops_the_study_and_it_can_be_resumed(tmp_path: Path, transient: bool) -> None:
    def listen(found: Mapping[str, Any]) -> None:
        if bool(found.get("transient")) is transient and found["event"] in ("rollout", "bootstrap"):
            raise Interrupted

    with pytest.raises(Interrupted):
        tune(tmp_path / "s", QUICK, on_event=listen)
    tune(tmp_path / "s", QUICK)
    tune(tmp_path / "whole", QUICK)
    assert journal(tmp_path / "s") == journal(tmp_path / "whole")


def test_an_outage_pauses_the_study_and_nothing_is_scored_for_it(tmp_path: Path) -> None:
    away = [False]

    def metric(example: Mapping[str, Any], prediction: str) -> bool:
        if away[0]:
            raise ConnectionError("the judge is away")
        return bool(prediction == example["answer"])

    def listen(found: Mapping[str, Any]) -> None:
        away[0] = found["event"] == "ask" or away[0]

    with pytest.raises(StudyPaused, match="got no answer"):
        tune(tmp_path / "s", QUICK, lm=lt.LM(ScriptedLM(world.answer)), metric=metric, on_event=listen)
    assert "tell" not in [found["event"] for found in journal(tmp_path / "s")]
    away[0] = False
    assert tune(tmp_path / "s", QUICK, lm=lt.LM(ScriptedLM(world.answer)), metric=metric).verdict.n == 40
