"""The scripted LMs favour no tool: what they learn does not depend on the layout, and they know nobody's wording."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from benchmarks.worlds import forms, proposer, reading, server, task_lm
from benchmarks.worlds.proposer import evidence
from benchmarks.worlds.reading import knowledge, read
from benchmarks.worlds.server import Session
from benchmarks.worlds.world import Stage, World, other_answer, right_answer, world
from tests.benchmarks.worlds.layouts import LAYOUTS, Failure

WORLD = world("reasons", 3)
STAGE = WORLD.stages[0]
REQUESTS = 150


def failures(first: int, *, kind: str) -> list[Failure]:
    """Return five calls of the first stage: wrong ones with a reason, or the right answer; or right ones."""
    shown = []
    for number in range(first, first + 5):
        case = WORLD.row(number).cases[STAGE.name][0]
        right = right_answer(STAGE, case)
        note = case.text.partition(":")[0]
        wrong = other_answer(STAGE, case.rules[0], str(number))
        feedback = {
            "reasons": f"In {note} {case.rules[0].condition}, so the {STAGE.name} is {right}.",
            "corrections": f"The right {STAGE.name} for {note} is {right}.",
            "examples": "Good.",
        }[kind]
        shown.append(Failure(case.text, right if kind == "examples" else wrong, feedback))
    return shown


def learned(layout: str, kind: str) -> float:
    """Return how many rules an answer of the proposer states on average."""
    session = Session(WORLD, ability=1.0)
    counts = []
    for turn in range(REQUESTS):
        text = LAYOUTS[layout](STAGE.instruction, STAGE.name, failures(1 + 5 * turn, kind=kind))
        said = session.reply({"model": "proposer", "messages": [{"role": "user", "content": text}]})
        counts.append(sum(statement.right for statement in read(WORLD, said).statements))
    return fmean(counts)


@pytest.mark.parametrize("kind", ["reasons", "corrections", "examples"])
def test_the_same_facts_in_five_layouts_are_learned_equally_often(kind: str) -> None:
    rates = {layout: learned(layout, kind) for layout in LAYOUTS}
    assert min(rates.values()) > 0.15, rates
    for one, other in pairwise(sorted(rates.values())):
        assert other - one < 0.25, rates  # four standard errors of a mean of 150
    assert max(rates.values()) - min(rates.values()) < 0.3, rates


def test_reasons_teach_almost_surely_corrections_now_and_then_right_examples_seldom() -> None:
    reasons, corrections, examples = (learned("prose", kind) for kind in ("reasons", "corrections", "examples"))
    assert reasons > 2.4 > corrections > 2.5 * examples


@pytest.mark.parametrize("layout", LAYOUTS)
def test_most_rules_of_an_instruction_that_is_given_are_kept(layout: str) -> None:
    told = " ".join(f"If {rule.condition}, the {STAGE.name} is {rule.answer}." for rule in STAGE.rules)
    session = Session(WORLD, ability=1.0)
    kept = []
    for turn in range(40):
        text = LAYOUTS[layout](f"{STAGE.instruction} {told}", STAGE.name, failures(1 + 5 * turn, kind="examples"))
        said = session.reply({"model": "proposer", "messages": [{"role": "user", "content": text}]})
        kept.append(len({s.rule for s in read(WORLD, said).statements if s.right}) / len(STAGE.rules))
    assert fmean(kept) == pytest.approx(proposer.KEEPS, abs=0.06)


RULES_BELOW = "\n".join(
    f"- If {rule.condition}, the {stage.name} is {label}."
    for stage in WORLD.stages
    for rule, label in zip(stage.rules, stage.labels, strict=False)
)


@pytest.mark.parametrize("below", [STAGE.instruction, RULES_BELOW], ids=["options", "rules"])
@pytest.mark.parametrize("number", range(1, 6))
def test_what_an_instruction_below_the_examples_names_is_no_evidence(below: str, number: int) -> None:
    note = WORLD.row(number).cases[STAGE.name][0].text
    shown = f"note: {note}\nscore: 0.0\n\nImprove this instruction: {below}"
    assert not evidence(read(WORLD, shown))
    assert not knowledge(WORLD, STAGE, shown, ((f"note: {note}", "nothing"),)).shown


@pytest.mark.parametrize("written", [json.dumps, "\n".join, " ".join, str], ids=["json", "lines", "prose", "repr"])
def test_wrong_rules_stay_wrong_however_a_list_of_them_is_written(written: Callable[[list[str]], str]) -> None:
    one, other = STAGE.rules[1:3]
    stated = [
        f"If {rule.condition}, the {STAGE.name} is {answer}."
        for rule, answer in ((one, other.answer), (other, one.answer))
    ]
    assert [statement.right for statement in read(WORLD, written(stated)).statements] == [False, False]


def test_the_scripted_lms_know_no_tools_wording() -> None:
    wordings = [
        *("[[ ##", "DATASET SUMMARY", "BASIC INSTRUCTION", "PROGRAM CODE", "current_instruction", "new_instruction"),
        *("proposed_instruction", "module_advice", "Generated Outputs", "I provided an assistant", "dspy", "gepa"),
        *("In adhering to this structure", "COMPLETE", "observations", "Reply with", "luthier"),
    ]
    for module in (forms, proposer, reading, task_lm, server):
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        assert not [wording for wording in wordings if wording in source], module.__name__


def ask(text: str, *, system: str = "") -> str:
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    return Session(WORLD, 1.0).reply({"model": "proposer", "messages": [*messages, {"role": "user", "content": text}]})


REASON = "In Note 1-1 {0.condition}, so the queue is {0.answer}.".format(STAGE.rules[1])
SHOWN = f"{STAGE.instruction}\n\n{REASON}\n\n"


def test_an_instruction_is_answered_as_plain_text() -> None:
    assert ask(SHOWN + "Write a better instruction.").startswith("Read the note")


def test_a_fence_is_answered_with_a_fence() -> None:
    said = ask(SHOWN + "Put it within ``` marks.")
    assert said.startswith("```\n") and said.endswith("\n```")


def test_a_json_object_has_the_keys_that_were_asked_for() -> None:
    said = json.loads(ask(SHOWN + 'Answer with one JSON object. Its keys are "queue", "priority".'))
    assert set(said) == {"queue", "priority"}
    assert STAGE.rules[1].answer in said["queue"]


def test_a_json_list_has_a_rule_an_item() -> None:
    said = json.loads(ask(SHOWN + "Answer with a JSON array of strings, one rule each."))
    assert any(STAGE.rules[1].answer in item for item in said)


def test_objects_in_a_list_have_the_keys_that_were_asked_for() -> None:
    said = json.loads(ask(SHOWN + 'Answer with a JSON list of objects with the keys "lesson" and "why".'))
    assert all(set(item) == {"lesson", "why"} for item in said)


def test_marks_are_answered_with_the_same_marks() -> None:
    said = ask(SHOWN + "Start with `<<< thoughts >>>`, then `<<< advice >>>`.")
    assert said.startswith("<<< thoughts >>>\n") and "\n<<< advice >>>\n" in said


@pytest.mark.parametrize("stage", WORLD.stages, ids=lambda stage: stage.name)
def test_the_stage_whose_instruction_comes_last_is_written_for(stage: Stage) -> None:
    others = "\n".join(s.instruction for s in WORLD.stages if s != stage)
    said = ask(f"The program has these steps:\n{others}\n\nImprove this one: {stage.instruction}")
    assert said.startswith(stage.instruction)


def test_at_ability_nought_nothing_is_learned_and_half_lies_between() -> None:
    def rules(ability: float) -> float:
        session = Session(WORLD, ability)
        counts = []
        for turn in range(60):
            text = LAYOUTS["prose"](STAGE.instruction, STAGE.name, failures(1 + 5 * turn, kind="reasons"))
            said = session.reply({"model": "proposer", "messages": [{"role": "user", "content": text}]})
            counts.append(sum(statement.right for statement in read(WORLD, said).statements))
        return fmean(counts)

    assert rules(0.0) == 0
    assert 0.5 < rules(0.5) < rules(1.0) - 0.5


def test_four_inferences_in_ten_are_wrong_in_the_harsh_kind() -> None:
    harsh: World = world("harsh", 3)
    stage = harsh.stages[0]
    session = Session(harsh, 1.0)
    right = wrong = 0
    for number in range(1, 301):
        case = harsh.row(number).cases[stage.name][0]
        note = case.text.partition(":")[0]
        reason = f"In {note} {case.rules[0].condition}, so the {stage.name} is {right_answer(stage, case)}."
        text = LAYOUTS["prose"](stage.instruction, stage.name, [Failure(case.text, "nothing", reason)])
        said = session.reply({"model": "proposer", "messages": [{"role": "user", "content": text}]})
        for statement in read(harsh, said).statements:
            if statement.rule in case.rules:
                right, wrong = right + statement.right, wrong + (not statement.right)
    assert wrong / (right + wrong) == pytest.approx(0.4, abs=0.09)
