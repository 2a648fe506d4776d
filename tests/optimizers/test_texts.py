"""Components that are text only: found, met, proposed, guarded, searched, saved, loaded, and reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import luthier as lt
from luthier.errors import CandidateError, ConfigError, DiscoveryError
from luthier.lm.doubles import ScriptedLM
from luthier.program.candidate import Candidate, Kind, Prompt
from luthier.program.program import discover
from luthier.program.text import Guard, Text
from luthier.propose.guards import Fault
from tests.optimizers.studies import event, tune
from tests.studies import world

MANNER = Text("judge.manner", Kind.REGION, "Judge the number.", facts="opens a prompt that goes on with the number.")
SEARCH = lt.MIPRO(candidates=4, demo_sizes=(0, 3, 6), instructions=8, trials=16, minibatch=9, closing=2)


class Holder:
    """What a template is to the walk."""

    def __init__(self, *texts: Text) -> None:
        self.luthier_texts = texts


HELD = Holder(MANNER)


def own_call(number: str) -> str:
    """Ask a client of one's own, which luthier cannot see."""
    return world.judged(
        "parity", lt.Request(messages=(lt.Message("system", MANNER.current()), lt.Message("user", number)))
    )


def texts_only(number: str) -> str:
    """Describe a number with no predictor at all."""
    return f"{own_call(number)} {world.truth('size', int(number))}"


def mixed(number: str) -> str:
    """Describe a number with a text and a predictor."""
    return f"{own_call(number)} {world.size(number=number)}"


def held(number: str) -> str:
    """Read the text through what holds it."""
    return f"{HELD.luthier_texts[0].current()} {number}"


def met_late(number: str) -> str:
    """Read a text that is made while running."""
    text = Text(f"{'made'}.late", Kind.REGION, "Judge it.")
    return f"{world.parity(number=number)} {world.size(number=number)}{text.current()[:0]}"


def test_a_text_is_found_by_the_walk_itself_or_through_what_holds_it() -> None:
    assert discover(texts_only).texts == (MANNER,)
    assert discover(held).texts == (MANNER,)
    assert [component.name for component in discover(mixed).components] == ["judge.manner", "size"]
    assert discover(world.describe, [HELD]).components == (MANNER,)
    with pytest.raises(DiscoveryError, match=r"two components are called 'judge\.manner'"):
        discover(texts_only).with_components([Text("judge.manner", Kind.REGION, "Another.")])


