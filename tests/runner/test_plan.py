"""What is said before money is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.api import plan
from luthier.errors import ConfigError, UserError
from luthier.lm.doubles import ScriptedLM
from luthier.runner.plan import RolloutCost
from luthier.runner.sizes import closing_evaluations, demo_sizes, evaluations_in
from tests.optimizers.studies import event, journal, told, tune
from tests.studies import world


def planned(lm: lt.LM | None = None, *, data: Any = None, **given: Any) -> dict[str, Any]:
    used = lm if lm is not None else lt.LM(ScriptedLM(world.answer))
    rows = world.rows(100) if data is None else data
    return plan(world.describe, rows, lt.exact_match("answer"), lm=used, **given)


def remote(base_url: str, name: str = "openai/m") -> lt.LM:
    return lt.LM(name, base_url=base_url, api_key="k")


def test_the_plan_names_columns_splits_and_the_smallest_gain_that_can_be_shown() -> None:
    found = planned()
    assert (found["inputs"], found["labels"]) == (["number"], ["answer", "parity", "size"])
    assert found["splits"] == {"train": 25, "val": 35, "test": 40}
    assert 0.15 < found["smallest_detectable"] < 0.25
    assert (found["look"], found["level"]) == (1, 0.95)
    assert any("40 held-out examples" in note and "19 points" in note for note in found["notes"])
    assert found["trials"] > found["surrogate_trials"] > 0
    assert found["total"]["rollouts"] == sum(phase["rollouts"] for phase in found["phases"])


@pytest.mark.parametrize("n", [60, 75, 90])
def test_test_examples_that_can_detect_no_gain_are_said_before_money_is_spent(n: int) -> None:
    found = planned(data=world.rows(n))
    assert found["splits"]["test"] == round(0.4 * n) and found["smallest_detectable"] is None
    assert any("too few to detect" in note and "37" in note for note in found["notes"])


def test_the_plan_says_which_look_it_will_be_and_what_that_costs(tmp_path: Path) -> None:
    tune(tmp_path / "a", "labeled-few-shot")
    for name in "bc":
        tune(tmp_path / name, "labeled-few-shot", seed=ord(name))
    found = planned(seed=7)
    assert (found["look"], found["level"]) == (4, pytest.approx(1 - 0.1 / 20))
    assert found["smallest_detectable"] is None, "what detects 19 points at first detects nothing any more"
    assert any("3 earlier studies" in note and "99.5 %" in note for note in found["notes"])
    assert planned(data=world.rows(200)[100:])["look"] == 1


class TestWithoutAVerdict:
    @pytest.mark.parametrize("n", [20, 40, 59])
    def test_the_default_search_is_smaller_and_the_plan_says_why(self, n: int) -> None:
        few, many = planned(data=world.rows(n)), planned(data=world.rows(60))
        assert few["paper_unit"]["program_runs"] <= 100 < many["paper_unit"]["program_runs"]
        (note,) = [note for note in few["notes"] if "no verdict" in note]
        assert "60" in note and "100 program runs" in note and "300" in note

    def test_so_it_is_with_parts_of_your_own_and_none_for_test(self) -> None:
        rows = world.rows(100)
        found = planned(data=lt.Splits(rows[:60], rows[60:]))
        assert found["paper_unit"]["program_runs"] <= 100
        assert any("no verdict" in note for note in found["notes"])

    def test_a_large_budget_does_not_fill_it_up(self) -> None:
        found = planned(data=world.rows(50), budget=lt.Budget(lm_calls=100_000))
        assert found["paper_unit"]["program_runs"] <= 100

    def test_whoever_asks_for_more_gets_it(self) -> None:
        found = planned(data=world.rows(50), auto="light")
        assert found["paper_unit"]["program_runs"] > 200
        (note,) = [note for note in found["notes"] if "no verdict" in note]
        assert "program runs" not in note


def test_the_plan_names_every_host_that_data_go_to_and_no_loopback() -> None:
    away = remote("https://llm.example.com/v1")
    assert planned(away)["leaves_machine"] == ["llm.example.com"]
    assert planned(remote("http://127.0.0.1:8080/v1"))["leaves_machine"] == []
    assert planned(remote("http://localhost:8080/v1"), proposer_lm=away)["leaves_machine"] == ["llm.example.com"]
    both = planned(away, teacher_lm=remote("https://teacher.example.org/v1"))
    assert both["leaves_machine"] == ["llm.example.com", "teacher.example.org"]


def test_a_plan_that_is_declined_costs_nothing_and_may_be_agreed_to_later(tmp_path: Path) -> None:
    lm, shown = ScriptedLM(world.answer), []

    def decline(found: Any) -> bool:
        shown.append(found)
        return False

    with pytest.raises(UserError, match="nothing was spent"):
        tune(tmp_path / "s", lm=lt.LM(lm), confirm=decline)
    assert lm.calls == 0
    assert [found["event"] for found in journal(tmp_path / "s")] == ["manifest", "split"]
    tune(tmp_path / "s", lm=lt.LM(lm), confirm=lambda found: True)
    assert shown[0] == {k: v for k, v in event(tmp_path / "s", "plan").items() if k in shown[0]}


def test_the_plan_counts_the_demos_that_candidates_may_have() -> None:
    price = lt.Price(input=1.0, output=1.0)
    lm = lt.LM(ScriptedLM(world.answer), price=price)
    phases = {phase["name"]: phase for phase in planned(lm)["phases"]}
    bare, tuned = phases["baseline"], phases["full evaluations"]
    assert tuned["tokens"] / tuned["rollouts"] > 3 * bare["tokens"] / bare["rollouts"]
    few = {phase["name"]: phase for phase in planned(lm, optimizer="mipro0")["phases"]}["full evaluations"]
    assert few["tokens"] / few["rollouts"] == pytest.approx(bare["tokens"] / bare["rollouts"], rel=0.01)
    assert tuned["usd"] == pytest.approx(tuned["tokens"] / 1e6, abs=1e-4)


@pytest.mark.parametrize(
    ("budget", "room"),
    [
        (None, float("inf")),
        (lt.Budget(usd=1.0), float("inf")),  # no price, no telling
        (lt.Budget(lm_calls=150), (150 - 10 - 10 * 2) / 2),
        (lt.Budget(lm_calls=150, seconds=12.0), (12 - 10 * 0.5) / 0.5),
        (lt.Budget(tokens=20_000), (20_000 - 10 * 1050 - 10 * 100) / (100 + 9 * 10)),
    ],
)
def test_the_tightest_limit_decides_how_much_is_searched(budget: lt.Budget | None, room: float) -> None:
    cost = RolloutCost(calls=2, prompt_tokens=90, completion_tokens=10, seconds=0.5, demo_tokens=10)
    assert evaluations_in(budget, cost, None, fixed_rollouts=10, proposer_calls=10) == pytest.approx(room)


def test_demo_sizes_grow_to_the_largest() -> None:
    assert demo_sizes(6, 18) == (0, 6, 12, 12, 18, 18)
    assert demo_sizes(1, 18) == (0,)
    assert demo_sizes(0, 18) == ()
    assert max(demo_sizes(12, 5)) == 5


@pytest.mark.parametrize(("evaluations", "closing"), [(70, 1), (140, 2), (210, 3), (2000, 3)])
def test_full_evaluations_take_at_most_half_of_the_search(evaluations: int, closing: int) -> None:
    from luthier.runner.facts import Facts

    facts = Facts(n_train=25, n_val=35, n_test=40, n_predictors=2, auto="light", evaluations=evaluations)
    assert closing_evaluations(facts) == closing


def test_a_number_for_auto_is_the_searchs_program_runs_and_the_plan_tells_it_in_the_papers_unit(tmp_path: Path) -> None:
    tune(tmp_path / "study", auto=200)
    made = sum(len(tell["outcomes"]) for _, tell in told(tmp_path / "study"))
    unit = event(tmp_path / "study", "plan_measured")["paper_unit"]
    assert made <= unit["program_runs"] <= 200
    assert unit["examples"] == 35 and unit["full_evaluations"] == round(unit["program_runs"] / 35, 2)
    assert unit["minibatch_trials"] == unit["program_runs"] * 10 // (25 * 10 + 35)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"closing": 0}, "closing=0: must be a whole number from 1 on"),
        ({"minibatch": 2.5}, "minibatch=2.5"),
        ({"trials": "5"}, "trials='5'"),
        ({"frozen": "parity.demos"}, r"frozen='parity.demos': must be a tuple of names, \('parity.demos',\)"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        lt.MIPRO(**wrong)


def test_what_is_frozen_must_be_there_before_anything_is_spent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no variable 'parity.demo'; there are parity.instruction, parity.demos, si"):
        tune(tmp_path / "study", lt.MIPRO(frozen=("parity.demo",)))
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("auto", [True, 1.5, "huge", 69])
def test_a_size_of_the_search_that_makes_no_sense_is_refused_before_anything_is_spent(
    auto: object, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="auto="):
        tune(tmp_path / "study", auto=auto)
    assert not (tmp_path / "study").exists()
