"""The main job, end to end, on an LM whose best candidate is known."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.canonical import uniform_order
from luthier.lm.doubles import ScriptedLM
from tests.studies import world


def tune(directory: Path, *, lm: lt.LM | None = None, **settings: Any) -> lt.Result[Any]:
    settings = {"optimizer": "mipro", "seed": 0, **settings}
    used = lm if lm is not None else lt.LM(ScriptedLM(world.answer))
    return lt.optimize(
        world.describe, world.rows(300), lt.exact_match("answer"), lm=used, study_dir=directory, **settings
    )


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> tuple[lt.Result[Any], Path]:
    """A finished light study, and its directory."""
    directory = tmp_path_factory.mktemp("light") / "study"
    return tune(directory, auto="light"), directory


@pytest.mark.parametrize("optimizer", ["bayesian-bootstrap", "bootstrap-random-search", "mipro0"])
def test_every_optimizer_finds_better_prompts_and_proves_it_on_held_out_examples(
    tmp_path: Path, optimizer: str
) -> None:
    result = tune(tmp_path / "study", optimizer=optimizer, auto="medium")
    assert result.decision == "adopt", result.verdict.sentence
    assert result.verdict.low > 0
    assert result.verdict.n == 120
    assert result.report.exists()


def test_mipro_finds_demos_and_care_for_both_predictors(tmp_path: Path) -> None:
    result = tune(tmp_path / "study", auto="medium")
    assert (result.decision, result.verdict.n) == ("adopt", 120)
    for prompt in result.candidate.prompts.values():
        assert len(prompt.demos) >= 6
    assert any(world.CAREFUL in prompt.instruction for prompt in result.candidate.prompts.values())
    assert result.verdict.after > 0.75


def test_a_finished_study_is_returned_without_a_call(light: tuple[lt.Result[Any], Path]) -> None:
    first, directory = light
    refusing = ScriptedLM(world.answer)
    again = tune(directory, lm=lt.LM(refusing), auto="light")
    assert again.decision == first.decision
    assert again.candidate == first.candidate
    assert refusing.calls == 0


def test_equal_programs_are_kept_not_adopted(tmp_path: Path) -> None:
    def unmoved(request: lt.Request) -> str:
        asked = world.asked_for(request)
        return world.answer(request) if asked is None else {"parity": "odd", "size": "small"}[asked]

    def metric(example: Mapping[str, Any], prediction: str) -> bool:
        return uniform_order("coin", example["number"]) % 2 == 0

    lm = lt.LM(ScriptedLM(unmoved))
    result = lt.optimize(world.describe, world.rows(200), metric, lm=lm, study_dir=tmp_path / "s", auto="light")
    assert result.decision == "keep"
    assert result.candidate.prompts["parity"].demos == ()


def test_the_async_twin_comes_to_the_same(light: tuple[lt.Result[Any], Path], tmp_path: Path) -> None:
    lm = lt.LM(ScriptedLM(world.answer))
    awaited = asyncio.run(
        lt.aoptimize(
            world.describe,
            world.rows(300),
            lt.exact_match("answer"),
            lm=lm,
            auto="light",
            study_dir=tmp_path / "a",
        )
    )
    assert awaited.candidate == light[0].candidate


def test_the_tuned_program_saves_loads_and_deploys(light: tuple[lt.Result[Any], Path], tmp_path: Path) -> None:
    result, _ = light
    result.candidate.save(tmp_path / "prompts")
    loaded = lt.Candidate.load(tmp_path / "prompts")
    assert loaded.key == result.candidate.key
    deployed = lt.bind(world.describe, lm=lt.LM(ScriptedLM(world.answer)), candidate=loaded)
    assert deployed("12") == result.program("12")


def test_a_budget_that_cannot_pay_for_a_verdict_is_refused_before_any_call(tmp_path: Path) -> None:
    lm = ScriptedLM(world.answer)
    with pytest.raises(lt.LuthierError, match="cannot pay"):
        tune(tmp_path / "study", lm=lt.LM(lm), budget=lt.Budget(lm_calls=100))
    assert lm.calls == 0
