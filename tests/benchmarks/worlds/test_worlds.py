"""A world is a function of its kind and seed, and what a prompt is worth is computed as it comes out."""

from __future__ import annotations

import os
import subprocess
import sys
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from benchmarks.worlds.case import Case
from benchmarks.worlds.kinds import KINDS
from benchmarks.worlds.server import Session
from benchmarks.worlds.world import LUCK, TEACHER_KNOWS, World, code_word, right_answer, world

ROOT = Path(__file__).parents[3]
ROWS = range(20_000, 20_400)
Prompt = tuple[str, list[tuple[str, str]]]
"""An instruction and demonstrations."""


def prompts(made: World, *, stated: int, wrong: int = 0, demos: int = 0) -> dict[str, Prompt]:
    """Return prompts that state so many rules, some of them wrongly, and show demonstrations."""
    found: dict[str, Prompt] = {}
    for stage in made.stages:
        lines = [stage.instruction]
        for index, rule in enumerate(stage.rules[:stated]):
            others = [label for label in stage.labels if label != rule.answer]
            answer = others[0] if index < wrong else rule.answer
            lines.append(f"If {rule.condition}, the {stage.name} is {answer}.")
        shown = []
        for number in range(1, demos + 1):
            case = made.row(number).cases[stage.name][0]
            shown.append((f"note: {case.text}", right_answer(stage, case)))
        found[stage.name] = ("\n".join(lines), shown)
    return found


def run(session: Session, row: int, role: str, given: dict[str, Prompt], temperature: float = 1.0) -> float:
    """Run the program on a row; return its score."""
    made = session.world
    said: dict[str, list[str]] = {}
    for stage in made.stages:
        instruction, demos = given[stage.name]
        turns = [turn for asked, right in demos for turn in (("user", asked), ("assistant", right))]
        said[stage.name] = []
        for case in made.row(row).cases[stage.name]:
            messages = [("system", instruction), *turns, ("user", f"note: {case.text}")]
            body: dict[str, Any] = {
                "model": role,
                "temperature": temperature,
                "messages": [{"role": who, "content": text} for who, text in messages],
            }
            said[stage.name].append(session.reply(body))
    prediction: dict[str, object] = dict(said)
    if made.kind.blind:
        prediction = {"code": code_word(*(answer for answers in said.values() for answer in answers))}
    return made.score(row, prediction).value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [{"stated": 0}, {"stated": 8, "wrong": 1}, {"stated": 3, "demos": 10}], ids=str)
def test_the_computed_accuracy_is_what_fresh_rows_score(kind: str, settings: dict[str, int]) -> None:
    made = world(kind, 5)
    session = Session(made, ability=1.0)
    given = prompts(made, **settings)
    scores = [run(session, row, "task", given) for row in ROWS]
    assert run(session, ROWS[0], "probe", given) == 1.0 or made.kind.null == "metric ignores output"
    computed = session.accuracy()["accuracy"]
    spread = sqrt(max(computed * (1 - computed), 1 / len(scores)) / len(scores))
    assert abs(fmean(scores) - computed) < 4 * spread, (fmean(scores), computed)


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if not kind.null])
def test_there_is_much_to_win_in_every_kind_that_is_not_null(kind: str) -> None:
    for seed in range(20):
        made = world(kind, seed)
        assert made.original() < 0.4
        assert made.possible() > made.original() + 0.3


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.null])
def test_nothing_can_be_won_in_the_null_kinds(kind: str) -> None:
    made = world(kind, 5)
    session = Session(made, ability=1.0)
    assert made.possible() == pytest.approx(made.original())
    run(session, 1, "probe", prompts(made, stated=8, demos=8))
    assert session.accuracy()["accuracy"] <= made.original() + 1e-9


def test_rules_cost_obedience_the_more_of_them_are_stated() -> None:
    made = world("harsh", 5)
    values = []
    for stated in (3, 5, 8):
        session = Session(made, ability=1.0)
        run(session, 1, "probe", prompts(made, stated=stated))
        stage, prompt = made.stages[0], session.probed[made.stages[0].name]
        values.append(made.chance(stage, stage.rules[0], prompt))
    assert values[0] >= values[1] > values[2]


def test_a_wrong_rule_harms_its_own_cases_and_all_others() -> None:
    made = world("reasons", 5)
    worth = []
    for wrong in (0, 1, 2):
        session = Session(made, ability=1.0)
        run(session, 1, "probe", prompts(made, stated=8, wrong=wrong))
        worth.append(session.accuracy()["accuracy"])
    assert worth[0] > worth[1] + 0.05 > worth[2] + 0.1


def test_only_demonstrations_teach_in_the_kind_of_that_name() -> None:
    made = world("demos-only", 5)
    worth = []
    for settings in ({"stated": 8}, {"stated": 0, "demos": 40}):
        session = Session(made, ability=1.0)
        run(session, 1, "probe", prompts(made, **settings))
        worth.append(session.accuracy()["accuracy"])
    assert worth[0] < 0.3 < 0.6 < worth[1]


