"""What settings do that people give: none pays for a search that cannot choose, and each is told as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.canonical import uniform_order
from luthier.errors import ConfigError
from luthier.lm.doubles import ScriptedLM
from luthier.lm.request import Request
from luthier.optimizers.bootstrap_random_search import BootstrapRandomSearch
from luthier.optimizers.coordinate_ascent_opro import CoordinateAscentOPRO
from luthier.optimizers.labeled_few_shot import LabeledFewShot
from luthier.optimizers.random_search_then_opro import RandomSearchThenOPRO
from luthier.optimizers.registry import OPTIMIZERS
from luthier.program.candidate import Candidate, Prompt
from luthier.propose.programs import read_program
from tests.lengths import in_rings, times
from tests.optimizers.studies import event, journal, told, tune
from tests.optimizers.test_texts import texts_only
from tests.studies import world


def purposes(directory: Path) -> list[str]:
    return [ask["purpose"] for ask, _ in told(directory)]


@pytest.mark.parametrize("auto", ["light", 800])
@pytest.mark.parametrize("given", [{}, {"closing": 2}, {"trials": 9}])
def test_full_evaluations_on_the_way_leave_one_for_the_end_and_the_plan_counts_them(
    given: dict[str, Any], auto: Any, tmp_path: Path
) -> None:
    tune(tmp_path / "s", lt.MIPRO(candidates=4, minibatch=25, full_every=10, **given), auto=auto)
    made, plan = purposes(tmp_path / "s"), event(tmp_path / "s", "plan_measured")
    assert made[-1] == "full"
    planned = next(phase for phase in plan["phases"] if phase["name"] == "full evaluations")
    assert made.count("full") * 35 == planned["rollouts"]
    assert len(made) == plan["trials"]
    if not given:
        assert sum(len(tell["outcomes"]) for _, tell in told(tmp_path / "s")) <= (300 if auto == "light" else auto)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_program_without_demos_is_tuned_or_refused_before_anything_is_asked(name: str, tmp_path: Path) -> None:
    lm = ScriptedLM(lambda request: "Judge it very carefully." if world.asked_for(request) is None else "x")
    try:
        result = tune(tmp_path / "s", name, program=texts_only, lm=lt.LM(lm), anyway=True)
    except ConfigError as error:
        assert "nothing to search over" in str(error) and lm.calls == 0
    else:
        assert result.verdict.n == 40


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (
            lt.MIPRO(frozen=("parity.demos", "parity.instruction", "size.demos", "size.instruction")),
            "mipro has nothing to search over: of parity, size, it tunes .*, which is frozen",
        ),
        (lt.BayesianBootstrap(frozen=("parity.demos", "size.demos")), "parity.demos and size.demos, which is frozen"),
    ],
)
def test_where_all_is_frozen_nothing_is_spent(optimizer: Any, said: str, tmp_path: Path) -> None:
    lm = ScriptedLM(world.answer)
    with pytest.raises(ConfigError, match=said):
        tune(tmp_path / "s", optimizer, lm=lt.LM(lm))
    assert lm.calls == 0


@pytest.mark.parametrize("frozen", [("parity",), ("parity", "size")])
def test_no_instruction_is_proposed_for_what_is_frozen(frozen: tuple[str, ...], tmp_path: Path) -> None:
    tune(tmp_path / "s", lt.MIPRO(frozen=tuple(f"{name}.instruction" for name in frozen)))
    proposed = [e["predictors"] for e in journal(tmp_path / "s") if e["event"] == "proposals"]
    if len(frozen) == 2:
        assert not proposed and not any(e["event"] == "grounding" for e in journal(tmp_path / "s"))
    else:
        assert len(proposed[0].get("parity", ())) <= 1 < len(proposed[0]["size"])


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (lt.MIPRO, {"instructions": 0}),
        (lt.MIPRO, {"instructions": 2.5}),
        (BootstrapRandomSearch, {"candidates": 2.5}),
        (BootstrapRandomSearch, {"preset": "papr"}),
        (LabeledFewShot, {"demos": 2.5}),
    ],
)
def test_numbers_and_presets_that_make_no_sense_are_refused(kind: Any, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))):
        kind(**given)


EIGHT = [lt.predictor(name=f"p{i}", stop=["#parity"])(world.parity.function) for i in range(8)]


def eight(number: str) -> str:
    """Ask eight predictors."""
    said = [predictor(number=number) for predictor in EIGHT]
    return f"{said[0]} {world.truth('size', int(number))}"


def test_coordinate_ascent_keeps_to_a_budget_of_fewer_evaluations_than_predictors(tmp_path: Path) -> None:
    tune(tmp_path / "s", "ca-opro", program=eight, auto=140)
    assert sum(len(tell["outcomes"]) for _, tell in told(tmp_path / "s")) <= 140
    notes = event(tmp_path / "s", "plan_measured")["notes"]
    assert "the budget has 4 of 8 predictors' turns: the others stay as they are" in notes


@pytest.mark.parametrize(
    ("optimizer", "first"), [(CoordinateAscentOPRO(breadth=3, depth=2), 3), ("random-search-opro", 5)]
)
def test_a_turn_is_scored_whole_before_the_next_begins_whatever_was_tried_first(
    optimizer: Any, first: int, tmp_path: Path
) -> None:
    starts = [Candidate({"parity": Prompt(f"Say {word}.")}) for word in ("it", "so", "which")]
    tune(tmp_path / "s", optimizer, start=starts)
    waiting = scored = 0
    for found in journal(tmp_path / "s"):
        if found["event"] == "arrival":
            assert scored == waiting, "all that arrived before"
            waiting += len(found["points"])
        scored += found["event"] == "tell"
    assert waiting > first


def test_evaluations_that_equal_demo_sets_leave_go_to_the_rounds(tmp_path: Path) -> None:
    tune(tmp_path / "s", RandomSearchThenOPRO(rounds=10))
    assert len(told(tmp_path / "s")) == 10


def test_a_proposer_that_brings_nothing_is_not_asked_for_long(tmp_path: Path) -> None:
    def refuse(request: Request) -> str:
        return world.answer(request) if world.asked_for(request) else "I cannot help with that."

    lm = ScriptedLM(refuse)
    tune(tmp_path / "s", "mipro0++", lm=lt.LM(lm))
    assert sum(world.asked_for(request) is None for request in lm.requests) < 80


@pytest.mark.parametrize(("name", "trials"), [("joint-random-search", "light"), ("mipro/paper", 240)])
def test_the_plan_claims_no_guidance_where_chance_decides(name: str, trials: Any, tmp_path: Path) -> None:
    tune(tmp_path / "s", name, auto=trials)
    assert event(tmp_path / "s", "plan_measured")["surrogate_trials"] == 0


@pytest.mark.parametrize("optimizer", in_rings(["bootstrap-random-search", "opro"], ["opro"]))
def test_what_each_change_brings_is_no_winners_luck(optimizer: str, tmp_path: Path) -> None:
    def lucky(request: Request) -> str:
        """Be right on three of four numbers, which ones every prompt decides anew."""
        name = world.asked_for(request)
        if name is None:
            return world.answer(request)
        right = world.truth(name, int(re.findall(r"\d+", request.messages[-1].text)[-1]))
        return right if uniform_order("right", request.key("any")) / 2**64 < 0.75 else world.OTHER[right]

    brought = []
    for seed in range(times(3, 6)):
        tune(tmp_path / str(seed), optimizer, lm=lt.LM(ScriptedLM(lucky)), seed=seed, split_seed=seed)
        insight = event(tmp_path / str(seed), "insight")
        assert insight["predictors"] == {} or insight["on"] == "test"
        brought += [one["difference"] for one in insight["predictors"].values()]
    assert len(brought) >= times(4, 8) and abs(sum(brought) / len(brought)) < 0.04


@pytest.mark.parametrize(
    "reply",
    [
        '{"parity": "Do this now.", "size": "Do that \\"now\\".",}',
        "{'parity': 'Do this now.', 'size': 'Do that \"now\".'}",
        'Here:\n```json\n{"parity": "Do this now.",\n "size": "Do that \\"now\\"."}\n```',
    ],
)
def test_a_whole_programs_instructions_are_read_as_they_are_meant(reply: str) -> None:
    assert read_program(reply, ["parity", "size"]) == {"parity": "Do this now.", "size": 'Do that "now".'}


def test_an_object_that_cannot_be_read_is_no_instruction() -> None:
    assert read_program('{"parity": "Do this now.", "size": "Do th', ["parity", "size"]) == {}