def test_a_program_without_any_predictor_is_tuned_and_the_best_text_is_found(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(request: lt.Request) -> str:
        asked.append(request.messages[0].text)
        return world.answer(request)

    # Of seed 1 a proposal asks for care.
    result = tune(tmp_path / "s", SEARCH, program=texts_only, lm=lt.LM(ScriptedLM(answer)), seed=1)
    best = result.best.prompts["judge.manner"]
    assert world.CAREFUL in best.instruction and best.kind is Kind.REGION and best.demos == ()
    space = event(tmp_path / "s", "space")
    assert [variable["name"] for variable in space["variables"]] == ["judge.manner.instruction"]
    assert event(tmp_path / "s", "manifest")["predictors"][0]["kind"] == "region"
    assert event(tmp_path / "s", "choice")["candidate"]["prompts"]["judge.manner"]["kind"] == "region"
    assert any("judge.manner: opens a prompt that goes on with the number." in text for text in asked)
    assert "region of a template" in (tmp_path / "s" / "report.html").read_text(encoding="utf-8")


def test_a_text_is_searched_and_swapped_back_beside_predictors(tmp_path: Path) -> None:
    tune(tmp_path / "s", SEARCH, program=mixed)
    names = {variable["name"] for variable in event(tmp_path / "s", "space")["variables"]}
    assert names == {"judge.manner.instruction", "size.instruction", "size.demos"}
    choice, insight = event(tmp_path / "s", "choice"), event(tmp_path / "s", "insight")
    changed = {
        name
        for name, prompt in choice["candidate"]["prompts"].items()
        if prompt["demos"] or "Look at" in prompt["instruction"]
    }
    assert changed == set(insight["predictors"]) and "judge.manner" in changed
    scored = len(event(tmp_path / "s", "split")["val"])
    assert insight["rollouts"] == scored * len(changed) and insight["usage"]["lm_calls"] >= insight["rollouts"]


def test_a_text_met_only_at_run_time_is_tuned_too(tmp_path: Path) -> None:
    tune(tmp_path / "s", SEARCH, program=met_late)
    assert "made.late" in event(tmp_path / "s", "baseline")["predictors"]["met"]
    assert "made.late.instruction" in {v["name"] for v in event(tmp_path / "s", "space")["variables"]}
    assert tune(tmp_path / "s", SEARCH, program=met_late).candidate.prompts["made.late"].kind is Kind.REGION


def test_a_text_never_read_is_left_out_with_a_warning(tmp_path: Path) -> None:
    def never(number: str) -> str:
        return texts_only(number) if number == "x" else world.describe(number)

    tune(tmp_path / "s", SEARCH, program=never)
    baseline = event(tmp_path / "s", "baseline")
    assert "judge.manner" in baseline["predictors"]["never_called"]
    assert any("text 'judge.manner' was never read on 35 examples" in warning for warning in baseline["warnings"])


def test_a_proposal_that_breaks_a_guard_is_counted_by_reason_and_asked_for_again(tmp_path: Path) -> None:
    guard = Guard(max_tokens=14, must_contain=("{number}",), forbid=("QUICKLY",))
    guarded = Text("judge.guarded", Kind.REGION, "Judge {number}.", guard=guard)
    answers = iter(
        ["Look at the number carefully.", "Look at {number} quickly.", f"Look at {{number}} and {'on ' * 30}."]
    )

    def propose(request: lt.Request) -> str:
        text = "\n".join(message.text for message in request.messages)
        if "proposed instruction" not in text:
            return "Numbers."
        assert "letter for letter: {number}" in text and "not contain: QUICKLY" in text and "at most 14 tokens" in text
        return next(answers, f"Look at {{number}} carefully {request.sample}.")

    settings = lt.MIPRO(candidates=2, instructions=2, trials=4, minibatch=9, closing=1)
    result = tune(
        tmp_path / "s",
        settings,
        program=lambda number: f"{guarded.current()} {world.both(int(number))}".split(".")[-1].strip(),
        lm=lt.LM(ScriptedLM(propose)),
        anyway=True,  # the program is right whatever the text says
    )
    assert event(tmp_path / "s", "proposals")["rejected"] == {
        Fault.LACKS.value: 1,
        Fault.FORBIDDEN.value: 1,
        Fault.OVER_LIMIT.value: 1,
    }
    assert set(result.best.prompts) == {"judge.guarded"}


def test_saved_and_loaded_a_text_keeps_its_kind_and_old_files_are_prompts(tmp_path: Path) -> None:
    candidate = Candidate(
        {"judge.manner": Prompt("Take\n\nyour time.", kind=Kind.REGION), "size": Prompt("Say it.")},
        {"judge.manner": MANNER.fingerprint},
    )
    candidate.save(tmp_path)
    assert (tmp_path / "judge.manner.md").read_text(
        encoding="utf-8"
    ) == '---\nregion: "judge.manner"\n---\nTake\n\nyour time.\n'
    index = json.loads((tmp_path / "candidate.json").read_text(encoding="utf-8"))
    assert index["predictors"]["judge.manner"]["kind"] == "region" and "kind" not in index["predictors"]["size"]
    assert Candidate.load(tmp_path) == candidate
    assert Candidate.from_json(candidate.to_json()) == candidate
    del index["predictors"]["judge.manner"]["kind"]
    (tmp_path / "candidate.json").write_text(json.dumps(index), encoding="utf-8")
    assert Candidate.load(tmp_path).prompts["judge.manner"].kind is Kind.PROMPT
    index["predictors"]["size"]["kind"] = "statue"
    (tmp_path / "candidate.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(CandidateError, match="'size' is of a kind that is not known"):
        Candidate.load(tmp_path)


def test_a_candidate_made_for_other_placeholders_is_refused_by_name() -> None:
    made = Text("judge.manner", Kind.REGION, "Judge {number}.", takes=("{number}",))
    drifted = Candidate({"judge.manner": made.original}, {"judge.manner": made.fingerprint})
    with pytest.raises(CandidateError, match=r"'judge\.manner' was made for `region with \{number\}`.* has `region`"):
        discover(texts_only).check(drifted)
    with lt.use(lt.LM(lambda request: ""), drifted), pytest.raises(CandidateError, match=r"judge\.manner"):
        MANNER.current()


def test_outside_any_run_a_text_is_the_original_and_inside_it_is_the_candidates() -> None:
    assert MANNER.current() == "Judge the number."
    with lt.use(lt.LM(lambda request: ""), Candidate({"judge.manner": Prompt("Weigh it.", kind=Kind.REGION)})):
        assert MANNER.current() == "Weigh it."


def test_an_optimizer_of_demos_alone_says_that_texts_take_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing to search over: of judge\.manner, .* no demos"):
        tune(tmp_path / "s", lt.BootstrapRandomSearch(candidates=3), program=texts_only)
