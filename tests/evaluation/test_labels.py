"""Labels are held against what the program can answer, before anything is paid for."""

from __future__ import annotations

import enum
import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest

import luthier as lt
from luthier.errors import DataError, LabelWarning, MetricError
from luthier.lm.doubles import ScriptedLM


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@dataclass
class Sorted:
    label: Literal["neg", "pos"]
    note: str


@lt.predictor(output="label")
def sentiment(text: str) -> Literal["neg", "pos"]:
    """Is it good or bad?"""
    return lt.predict()


@lt.predictor(output="label")
async def asentiment(text: str) -> Literal["neg", "pos"]:
    """Is it good or bad?"""
    return await lt.predict()


@lt.predictor(name="sorting")
def sorting(text: str) -> Sorted:
    """Sort it."""
    return lt.predict()


@lt.predictor(output="label")
def own(text: str) -> Literal["neg", "pos"]:
    """Is it good or bad?"""
    return str(lt.prompt().instruction) and "neg"  # type: ignore[return-value]


def returning(annotation: Any) -> Callable[..., Any]:
    def label(text: str) -> Any:
        """Answer."""

    label.__annotations__["return"] = annotation
    made = lt.predictor(output="label")(label)

    def program(text: str) -> Any:
        return made(text=text)

    return program


def direct(text: str) -> str:
    return sentiment(text=text)


def assigned(text: str) -> str:
    found = sentiment(text=text)
    assert found
    return found


async def awaited(text: str) -> str:
    return await asentiment(text=text)


def either(text: str) -> str:
    if len(text) > 3:
        return sentiment(text=text)
    return sentiment(text=text + "!")


def record(text: str) -> Sorted:
    return sorting(text=text)


def member(text: str) -> str:
    found = sorting(text=text)
    return found.label


def annotated(text: str) -> Literal["neg", "pos"]:
    return sentiment(text=text) if text else "neg"


class Sentiment:
    def __init__(self) -> None:
        self.stage = sentiment

    @lt.predictor(name="method", output="label")
    def method(self, text: str) -> Literal["neg", "pos"]:
        """Is it good or bad?"""
        return lt.predict()

    def __call__(self, text: str) -> str:
        return self.method(text=text)

    def run(self, text: str) -> str:
        return self.stage(text=text)


def numbered(text: str) -> int:
    return {"neg": 0, "pos": 1}[sentiment(text=text)]


def shouted(text: str) -> str:
    return sentiment(text=text).upper()


def changed(text: str) -> str:
    found: str = sentiment(text=text)
    found += "!"
    return found


def guarded(text: str) -> str:
    return sentiment(text=text) if len(text) > 3 else "NEG"


def upper(function: Callable[..., str]) -> Callable[..., str]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> str:
        return function(*args, **kwargs).upper()

    return wrapper


@upper
def decorated(text: str) -> str:
    return sentiment(text=text)


def own_call(text: str) -> str:
    return own(text=text)


def rows(*labels: Any, column: str = "label") -> list[dict[str, Any]]:
    return [{"text": f"text {i}", column: labels[i % len(labels)]} for i in range(12)]


class Paid:
    """An LM that counts what is asked of it."""

    def __init__(self, answer: str = "neg") -> None:
        self.double = ScriptedLM(lambda request: answer)
        self.lm = lt.LM(self.double)

    def evaluate(self, program: Any, *labels: Any, metric: Any = lt.exact_match, column: str = "label") -> float:
        return lt.evaluate(program, rows(*labels, column=column), metric(column), lm=self.lm).mean


SURE = [direct, assigned, awaited, either, record, member, annotated, sentiment, Sentiment(), Sentiment().run]


