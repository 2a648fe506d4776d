"""Faults that can be seen beforehand are reported before any LM call: what is wrong, where, and what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import (
    ConfigError,
    DataError,
    DiscoveryError,
    LuthierError,
    MetricError,
    ProgramFailed,
    SignatureError,
    StudyMismatch,
)
from luthier.lm.doubles import ScriptedLM
from tests.studies import world


@pytest.fixture
def lm() -> ScriptedLM:
    return ScriptedLM(world.answer)


def tune(directory: Path, scripted: ScriptedLM, program: Callable[..., Any] = world.describe, **given: Any) -> Any:
    given = {"data": world.rows(100), "metric": lt.exact_match("answer"), "lm": lt.LM(scripted), **given}
    return lt.optimize(program, given.pop("data"), given.pop("metric"), study_dir=directory, **given)


def without_column() -> list[dict[str, Any]]:
    return [{"answer": row["answer"]} for row in world.rows(100)]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (without_column(), "number"),
        ([], "no examples|empty"),
        ("nowhere.jsonl", "nowhere.jsonl"),
    ],
)
def test_data_that_cannot_be_used(tmp_path: Path, lm: ScriptedLM, data: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        tune(tmp_path / "study", lm, data=data)
    assert lm.calls == 0
    assert not (tmp_path / "study").exists()


def test_a_program_without_predictors(tmp_path: Path, lm: ScriptedLM) -> None:
    def bare(number: str) -> str:
        return number

    with pytest.raises(DiscoveryError, match="predictor"):
        tune(tmp_path / "study", lm, program=bare)
    assert lm.calls == 0


def test_two_predictors_of_one_name(tmp_path: Path, lm: ScriptedLM) -> None:
    twin = world.size.named("parity")

    def clash(number: str) -> str:
        return f"{world.parity(number=number)} {twin(number=number)}"

    with pytest.raises(DiscoveryError, match="parity"):
        tune(tmp_path / "study", lm, program=clash)
    assert lm.calls == 0


def test_an_output_that_cannot_be_typed(tmp_path: Path, lm: ScriptedLM) -> None:
    class Odd:
        pass

    with pytest.raises(SignatureError, match="Odd"):

        @lt.predictor
        def strange(number: str) -> Odd:
            """Be strange."""
            return lt.predict()

        tune(tmp_path / "study", lm, program=lambda number: strange(number=number))
    assert lm.calls == 0


def test_no_key(tmp_path: Path, lm: ScriptedLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        tune(tmp_path / "study", lm, lm=lt.LM("openai/gpt-4.1-mini"))


def test_an_unreachable_server_is_found_by_one_probe(tmp_path: Path, lm: ScriptedLM) -> None:
    with pytest.raises(ConfigError, match="cannot be reached"):
        tune(tmp_path / "study", lm, lm=lt.LM("openai/any", base_url="http://127.0.0.1:9/v1", api_key="k", timeout=1))


def test_a_directory_that_cannot_be_written(tmp_path: Path, lm: ScriptedLM) -> None:
    if sys.platform == "win32":
        pytest.skip("modes are POSIX")
    tmp_path.chmod(0o500)
    sealed = tmp_path if os.geteuid() else Path("/sys")  # root may write anywhere but there
    with pytest.raises(ConfigError, match="study"):
        tune(sealed / "study", lm)
    assert lm.calls == 0


def test_a_study_directory_that_is_a_file(tmp_path: Path, lm: ScriptedLM) -> None:
    (tmp_path / "study").write_text("not a directory", encoding="utf-8")
    with pytest.raises(ConfigError, match="study"):
        tune(tmp_path / "study", lm)
    assert lm.calls == 0


def test_a_study_of_another_program_names_each_difference(tmp_path: Path, lm: ScriptedLM) -> None:
    tune(tmp_path / "study", lm, auto="light")
    asked = lm.calls

    def other(number: str) -> str:
        return world.parity(number=number)

    with pytest.raises(StudyMismatch, match="program"):
        tune(tmp_path / "study", lm, program=other, metric=lt.exact_match("parity"), auto="light")
    assert lm.calls == asked


def test_a_mistake_that_the_first_call_shows_does_not_block_the_directory(tmp_path: Path, lm: ScriptedLM) -> None:
    with pytest.raises(ConfigError, match="cannot be reached"):
        tune(tmp_path / "study", lm, lm=lt.LM("openai/any", base_url="http://127.0.0.1:9/v1", api_key="k", timeout=1))
    assert tune(tmp_path / "study", lm, auto="light").decision in ("adopt", "keep", "undecided")


def test_a_metric_that_raises_stops_after_one_rollout(tmp_path: Path, lm: ScriptedLM) -> None:
    def broken(example: Any, prediction: Any) -> bool:
        raise ZeroDivisionError("in the metric")

    with pytest.raises(ProgramFailed, match="in the metric"):
        tune(tmp_path / "study", lm, metric=broken, concurrency=1)
    assert lm.calls <= 2


def test_a_metric_that_returns_text_stops_after_one_rollout(tmp_path: Path, lm: ScriptedLM) -> None:
    with pytest.raises(MetricError, match="score"):
        tune(tmp_path / "study", lm, metric=lambda example, prediction: "good", concurrency=1)
    assert lm.calls <= 2


def test_a_program_that_raises_in_its_first_run_stops_with_the_example(tmp_path: Path, lm: ScriptedLM) -> None:
    def fragile(number: str) -> str:
        return world.parity(number=number) + [][0]

    with pytest.raises(ProgramFailed, match="IndexError"):
        tune(tmp_path / "study", lm, program=fragile, concurrency=1)


@pytest.mark.parametrize(
    "given",
    [
        {"optimizer": "gradient-descent"},
        {"concurrency": 0},
        {"budget": {"lm_calls": -1}},
        {"lm": None},
        {"auto": "enormous"},
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, lm: ScriptedLM, given: dict[str, Any]) -> None:
    with pytest.raises(LuthierError):
        if "budget" in given:
            given = {"budget": lt.Budget(**given["budget"])}
        tune(tmp_path / "study", lm, **given)
    assert lm.calls == 0


def test_a_dollar_budget_needs_a_price(tmp_path: Path, lm: ScriptedLM) -> None:
    unpriced = lt.LM("openai/house-model", base_url="http://llm.example/v1", api_key="k")
    for used in (unpriced, lt.LM(lm)):  # nobody knows what a callable pays
        with pytest.raises(ConfigError, match="price"):
            tune(tmp_path / "study", lm, lm=used, budget=lt.Budget(usd=1.0))
    assert lm.calls == 0
