"""Reflect: lessons that hold are written down, those that bring nothing are not, and who failed is known."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest

import luthier as lt
from luthier.canonical import uniform_order
from luthier.errors import ConfigError, MetricError, ServerFault, StudyPaused
from luthier.lm import gateway
from luthier.lm.doubles import ScriptedLM
from luthier.lm.middleware.retry import RetryPolicy
from luthier.lm.request import Request
from luthier.study.journal import read_journal

TRUE = "If the note mentions a refund, the queue is billing."
FALSE = "If the note mentions a parcel, the queue is billing."
WORDS = ("refund", "parcel", "login")
QUEUE = {"refund": "billing", "parcel": "shipping", "login": "access"}
TONE = {"refund": "calm", "parcel": "calm", "login": "urgent"}


@lt.predictor(stop=["#queue"])
def queue(note: str) -> Literal["billing", "shipping", "access"]:
    """Choose the queue."""
    return lt.predict()


@lt.predictor(stop=["#tone"])
def tone(note: str, queue: str) -> str:
    """Choose the tone."""
    return lt.predict()


def triage(note: str) -> str:
    """Route a note."""
    where = queue(note=note)
    return f"{where} {tone(note=note, queue=where)}"


def rows(n: int) -> list[dict[str, Any]]:
    """Return n notes; the queue is a column, the tone is not."""
    words = [WORDS[i % 3] for i in range(n)]
    return [
        {"note": f"note {i} with a {word}", "queue": QUEUE[word], "answer": f"{QUEUE[word]} {TONE[word]}"}
        for i, word in enumerate(words)
    ]


class Desk(ScriptedLM):
    """Knows all but refunds, which it learns from the instruction; misled where that speaks of parcels."""

    def __init__(self) -> None:
        super().__init__(self.answered)
        self.asked = Counter[str]()

    def answered(self, request: Request) -> str:
        who = next((stop[1:] for stop in request.stop if stop.startswith("#")), "proposer")
        self.asked[who] += 1
        text = request.messages[-1].text
        if who == "proposer":
            return json.dumps([{"rule": TRUE, "examples": ["E1", "E2"]}, {"rule": FALSE, "examples": ["E1"]}])
        word = re.findall("|".join(WORDS), text)[-1]
        if who == "tone":
            return TONE[word]
        told = request.messages[0].text
        if word == "refund":
            return "billing" if TRUE in told else "access"
        return "billing" if word == "parcel" and FALSE in told else QUEUE[word]


def tuned(folder: Path, lm: Desk, **given: Any) -> lt.Result[Any]:
    settings: dict[str, Any] = {"optimizer": lt.Reflect(demos=4), "auto": 200, **given}
    return lt.optimize(triage, rows(150), lt.exact_match("answer"), lm=lt.LM(lm), study_dir=folder, **settings)


def lessons(folder: Path) -> list[dict[str, Any]]:
    events = read_journal(folder / "journal.jsonl")
    return [one for event in events if event["event"].startswith("lessons/") for one in event["lessons"]]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, lt.Result[Any], Desk]:
    folder, lm = tmp_path_factory.mktemp("reflect") / "study", Desk()
    return folder, tuned(folder, lm, looks=folder.with_name("looks")), lm


def test_a_lesson_that_mends_is_written_down_and_one_that_brings_nothing_is_dropped(study: Any) -> None:
    folder, result, _ = study
    by_rule = {one["rule"]: one for one in lessons(folder) if one["predictor"] == "queue"}
    assert by_rule[TRUE]["verdict"] == "held" and len(by_rule[TRUE]["fixed"]) == by_rule[TRUE]["tried"] >= 2
    assert by_rule[FALSE]["verdict"] == "dropped" and by_rule[FALSE]["why"]
    assert TRUE in result.best.prompts["queue"].instruction and FALSE not in result.best.prompts["queue"].instruction
    assert result.decision == "adopt" and result.verdict.after == 1.0


def test_who_failed_is_known_from_a_label_of_a_closed_type(study: Any) -> None:
    folder, result, _ = study
    assert {one["predictor"] for one in lessons(folder) if one["verdict"] == "held"} == {"queue"}
    assert result.best.prompts["tone"].instruction == "Choose the tone."


def test_lessons_come_from_training_rows_alone(study: Any) -> None:
    folder, _, _ = study
    split = next(event for event in read_journal(folder / "journal.jsonl") if event["event"] == "split")
    used = {example for one in lessons(folder) for name in ("examples", "fixed", "broken") for example in one[name]}
    assert used and used <= set(split["train"])


def test_the_report_shows_each_lesson_with_what_it_fixed(study: Any) -> None:
    _, result, _ = study
    page = result.report.read_text(encoding="utf-8")
    assert TRUE in page and FALSE in page and "dropped" in page


def test_a_check_of_a_predictor_with_a_metric_of_its_own_is_one_call(study: Any) -> None:
    folder, _, _ = study
    events = read_journal(folder / "journal.jsonl")
    first = next(event for event in events if event["event"] == "lessons/1")
    # Half a program run each: the predictor after it is not called.
    tried = sum(one["tried"] for one in first["lessons"])
    assert 0 < first["runs"] <= 0.5 * (tried + 60)


def test_a_metric_of_a_predictor_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"predictor_metrics.*'queeu'.*queue"):
        tuned(tmp_path, Desk(), predictor_metrics={"queeu": lt.exact_match("queue")})


def test_a_predictors_metric_without_its_column_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    lm = Desk()
    with pytest.raises(MetricError, match="colour"):
        tuned(tmp_path, lm, predictor_metrics={"queue": lt.exact_match("colour")})
    assert lm.calls == 0


def test_an_optimizer_that_does_not_use_predictor_metrics_says_so_in_the_plan(tmp_path: Path) -> None:
    tuned(tmp_path / "s", Desk(), optimizer="labeled-few-shot", predictor_metrics={"queue": lt.exact_match("queue")})
    plan = next(event for event in read_journal(tmp_path / "s" / "journal.jsonl") if event["event"] == "plan")
    assert any("predictor_metrics" in note and "labeled-few-shot" in note for note in plan["notes"])


def test_an_outage_during_a_check_pauses_the_study_and_is_no_failed_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Down(Desk):
        def answered(self, request: Request) -> str:
            if TRUE in request.messages[0].text:
                raise ServerFault("down")
            return super().answered(request)

    monkeypatch.setattr(gateway, "RetryPolicy", lambda: RetryPolicy(first=0.001, longest=0.001, give_up_after=0.01))
    with pytest.raises(StudyPaused):
        tuned(tmp_path / "s", Down())
    assert not lessons(tmp_path / "s")
    monkeypatch.undo()
    result = tuned(tmp_path / "s", Desk())
    assert result.decision == "adopt" and TRUE in result.best.prompts["queue"].instruction


def test_a_predictors_metric_is_part_of_what_a_study_is(tmp_path: Path) -> None:
    tuned(tmp_path / "s", Desk())
    with pytest.raises(lt.LuthierError, match="predictor_metrics"):
        tuned(tmp_path / "s", Desk(), predictor_metrics={"queue": lt.normalized_match("queue")})


def test_lessons_that_only_luck_bears_out_are_not_written_down_and_the_size_is_kept(tmp_path: Path) -> None:
    class Stubborn(Desk):
        def answered(self, request: Request) -> str:
            said = super().answered(request)
            text = request.messages[-1].text
            if "#queue" not in request.stop or "refund" not in text:
                return said
            # One in three is right, whatever the instruction says: another one is with every wording.
            return "access" if uniform_order(request.messages[0].text, text) % 3 else "billing"

    result = tuned(tmp_path / "s", Stubborn(), anyway=True)
    assert TRUE not in result.best.prompts["queue"].instruction
    runs = sum(event.get("runs", 0.0) for event in read_journal(tmp_path / "s" / "journal.jsonl"))
    assert runs <= 200


def test_a_frozen_instruction_gets_no_lessons(tmp_path: Path) -> None:
    tuned(tmp_path / "s", Desk(), optimizer=lt.Reflect(frozen=("queue.instruction",), demos=4))
    assert {one["predictor"] for one in lessons(tmp_path / "s")} <= {"tone"}


@lt.predictor(stop=["#room"])
def room(note: str) -> str:
    """Choose the room."""
    return lt.predict()


def house(note: str) -> str:
    """Say which door to take; what the room was cannot be seen from it."""
    return str(uniform_order("door", room(note=note)) % 1_000_000)


class Porter(ScriptedLM):
    """Knows one word of three; the others by luck one time in four, or where a demonstration shows the word."""

    def __init__(self) -> None:
        super().__init__(self.answered)

    def answered(self, request: Request) -> str:
        if "#room" not in request.stop:
            return "[]"
        *shown, asked = request.messages
        word = re.findall("|".join(WORDS), asked.text)[-1]
        luck = uniform_order(request.messages[0].text, asked.text) % 4 == 0
        learned = any(f"a {word}" in message.text for message in shown)
        return QUEUE[word] if word == "login" or luck or learned else f"nowhere {asked.text}"


def test_where_nothing_tells_who_failed_demos_grow_in_rounds_until_the_failed_pass(tmp_path: Path) -> None:
    data = [{"note": row["note"], "door": str(uniform_order("door", row["queue"]) % 1_000_000)} for row in rows(150)]
    result = lt.optimize(
        house,
        data,
        lt.exact_match("door"),
        lm=lt.LM(Porter()),
        optimizer=lt.Reflect(demos=6),
        auto=250,
        study_dir=tmp_path / "s",
        looks=tmp_path / "looks",
    )
    events = read_journal(tmp_path / "s" / "journal.jsonl")
    bootstrap = next(event for event in events if event["event"] == "bootstrap")
    assert bootstrap["counts"]["room"]["retried"] > 0
    assert sum(bootstrap["passes"].values()) >= 0.8 * 37, "what was learned in one round helps in the next"
    demos = result.best.prompts["room"].demos
    assert {word for word in WORDS for demo in demos if word in demo.inputs["note"]} == set(WORDS)
    assert result.decision == "adopt" and result.verdict.after == 1.0
    split = next(event for event in events if event["event"] == "split")
    assert {demo.provenance.example for demo in demos if demo.provenance} <= set(split["train"])