class TestWhereNoneCanMatch:
    @pytest.mark.parametrize("program", [*SURE, functools.partial(direct), lambda text: sentiment(text=text)])
    def test_it_is_refused_for_nothing_however_the_program_passes_the_answer_on(self, program: Any) -> None:
        paid = Paid()
        with pytest.raises(DataError, match=r"'label'.*'negative', 'positive'.*neg, pos"):
            paid.evaluate(program, "negative", "positive")
        assert paid.double.calls == 0
        answer = '{"label": "neg", "note": ""}' if program in (record, member) else "neg"
        assert Paid(answer).evaluate(program, "neg", "pos") == 0.5

    @pytest.mark.parametrize("program", [numbered, shouted, changed, guarded, decorated, own_call])
    def test_what_the_program_may_change_is_never_refused(self, program: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LabelWarning)
            Paid().evaluate(program, 0, 1)
            Paid().evaluate(program, "NEG", "POS")

    def test_it_is_said_in_a_warning_where_the_program_may_change_it(self) -> None:
        with pytest.warns(LabelWarning, match=r"'label'.*0, 1.*neg, pos"):
            Paid().evaluate(shouted, 0, 1)

    @pytest.mark.parametrize(
        ("annotation", "labels", "remedy"),
        [
            (Literal["neg", "pos"], ["Neg", "POS"], "normalized_match"),
            (Literal["neg", "pos"], ["neg.", "pos."], "normalized_match"),
            (Literal["neg", "pos"], ["négatif", "positif"], "mapping|Map"),
            (Literal["neg", "pos"], [0, 1], r"\{0: 'neg', 1: 'pos'\}"),
            (Literal["neg", "pos"], [True, False], "Map"),
            (Mood, ["Good", "Bad"], "normalized_match"),
            (bool, ["spam", "ham"], "Map"),
            (bool, [2, 3], "Map"),
            (int, ["5 stars", "1 star"], "numeric_match"),
            (float, ["3,5", "1,5"], "numeric_match"),
            (int, ["five", "one"], "type of the output"),
            (list[Literal["late", "lost"]], ["late, lost", "lost, late"], "set_match"),
            (list[Literal["late", "lost"]], [["broken"], ["missing"]], "Map|type"),
            (str, [{"text": ["a"], "start": [1]}], r"mapping \(of text, start\)"),
            (Literal["neg", "pos"], [{"id": 1}], "mapping"),
        ],
    )
    def test_the_labels_and_what_would_help_are_named(self, annotation: Any, labels: list[Any], remedy: str) -> None:
        paid = Paid()
        with pytest.raises(DataError, match=rf"'label'.*({remedy})"):
            paid.evaluate(returning(annotation), *labels)
        assert paid.double.calls == 0

    def test_a_metric_that_can_be_met_is_not_refused(self) -> None:
        assert Paid().evaluate(direct, "Neg", "POS", metric=lt.normalized_match) == 0.5
        assert (
            Paid('["lost", "late"]').evaluate(
                returning(list[Literal["late", "lost"]]), "late, lost", metric=lt.set_match
            )
            == 1.0
        )
        assert Paid("3.5").evaluate(returning(float), "3,5", metric=lt.numeric_match) == 1.0

    @pytest.mark.parametrize(
        ("annotation", "labels", "answer"),
        [
            (Literal["neg", "pos"] | None, ["neg", None], "neg"),
            (Literal["neg", "pos"], [["neg", "maybe"], "pos"], "neg"),
            (Mood, ["GOOD", "bad"], "bad"),
            (bool, [True, False], "true"),
            (bool, ["true", "false"], "true"),
            (int, [1, 2], "1"),
            (int, ["1", "2"], "1"),
            (float, [1, 2.5], "1"),
            (list[str], [["a", "b"], ["c"]], '["c"]'),
            (str, ["anything", "x"], "x"),
            (str, [5, True], "5"),
            (Literal["a", "b"], ["caf\u0301e", "a"], "a"),
        ],
    )
    def test_labels_that_some_answer_equals_pass(self, annotation: Any, labels: list[Any], answer: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LabelWarning)
            assert Paid(answer).evaluate(returning(annotation), *labels) > 0


class TestWhereSomeCannot:
    @pytest.mark.parametrize(
        ("labels", "told"),
        [
            (["neg", "POS"], r"6 of 12 labels.*rows 2, 4, 6, 8, 10, ….*'POS'.*normalized_match"),
            (["neg", "pos", "mixed"], r"4 of 12 labels.*rows 3, 6.*'mixed'"),
            (["neg", None], r"6 of 12 labels.*None.*have no label"),
            (["neg", ""], r"6 of 12 labels.*have no label"),
            (["neg", {"id": 1}], r"6 of 12 labels.*\{'id': 1\}.*mapping"),
        ],
    )
    def test_they_are_named_with_their_rows_and_the_run_goes_on(self, labels: list[Any], told: str) -> None:
        with pytest.warns(LabelWarning, match=told):
            assert Paid().evaluate(direct, *labels) > 0

    def test_a_frame_with_missing_labels_is_told(self) -> None:
        import pandas

        frame = pandas.DataFrame({"text": ["a", "b", "c"], "label": ["neg", float("nan"), "pos"]})
        with pytest.warns(LabelWarning, match=r"1 of 3 labels.*rows 2"):
            lt.evaluate(direct, frame, lt.exact_match("label"), lm=Paid().lm)
        with pytest.raises(DataError, match="'label' is empty in every row"):
            lt.evaluate(direct, frame.assign(label=float("nan")), lt.exact_match("label"), lm=Paid().lm)

    @pytest.mark.parametrize(
        ("program", "labels", "told"),
        [
            (numbered, [0, "one"], r"6 of 12.*'one'.*whole number"),
            (shouted, ["NEG", "pos"], r"6 of 12.*'NEG'"),
            (guarded, ["neg", {"id": 1}], r"6 of 12.*mapping"),
        ],
    )
    def test_a_return_type_says_it_too_if_less_surely(self, program: Any, labels: list[Any], told: str) -> None:
        with pytest.warns(LabelWarning, match=told):
            Paid().evaluate(program, *labels)

    def test_a_program_that_returns_mappings_is_compared_with_them(self) -> None:
        def whole(text: str) -> dict[str, str]:
            return {"queue": sentiment(text=text)}

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert Paid().evaluate(whole, {"queue": "neg"}) == 1.0
            Paid().evaluate(numbered, 0, 1)

    def test_nothing_is_said_of_labels_that_match_or_of_metrics_of_the_users_own(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Paid().evaluate(direct, "neg", "pos")
            lt.evaluate(direct, rows("x", {"y": 1}), lambda example, prediction: 0.0, lm=Paid().lm)


@pytest.mark.parametrize("label", ["three", "", None, {"value": 3}, ["three"], [], True])
def test_a_label_without_a_number_is_refused_before_the_first_call(label: Any) -> None:
    paid = Paid("3")
    with pytest.raises(MetricError, match=r"numeric_match needs a number.*'label'.*row 2"):
        paid.evaluate(returning(str), 3, label, metric=lt.numeric_match)
    assert paid.double.calls == 0