def test_at_temperature_nought_an_answer_is_a_function_of_the_request() -> None:
    made = world("reasons", 5)
    session = Session(made, ability=1.0)
    given = prompts(made, stated=0)
    assert all(len({run(session, row, "task", given, temperature=0.0) for _ in range(5)}) == 1 for row in range(1, 20))


def test_above_it_repeats_differ_and_a_new_session_repeats_them_in_order() -> None:
    made = world("reasons", 5)
    given = prompts(made, stated=0)
    one, other = Session(made, ability=1.0), Session(made, ability=1.0)
    first = [run(one, row, "task", given) for row in (1, 2, 3, 4, 5) for _ in range(20)]
    assert any(len(set(first[start : start + 20])) == 2 for start in range(0, 100, 20))
    assert first == [run(other, row, "task", given) for row in (1, 2, 3, 4, 5) for _ in range(20)]


def test_a_teacher_follows_three_rules_in_five_nearly_always_and_is_else_a_task_lm() -> None:
    followed: list[float] = []
    for seed in range(30):
        made = world("reasons", seed)
        session, stage = Session(made, ability=1.0), made.stages[0]
        cases = [made.row(row).cases[stage.name][0] for row in range(1, 200)]
        for rule in (rule for rule in stage.rules if not rule.known):
            of_rule = [case for case in cases if case.rules == (rule,)][:12]
            said = [
                session.reply({"model": "teacher", "messages": [{"role": "user", "content": f"note: {case.text}"}]})
                for case in of_rule
            ]
            followed.append(fmean(answer == rule.answer for answer in said))
    assert fmean(share > 0.5 for share in followed) == pytest.approx(TEACHER_KNOWS, abs=0.1)
    assert fmean(share for share in followed if share > 0.5) == pytest.approx(0.9, abs=0.03)
    assert fmean(share for share in followed if share <= 0.5) == pytest.approx(LUCK, abs=0.04)


def test_a_blind_world_shows_neither_labels_nor_feedback() -> None:
    made = world("blind", 5)
    row = made.columns(made.row(1))
    assert set(row) == {"number", "note_1", "note_2", "code"}
    assert made.score(1, {"code": "nothing"}).feedback == ""
    assert made.score(1, {"code": row["code"]}).value == 1.0


def test_one_reason_in_five_names_a_wrong_answer() -> None:
    made = world("wrong-reasons", 5)
    stage = made.stages[0]
    wrong = 0
    for number in range(1, 401):
        right = right_answer(stage, made.row(number).cases[stage.name][0])
        feedback = made.score(number, {s.name: "nothing" for s in made.stages}).by_stage[stage.name][1]
        wrong += f"is {right}." not in feedback
    assert wrong / 400 == pytest.approx(0.2, abs=0.07)


def test_feedback_is_told_by_stage_and_an_idle_stage_does_not_count() -> None:
    made = world("idle-stage", 5)
    right: dict[str, object] = {s.name: right_answer(s, made.row(1).cases[s.name][0]) for s in made.stages}
    idle = made.stages[1].name
    assert made.score(1, {**right, idle: "nothing"}).value == 1.0
    scored = made.score(1, {**right, made.stages[2].name: "nothing"})
    assert scored.value == 0.0 and scored.by_stage[made.stages[2].name][1] == scored.feedback


def test_free_text_is_graded_and_must_have_its_form() -> None:
    made = world("mixed", 5)
    labels, _, text = made.stages
    case = made.row(1).cases[text.name][0]
    half = text.written([case.rules[0].answer])
    right: dict[str, object] = {s.name: right_answer(s, made.row(1).cases[s.name][0]) for s in made.stages}
    assert made.score(1, right).value == 1.0
    assert made.score(1, {**right, text.name: half}).value == pytest.approx(2.5 / 3)
    formless = str(right[labels.name]).lower().strip("<>")
    assert made.score(1, {**right, labels.name: formless}).value == pytest.approx(2 / 3)


def test_results_are_kept_by_world_and_version_whatever_process_asks() -> None:
    case = Case("mipro", "reasons", 10, 300)
    code = "from benchmarks.worlds.case import Case; print(Case('mipro', 'reasons', 10, 300).fingerprint('1'))"
    for seed in "12":
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        asked = [sys.executable, "-c", code]
        told = subprocess.run(asked, capture_output=True, encoding="utf-8", check=True, env=environment, cwd=ROOT)
        assert told.stdout.strip() == case.fingerprint("1")
    assert case.fingerprint("1") != case.fingerprint("2")
    assert case.fingerprint("1") != Case("mipro", "reasons", 11, 300).fingerprint("1")
