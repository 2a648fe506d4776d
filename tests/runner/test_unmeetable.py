"""A baseline that no prompt can lift ends the study, with a decision of its own and three examples to look at."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

import luthier as lt
from luthier.cli.exits import Code, code_of_decision
from luthier.errors import DataError, LabelWarning
from luthier.lm.doubles import ScriptedLM
from luthier.report.summary import summary
from luthier.study.events import read_all
from luthier.study.journal import read_journal
from tests.cli.project import luthier
from tests.optimizers.studies import event, journal

N = 100


@lt.predictor(output="label")
def sentiment(text: str) -> Literal["neg", "pos"]:
    """Is it good or bad?"""
    return lt.predict()


@lt.predictor(output="label")
def secret(text: str) -> Annotated[Literal["neg", "pos"], lt.Private]:
    """Is it good or bad?"""
    return lt.predict()


@lt.predictor
def words(text: str) -> str:
    """Say it in one word."""
    return lt.predict()


def hidden_from_readers(text: str) -> str:
    return [sentiment(text=text)][0]


def private(text: str) -> str:
    return [secret(text=text)][0]


def in_words(text: str) -> str:
    return [words(text=text)][0]


def forgetful(text):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - as many write them
    sentiment(text=text)


def forgets(text: str) -> None:
    sentiment(text=text)


def loses(text: str) -> str:
    found: dict[str, Any] = {}
    return found.get(sentiment(text=text))  # type: ignore[return-value]


def counted(text: str) -> int:
    return len(words(text=text))


def rows(*labels: Any) -> list[dict[str, Any]]:
    return [{"text": f"text {i}", "label": labels[i % len(labels)]} for i in range(N)]


def run(directory: Path, program: Any, data: Any, metric: Any = None, answer: str = "neg", **given: Any) -> Any:
    lm = given.pop("lm", None) or lt.LM(ScriptedLM(lambda request: answer))
    chosen = lt.exact_match("label") if metric is None else metric
    return lt.optimize(program, data, chosen, lm=lm, auto=100, study_dir=directory, **given)


def no_credit(example: Mapping[str, Any], prediction: Any) -> float:
    return 0.0


def some_credit(example: Mapping[str, Any], prediction: Any) -> float:
    return 0.5


CASES: list[tuple[str, Any, list[Any], Any, str, str]] = [
    (
        "labels",
        hidden_from_readers,
        ["negative", "positive"],
        None,
        "neg",
        "predicted 'neg' where the label is 'negative'",
    ),
    ("labels", hidden_from_readers, [0, 1], None, "pos", "predicted 'pos' where the label is 0"),
    ("labels", hidden_from_readers, ["Neg", "POS"], None, "neg", "where the label is 'POS'"),
    ("labels", in_words, [{"id": 1}, {"id": 2}], None, "one", 'where the label is {"id": 1}'),
    ("labels", counted, ["few", "many"], None, "one", "predicted 3 where the label is 'few'"),
    ("none", forgets, ["neg", "pos"], None, "neg", "predicted null where the label is 'neg'"),
    ("none", forgetful, ["neg", "pos"], no_credit, "neg", "predicted null where the label is 'neg'"),
    ("none", loses, ["neg", "pos"], some_credit, "neg", "predicted null where the label is 'neg'"),
    ("unparseable", hidden_from_readers, ["neg", "pos"], None, "I am a parrot", "answered 'I am a parrot' where the"),
]


@pytest.mark.filterwarnings("ignore::luthier.errors.LabelWarning")
@pytest.mark.parametrize(("why", "program", "labels", "metric", "answer", "shown"), CASES)
def test_it_stops_after_the_baseline_says_why_and_shows_three(
    tmp_path: Path, why: str, program: Any, labels: list[Any], metric: Any, answer: str, shown: str
) -> None:
    double = ScriptedLM(lambda request: answer)
    result = run(tmp_path / "s", program, rows(*labels), metric, lm=lt.LM(double))
    assert (result.decision, result.stopped, result.verdict.n) == ("unmeetable", True, 0)
    assert shown in result.verdict.sentence and "Look at" in result.verdict.sentence
    assert [found["event"] for found in journal(tmp_path / "s")][-2:] == ["baseline", "check"]
    zero = event(tmp_path / "s", "baseline")["zero"]
    assert zero["reason"] == event(tmp_path / "s", "check")["unmeetable"] == why
    assert len(zero["examples"]) == 3
    calls = double.calls
    assert calls == len(event(tmp_path / "s", "baseline")["outcomes"])
    again = run(tmp_path / "s", program, rows(*labels), metric, lm=lt.LM(double))
    assert (again.decision, again.verdict.sentence, double.calls) == ("unmeetable", result.verdict.sentence, calls)
    assert summary(read_all(read_journal(tmp_path / "s" / "journal.jsonl"))).decision == "unmeetable"
    assert "Cannot be met" in result.report.read_text(encoding="utf-8")
    assert result.candidate == result.best


@pytest.mark.filterwarnings("ignore::luthier.errors.LabelWarning")
@pytest.mark.parametrize(
    ("program", "labels", "answer"),
    [
        (hidden_from_readers, ["zebra-negative", "zebra-positive"], "neg"),
        (hidden_from_readers, ["neg", "pos"], "zebra, zebra"),
        (in_words, ["zebra"], "quagga"),
        (forgets, ["zebra"], "neg"),
    ],
)
def test_the_journal_holds_ids_of_the_examples_that_are_shown_and_no_words_of_theirs(
    tmp_path: Path, program: Any, labels: list[Any], answer: str
) -> None:
    heard: list[Any] = []
    result = run(tmp_path / "s", program, rows(*labels), answer=answer, on_event=heard.append, optimizer="opro")
    recorded = [found for found in journal(tmp_path / "s") if found["event"] in ("baseline", "check", "anyway")]
    recorded[0].pop("warnings")  # what the check of the labels names: values of the column, whatever the example
    assert "zebra" not in json.dumps(recorded) and "quagga" not in json.dumps(recorded)
    known = {outcome["example"] for outcome in recorded[0]["outcomes"]}
    assert len(recorded[0]["zero"]["examples"]) == 3 and set(recorded[0]["zero"]["examples"]) <= known
    told = result.verdict.sentence + "".join(event.get("message", "") for event in heard if event.get("transient"))
    assert "zebra" in told and "where the label is" in told


@pytest.mark.filterwarnings("ignore::luthier.errors.LabelWarning")
def test_a_study_whose_answers_are_gone_ends_as_it_did_and_asks_for_none_again(tmp_path: Path) -> None:
    first = run(tmp_path / "s", hidden_from_readers, rows(0, 1))
    for file in (tmp_path / "s").glob("store.sqlite*"):
        file.unlink()
    double = ScriptedLM(lambda request: "neg")
    again = run(tmp_path / "s", hidden_from_readers, rows(0, 1), lm=lt.LM(double))
    assert (again.decision, double.calls) == (first.decision, 0)
    assert again.verdict.sentence and first.verdict.sentence.startswith(again.verdict.sentence)


@pytest.mark.filterwarnings("ignore::luthier.errors.LabelWarning")
@pytest.mark.parametrize("case", [CASES[0], CASES[5], CASES[7]])
def test_the_check_says_the_same_and_pays_for_nothing_more(tmp_path: Path, case: Any) -> None:
    why, program, labels, _, answer, shown = case
    double = ScriptedLM(lambda request: answer)
    found = lt.check(program, rows(*labels), lt.exact_match("label"), lm=lt.LM(double), study_dir=tmp_path / "s")
    assert found.stop and found.unmeetable == why
    assert shown in found.sentence and "orth trying" not in found.sentence
    assert double.calls == found.n
    assert found.noise is None and found.demos is None and found.instructions is None
    json.dumps(found.to_json(), default=str)


def test_what_cannot_match_for_certain_is_refused_before_the_baseline(tmp_path: Path) -> None:
    double = ScriptedLM(lambda request: "neg")

    def program(text: str) -> str:
        return sentiment(text=text)

    for tried in (lt.check, lt.optimize):
        with pytest.raises(DataError, match="'label' can match"):
            tried(program, rows(0, 1), lt.exact_match("label"), lm=lt.LM(double), study_dir=tmp_path / "s")
    assert double.calls == 0 and not (tmp_path / "s").exists()


def test_labels_that_cannot_match_are_not_there_to_win(tmp_path: Path) -> None:
    def program(text: str) -> str:
        return sentiment(text=text)

    lm = lt.LM(ScriptedLM(lambda request: "neg"))
    data = rows("neg", "POS", "pos", "POS")
    found = lt.check(program, data, lt.exact_match("label"), lm=lm, study_dir=tmp_path / "s")
    assert not found.stop and found.unmeetable is None
    assert "normalized_match" in found.warnings[0]
    assert found.sentence.startswith("Fix the labels first: ") and "orth trying" not in found.sentence
    unmet, room, left = map(int, re.findall(r"\d+", found.sentence))
    assert (unmet, room, left) == (49, 74, 26)
    with pytest.warns(LabelWarning, match=r"50 of 100 labels.*normalized_match"):
        run(tmp_path / "t", program, data, lm=lm)
    told = event(tmp_path / "t", "plan")["notes"] + event(tmp_path / "t", "baseline")["warnings"]
    assert sum("50 of 100 labels" in sentence for sentence in told) == 2


@pytest.mark.parametrize(
    ("program", "labels", "metric", "answer"),
    [
        (hidden_from_readers, ["pos"], None, "neg"),
        (in_words, ["good", "bad"], None, "fine"),
        (counted, [7, 8], None, "one"),
        (in_words, ["good", "bad"], no_credit, "good"),
        (in_words, ["3", "4"], lt.numeric_match("label"), "five"),
    ],
)
def test_a_baseline_of_zeros_for_other_reasons_goes_on_with_the_same_three_as_a_warning(
    tmp_path: Path, program: Any, labels: list[Any], metric: Any, answer: str
) -> None:
    with pytest.warns(LabelWarning, match=r"scores 0 on all 35 .*(predicted .* where the label is .*){3}"):
        result = run(tmp_path / "s", program, rows(*labels), metric, answer=answer)
    assert result.decision in ("keep", "undecided") and not result.stopped
    check = event(tmp_path / "s", "check")
    assert not check["stop"] and "unmeetable" not in check
    heard: list[Any] = []
    run(tmp_path / "t", program, rows(*labels), metric, answer=answer, on_event=heard.append)
    assert any("scores 0 on all" in text for told in heard for text in told.get("warnings", ()))
    found = lt.check(
        program,
        rows(*labels),
        lt.exact_match("label") if metric is None else metric,
        lm=lt.LM(ScriptedLM(lambda request: answer)),
        study_dir=tmp_path / "c",
    )
    assert not found.stop and "Worth trying" not in found.sentence and "where the label is" in found.sentence


@pytest.mark.parametrize("n", [6, 18])
def test_few_examples_that_all_score_nothing_are_shown_as_well(tmp_path: Path, n: int) -> None:
    data = rows("pos")[:n]
    with pytest.warns(LabelWarning, match=r"(predicted .* where the label is .*){3}"):
        run(tmp_path / "s", hidden_from_readers, data)
    lm = lt.LM(ScriptedLM(lambda request: "neg"))
    found = lt.check(hidden_from_readers, data, lt.exact_match("label"), lm=lm, study_dir=tmp_path / "c")
    assert "where the label is" in found.sentence and found.sentence.count("where the label is") == 3


@pytest.mark.filterwarnings("ignore::luthier.errors.LabelWarning")
def test_where_no_answer_of_few_could_be_read_the_answers_are_shown(tmp_path: Path) -> None:
    lm = lt.LM(ScriptedLM(lambda request: "I am a parrot"))
    found = lt.check(hidden_from_readers, rows("pos")[:6], lt.exact_match("label"), lm=lm, study_dir=tmp_path / "c")
    assert not found.stop and "I am a parrot" in found.sentence


def test_a_check_says_where_nothing_is_held_out_for_a_verdict(tmp_path: Path) -> None:
    lm = lt.LM(ScriptedLM(lambda request: "neg"))
    parts = lt.Splits(
        rows("neg", "pos")[:40], [{"text": f"more {i}", "label": ("neg", "pos")[i % 2]} for i in range(30)]
    )
    for data in (rows("neg", "pos")[:40], parts):
        found = lt.check(hidden_from_readers, data, lt.exact_match("label"), lm=lm, study_dir=tmp_path / "c")
        assert "held out" in found.sentence and "too few" not in found.sentence
        assert any("held out" in note for note in found.plan["notes"])


@pytest.mark.filterwarnings("ignore::luthier.errors.LabelWarning")
def test_private_values_are_not_shown(tmp_path: Path) -> None:
    result = run(tmp_path / "s", private, rows("negative", "positive"))
    assert result.decision == "unmeetable"
    assert "predicted (private) where the label is (private)" in result.verdict.sentence
    assert "negative" not in result.verdict.sentence
    assert "negative" not in (tmp_path / "s" / "journal.jsonl").read_text(encoding="utf-8")
    assert "negative" not in result.report.read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore::luthier.errors.LabelWarning")
def test_the_user_may_search_all_the_same(tmp_path: Path) -> None:
    result = run(tmp_path / "s", hidden_from_readers, rows(0, 1), anyway=True)
    assert not result.stopped and result.decision == "keep"


def test_a_program_that_is_meant_to_return_nothing_is_judged_by_its_trace(tmp_path: Path) -> None:
    def called(example: Mapping[str, Any], prediction: Any, trace: Any) -> float:
        return float(trace.calls[-1].outputs["label"] == example["label"])

    result = run(tmp_path / "s", forgets, rows("neg", "pos"), called)
    assert result.decision != "unmeetable"


def test_the_command_line_ends_with_a_code_of_its_own(tmp_path: Path) -> None:
    assert code_of_decision("unmeetable") is Code.UNMEETABLE
    assert int(Code.UNMEETABLE) == 12
    (tmp_path / "data.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows("neg", "pos")), encoding="utf-8"
    )
    (tmp_path / "silent.py").write_text(
        "import luthier as lt\n\n\n@lt.predictor\ndef label(text: str) -> str:\n"
        '    """Say it."""\n\n\ndef program(text: str):\n    label(text=text)\n\n\n'
        "def lm(request):\n    return 'neg'\n",
        encoding="utf-8",
    )
    given = ("silent:program", "--data", "data.jsonl", "--metric", "exact_match:label", "--lm", "python:silent:lm")
    for command in ("check", "optimize"):
        ended = luthier(tmp_path, command, *given, "--study-dir", command)
        assert ended.returncode == 12, ended.stderr
        assert "where the label is 'neg'" in ended.stderr and "return" in ended.stderr
    applied = luthier(tmp_path, "apply", "optimize", "silent.py")
    assert applied.returncode == 12 and "unmeetable" in applied.stderr
    shown = luthier(tmp_path, "show", "optimize")
    assert shown.returncode == 0 and "None" in shown.stderr
