"""Lessons: what is read from an answer, what is one lesson, and what is wrong with one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from luthier.evaluation.rollout import Job, Outcome, Rollout, Score
from luthier.program.candidate import Candidate
from luthier.program.trace import Trace
from luthier.propose.fields import subject_of
from luthier.propose.lessons import (
    Lesson,
    Reading,
    alike,
    batches,
    failing_below,
    lesson_prompt,
    merged,
    middle_cut,
    read_lessons,
    readings,
    spoken_of,
    telling_words,
    term_weights,
    with_lessons,
)
from tests.propose.world import KIND, SIZE, call, rows

RULE = "If the petal is longer than 5, the species is virginica."
OTHER = "Answer in lower case, whatever the input looks like."


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps([{"rule": RULE, "examples": ["E2"]}, {"rule": OTHER, "examples": []}]),
        json.dumps([{"rule": RULE, "examples": [2]}, {"rule": OTHER}]),
        json.dumps({"lessons": [{"rule": RULE, "examples": "E2"}, {"rule": OTHER}]}),
        f"Here is what I found:\n```json\n{json.dumps([{'rule': RULE, 'examples': ['E2']}, OTHER])}\n```",
        f"- {RULE} (E2)\n- {OTHER}",
        f"1. {RULE} E2\n2) {OTHER}\n",
        f"{RULE} (E2)\n\n{OTHER}",
        f"<think>Perhaps [1, 2]?</think>\n* {RULE} (E2)\n* {OTHER}",
    ],
    ids=["objects", "numbers", "wrapped", "fenced", "bullets", "numbered", "prose", "thoughts"],
)
def test_rules_and_the_examples_they_name_are_read_from_json_lists_and_prose(answer: str) -> None:
    assert read_lessons(answer, ["first", "second"]) == [(RULE, ("second",)), (OTHER, ())]


@pytest.mark.parametrize("answer", ["", "[]", "None.", "[1, 2]", "{}", "x" * 5000])
def test_an_answer_without_a_rule_gives_none(answer: str) -> None:
    assert read_lessons(answer, ["first"]) == []


def test_an_example_that_was_not_shown_is_not_evidence() -> None:
    assert read_lessons(json.dumps([{"rule": RULE, "examples": ["E9", "E0", "E1"]}]), ["first"]) == [(RULE, ("first",))]


def reading(example: str, text: str, answer: str, right: str, *, feedback: str = "") -> Reading:
    return Reading(
        example,
        ({"note": text},),
        ({"queue": answer},),
        {"queue": right},
        feedback,
        answer == right,
        float(answer == right),
    )


NOTES = [
    reading("a", "refund for a broken lamp", "sales", "billing"),
    reading("b", "login fails with a token", "sales", "access"),
    reading("c", "refund for a double charge", "sales", "billing"),
    reading("d", "a token has expired", "access", "access"),
    reading("e", "where is the shop", "sales", "sales"),
]


def test_equal_rules_are_one_with_all_their_examples_and_rules_on_other_things_stay_apart() -> None:
    telling = telling_words(NOTES)
    first = Lesson("queue", "If the note asks for a refund, the queue is billing.", ("a",))
    again = Lesson("queue", "If a note asks for a refund, then the queue is billing.", ("c",))
    other = Lesson("queue", "If the note asks for a token, the queue is billing.", ("b",))
    assert alike(first.rule, again.rule, telling) and not alike(first.rule, other.rule, telling)
    kept = merged([first, again, other], telling)
    assert [(one.examples, one.support) for one in kept] == [(("a", "c"), 2), (("b",), 1)]
    assert not alike("If the amount is above 500, choose A.", "If the amount is above 600, choose A.", frozenset())


def test_where_no_example_is_named_a_rules_own_words_say_which_it_is_about() -> None:
    weights = term_weights(NOTES)
    assert set(spoken_of("If there is talk of a refund, the queue is billing.", NOTES[:3], weights)) == {"a", "c"}
    assert spoken_of("Think twice.", NOTES[:3], weights) == ("a", "b", "c")


def test_batches_are_of_equal_size_and_have_as_many_kinds_as_there_are() -> None:
    table = {row.id: row for row in rows(30)}
    found = [reading(row.id, str(row.number), "x", "y") for row in table.values()]
    groups = batches(found, table, most=3)
    assert [len(group) for group in groups] == [8, 8, 8]
    assert all(
        {table[one.example].stratum for one in group} == {"setosa", "versicolor", "virginica"} for group in groups
    )
    assert batches([], table, most=3) == []


@pytest.mark.parametrize(
    ("values", "bar"),
    [([0.0, 1.0, 1.0], 1.0), ([0.0, 0.0, 0.0], 1.0), ([0.2, 0.5, 0.7, 0.9], 0.7), ([], 1.0)],
    ids=["right or wrong", "never right", "graded, never full", "nothing"],
)
def test_a_run_failed_below_a_full_score_or_below_the_median_where_no_score_is_full(
    values: list[float], bar: float
) -> None:
    assert failing_below(values) == bar


def rollout(value: float, feedback: object = "") -> Rollout:
    calls = [
        call("petal_size", {"petal": "1", "owner": "Secret Owner Number 0"}, {"size": "small"}),
        call("species", {"size": "small", "petal": "1"}, {"species": "versicolor"}),
    ]
    return Rollout(Job(Candidate({}), "row0"), Outcome.SCORED, Score(value, feedback), None, Trace(calls))  # type: ignore[arg-type]


def test_feedback_that_names_predictors_says_which_of_them_failed() -> None:
    table = {row.id: row for row in rows(1)}
    runs = [rollout(0.0, {"species": "It is a setosa."})]
    size, kind = (readings(runs, table, signature, frozenset())[0] for signature in (SIZE, KIND))
    assert size.passed and not kind.passed and kind.feedback == "It is a setosa."
    blamed = [readings([rollout(0.0, "Wrong.")], table, one, frozenset())[0].passed for one in (SIZE, KIND)]
    assert blamed == [False, False]


def test_a_predictors_own_metric_decides_whether_it_failed() -> None:
    table = {row.id: row for row in rows(1)}
    assert readings([rollout(0.0)], table, SIZE, frozenset(), {"row0": 1.0})[0].passed
    assert not readings([rollout(1.0)], table, SIZE, frozenset(), {"row0": 0.0})[0].passed


def test_where_its_own_metric_never_gives_a_full_score_a_predictor_failed_below_the_median() -> None:
    table = {row.id: row for row in rows(4)}
    runs = [replace(rollout(0.0), job=Job(Candidate({}), row)) for row in table]
    judged = dict(zip(table, (0.2, 0.5, 0.7, 0.9), strict=True))
    assert [one.passed for one in readings(runs, table, SIZE, frozenset(), judged)] == [False, False, True, True]


def test_the_request_shows_no_private_value_and_the_right_answer_of_mistakes() -> None:
    table = {row.id: row for row in rows(1)}
    found = readings([rollout(0.0, "Look again.")], table, KIND, frozenset({"owner"}))
    hidden = readings([rollout(0.0)], table, SIZE, frozenset({"owner"}))
    prompt = lesson_prompt(subject_of(KIND), KIND.instruction, found, (), ["Known rule."])
    assert "right species: setosa" in prompt and "answered species: versicolor" in prompt
    assert "Look again." in prompt and "Known rule." in prompt
    assert "Secret Owner" not in prompt + lesson_prompt(subject_of(SIZE), "", hidden, (), ())


def test_a_long_value_is_cut_in_the_middle_and_that_is_said() -> None:
    text = middle_cut("a" * 4000 + "b" * 4000)
    assert text.startswith("a") and text.endswith("b") and "left out" in text and len(text) < 1400


def test_an_instruction_keeps_its_original_and_has_each_rule_on_a_line() -> None:
    lessons = [Lesson("queue", OTHER, ()), Lesson("queue", RULE, (), support=2)]
    assert with_lessons("Choose.", []) == "Choose."
    assert with_lessons("Choose.", lessons).splitlines() == ["Choose.", "", "Rules:", f"- {RULE}", f"- {OTHER}"]


def test_a_lesson_is_the_same_after_a_journal() -> None:
    lesson = Lesson("queue", RULE, ("a", "b"), 2, "held", "", ("a",), 3, (), 0.97)
    assert Lesson.from_json(json.loads(json.dumps(lesson.to_json()))) == lesson
