"""Metrics: what they compare, and what a user's metric may take and return."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pydantic
import pytest

import luthier as lt
from luthier.errors import MetricError
from luthier.evaluation.data import Example
from luthier.evaluation.metrics import Metric
from luthier.evaluation.rollout import Score
from luthier.program.trace import Trace

FLOWER = Example({"petal": 1.4, "species": "setosa"}, ["species"])
TWO_LABELS = Example({"petal": 1.4, "species": "setosa", "id": 3}, ["species", "id"])


class Species(enum.Enum):
    SETOSA = "setosa"
    VIRGINICA = "virginica"


@dataclass
class Answer:
    species: str
    why: str = ""


class Model(pydantic.BaseModel):
    species: str
    why: str = ""


def label(value: Any) -> Example:
    return Example({"question": "?", "answer": value}, ["answer"])


class TestExactMatch:
    @pytest.mark.parametrize(
        "prediction",
        ["setosa", " setosa\n", Species.SETOSA, Answer("setosa"), Model(species="setosa"), {"species": "setosa"}],
    )
    def test_it_takes_what_programs_return(self, prediction: Any) -> None:
        assert lt.exact_match(FLOWER, prediction) == 1.0
        assert lt.exact_match("species")(TWO_LABELS, prediction) == 1.0

    @pytest.mark.parametrize("prediction", ["Setosa", "virginica", Species.VIRGINICA, Answer("x"), None, 3])
    def test_anything_else_is_wrong(self, prediction: Any) -> None:
        assert lt.exact_match(FLOWER, prediction) == 0.0

    def test_several_labels_want_a_name(self) -> None:
        with pytest.raises(MetricError, match=r"several: species, id\. Name one: exact_match\('species'\)"):
            lt.exact_match(TWO_LABELS, "setosa")

    def test_no_label_is_told(self) -> None:
        with pytest.raises(MetricError, match="there is none"):
            lt.exact_match(Example({"a": 1}, []), "x")

    def test_an_unknown_column_is_told(self) -> None:
        with pytest.raises(MetricError, match="no column 'kind'; they have petal, species"):
            lt.exact_match("kind")(FLOWER, "x")

    def test_a_prediction_without_the_field_is_told(self) -> None:
        with pytest.raises(MetricError, match=r"no field 'species'.*it has: kind"):
            lt.exact_match(FLOWER, {"kind": "setosa"})

    @pytest.mark.parametrize(("right", "given"), [(5, "5"), ("5", 5), (5, 5.0), (True, "true"), ("True", "True")])
    def test_numbers_and_text_compare_as_text(self, right: Any, given: Any) -> None:
        assert lt.exact_match(label(right), given) == 1.0

    def test_any_of_several_right_answers_will_do(self) -> None:
        assert lt.exact_match(label(["Paris", "paris"]), "paris") == 1.0
        assert lt.exact_match(label(["Paris"]), "Rome") == 0.0
        assert lt.exact_match(label([]), "Rome") == 0.0
        assert lt.exact_match(label(["a", "b"]), ["a", "b"]) == 1.0
        assert lt.exact_match(label(["a", "b"]), ["b", "a"]) == 0.0

    def test_a_whole_mapping_is_compared_whole(self) -> None:
        assert lt.exact_match("out")(Example({"out": {"x": 1}}, ["out"]), {"x": 1}) == 1.0

    def test_it_is_shown_as_written(self) -> None:
        assert repr(lt.exact_match) == "exact_match()"
        assert repr(lt.exact_match(field="species")) == "exact_match('species')"

    def test_an_unknown_setting_is_told(self) -> None:
        with pytest.raises(MetricError, match="no setting 'fuzzy'"):
            lt.exact_match("species", fuzzy=1)


def test_normalized_match_ignores_case_punctuation_and_articles() -> None:
    assert lt.normalized_match(label("The  Beatles!"), "beatles") == 1.0
    assert lt.normalized_match(label("Beatles"), "The Rolling Stones") == 0.0


@pytest.mark.parametrize(
    ("right", "given", "f1"),
    [
        ("the cat sat", "cat sat", 1.0),
        ("a b c d", "b c x y", 0.5714285714285714),  # "a" is an article
        ("x", "", 0.0),
        ("the", "", 1.0),
        ("red red blue", "red", 0.5),
        (["Paris", "city of Paris"], "city of paris", 1.0),
    ],
)
def test_token_f1_is_squads(right: Any, given: str, f1: float) -> None:
    assert lt.token_f1(label(right), given) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("right", "given", "found"),
    [
        ("Paris", "It is paris, France.", True),
        ("no", "I know", False),
        ("no", "No.", True),
        ("city of light", "The City of Light!", True),
        ("東京", "それは東京です", True),
        ("x", "", False),
    ],
)
def test_contains_looks_for_whole_words(right: str, given: str, found: bool) -> None:
    assert lt.contains(label(right), given) == float(found)


@pytest.mark.parametrize(
    ("right", "given", "found"),
    [
        (42, "The answer is 42.", True),
        ("#### 1,234", "so $1,234.00", True),
        (3, "5-3", True),
        (-3, "x = -3", True),
        (-3, "x = −3", True),
        (0.5, ".5", True),
        (2000, "2e3", True),
        (7, "7 of 9", False),
        (7, "none", False),
        (7, True, False),
        (7, 7.0, True),
    ],
)
def test_numeric_match_reads_the_last_number(right: Any, given: Any, found: bool) -> None:
    assert lt.numeric_match(label(right), given) == float(found)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        # decimal commas and points
        ("3,5", 3.5),
        ("0,125", 0.125),
        ("1234,567", 1234.567),
        ("-0,75", -0.75),
        ("3.125", 3.125),
        # separated thousands
        ("1,234", 1234),
        ("1,234,567.89", 1234567.89),
        ("1.234,50", 1234.5),
        ("1.234.567", 1234567),
        ("12 500,00 €", 12500),
        ("12\u00a0500", 12500),
        ("1\u202f234\u202f567,8", 1234567.8),
        ("1'234.50", 1234.5),
        ("1’234", 1234),
        ("12,34,567.5", 1234567.5),
        ("1_000_000", 1000000),
        # units, percent, currencies
        ("5 kg", 5),
        ("5kg", 5),
        ("25 m²", 25),
        ("25 m2", 25),
        ("€ 1.234,50", 1234.5),
        ("USD12.50", 12.5),
        ("-$5", -5),
        ("12,5 %", 12.5),
        ("价格是５元", 5),
        # signs
        ("−3", -3),
        ("–3,5", -3.5),
        ("5 - 3", 3),
        ("- 3", 3),
        ("5–7", 7),
        # fractions
        ("1/2", 0.5),
        ("3 1/2", 3.5),
        ("½", 0.5),
        ("3½", 3.5),
        ("2 ¾ cups", 2.75),
        ("3/4/2024", 2024),
        # powers of ten
        ("2e3", 2000),
        ("1.5E-3", 0.0015),
        ("2 × 10^3", 2000),
        ("2,5·10⁻³", 0.0025),
        ("10^6", 1000000),
        # digits of other scripts
        ("１２３．５", 123.5),
        ("٣٫٥", 3.5),
        ("१२", 12),
        # several numbers: the last
        ("3,4,5", 5),
        ("on 12.05.2024", 2024),
        ("18/3 = 6", 6),
    ],
)
def test_numbers_are_read_as_people_write_them(written: str, number: float) -> None:
    assert lt.numeric_match(label(number), written) == 1.0
    assert lt.numeric_match(label(written), f"It is {number!r}.") == 1.0
    assert lt.numeric_match(label(written), written) == 1.0
    assert lt.numeric_match(label(number), str(number + 1)) == 0.0


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("3,5", "5"),
        ("1.234,50", "50"),
        ("12 500", "500"),
        ("1/2", "2"),
        ("2 × 10^3", "3"),
        ("3½", "31/2"),
        (7, "1e999"),
    ],
)
def test_a_part_of_a_number_is_not_the_number(right: Any, wrong: str) -> None:
    assert lt.numeric_match(label(right), wrong) == 0.0


@pytest.mark.parametrize(
    ("right", "given", "found"),
    [
        ("12 %", "0.12", True),
        (0.12, "12%", True),
        ("12 %", "12", True),
        ("12 %", "12 percent", True),
        ("12 %", "0.12 %", False),
        (12, "1200 %", True),
    ],
)
def test_a_percentage_is_its_number_or_its_share(right: Any, given: str, found: bool) -> None:
    assert lt.numeric_match(label(right), given) == float(found)


LATE = [
    ["late", "refund"],
    ["refund", "late", "late"],
    ("refund", "late"),
    {"late", "refund"},
    "['late', 'refund']",
    '["refund", "late"]',
    "{'late', 'refund'}",
    "late, refund",
    "refund;late",
    "Late | Refund",
    "late\nrefund",
    "- late\n- refund\n",
    "1. late\n2. refund",
    "late，refund",
    "refund、late",
]


@pytest.mark.parametrize("right", [items for items in LATE if not isinstance(items, set)])
@pytest.mark.parametrize("given", LATE)
def test_sets_match_whatever_their_order_and_form(right: Any, given: Any) -> None:
    assert lt.set_match(label(right), given) == 1.0


@pytest.mark.parametrize(
    ("right", "given", "same"),
    [
        (["late", "refund"], ["late"], False),
        (["late"], ["late", "refund"], False),
        (["late", "refund"], "late refund", False),
        ([], [], True),
        (None, [], True),
        ("", "[]", True),
        ([], ["late"], False),
        ([1, 2], ["2", "1"], True),
        (["C++"], ["C"], False),
        ("Smith, J.; Doe, A.", ["Doe, A.", "Smith, J."], True),
        (["café"], ["cafe\u0301"], True),
        ([Species.SETOSA], ["setosa"], True),
        ([{"a": 1, "b": 2}], [{"b": 2, "a": 1}], True),
        ("late", ["late"], True),
    ],
)
def test_sets_differ_where_an_item_does(right: Any, given: Any, same: bool) -> None:
    assert lt.set_match("tags")(Example({"tags": right}, ["tags"]), given) == float(same)
    assert Metric.of(lt.set_match("tags")).is_quick


@pytest.mark.parametrize(
    ("right", "given"),
    [
        ("账单", "账单。"),
        ("東京", "「東京」！"),
        ("ABC 123", "ＡＢＣ　１２３"),
        ("Straße", "STRASSE"),
        ("cafe\u0301", "Café"),
        ("co-op", "“co‑op”…"),
        ("soft", "so\u00adft"),
        ("ﬁne", "fine"),
    ],
)
def test_normalized_match_knows_other_scripts_and_ways_of_spelling(right: str, given: str) -> None:
    assert lt.normalized_match(label(right), given) == 1.0
    assert lt.contains(label(right), given) == 1.0
    assert lt.token_f1(label(right), given) == 1.0


def test_exact_match_compares_letters_not_the_ways_to_spell_them() -> None:
    assert lt.exact_match(label("cafe\u0301"), "café") == 1.0
    assert lt.exact_match(label(["cafe\u0301", "b"]), ["café", "b"]) == 1.0
    assert lt.exact_match(label("Ａ"), "A") == 0.0
    assert lt.exact_match(label(["b", "a"]), {"a", "b"}) == 1.0, "a set has no order to be wrong"


def test_numeric_match_has_a_tolerance() -> None:
    assert lt.numeric_match("answer", tolerance=0.1)(label(3.14), "3.2") == 1.0
    assert lt.numeric_match(tolerance=0.01)(label(3.14), "3.2") == 0.0
    with pytest.raises(MetricError, match="needs a number"):
        lt.numeric_match(label("three"), "3")


def scored(metric: Any, prediction: Any = "setosa", trace: Trace | None = None) -> Score:
    made = Metric.of(metric)
    return made.read(made.call(FLOWER, prediction, Trace() if trace is None else trace), FLOWER)


class TestUsersMetrics:
    @pytest.mark.parametrize(
        ("returned", "value"),
        [(True, 1.0), (False, 0.0), (0.25, 0.25), (1, 1.0), (np.float64(0.5), 0.5), (np.True_, 1.0)],
    )
    def test_a_bool_or_a_number_is_a_score(self, returned: Any, value: float) -> None:
        assert scored(lambda example, prediction: returned) == Score(value)

    def test_rounding_is_forgiven(self) -> None:
        assert scored(lambda example, prediction: 0.1 + 0.2 + 0.7 + 1e-12).value == 1.0

    def test_a_score_keeps_its_feedback_and_measures(self) -> None:
        score = scored(lambda example, prediction: Score(True, "good", {"length": np.float64(3)}))
        assert score == Score(1.0, "good", {"length": 3.0})
        assert type(score.value) is float

    @pytest.mark.parametrize(
        "returned",
        ["yes", None, float("nan"), 1.5, -0.1, [1], Score(2.0), Score(float("nan")), Score(1.0, measures={"a": "x"})],  # type: ignore[dict-item]
    )
    def test_anything_else_is_told_with_example_and_value(self, returned: Any) -> None:
        with pytest.raises(MetricError, match=r"(?s)returned .*Return a bool.*species='setosa'"):
            scored(lambda example, prediction: returned)

    def test_a_trace_goes_only_where_it_has_no_default(self) -> None:
        trace = Trace()

        def three(example: Any, prediction: Any, trace: Trace) -> bool:
            return trace is expected

        def default(example: Any, prediction: Any, trace: Any = None) -> bool:
            return trace is None

        def keyword(example: Any, prediction: Any, *, trace: Trace) -> bool:
            return trace is expected

        expected = trace
        for metric in (three, default, keyword):
            assert scored(metric, trace=trace).value == 1.0
        assert Metric.of(three).needs_trace
        assert not Metric.of(default).needs_trace

    @pytest.mark.parametrize(
        "metric",
        [
            lambda: 1,
            lambda example: 1,
            lambda a, b, c, d: 1,
            lambda a, b, *, lm: 1,
            lambda a, b, c, *, trace: 1,
            "exact_match",
            Answer,
        ],
    )
    def test_a_metric_of_the_wrong_shape_is_told(self, metric: Any) -> None:
        with pytest.raises(MetricError, match=r"example, prediction"):
            Metric.of(metric)

    @pytest.mark.parametrize(
        "feedback", ["", "too long", {"queue": "name a team"}, {}, MappingProxyType({"queue": "", "reply": "shorter"})]
    )
    def test_a_score_with_feedback_may_come_in_any_form_that_peers_return(self, feedback: Any) -> None:
        class Judged:
            score = 0.5

        judged = Judged()
        judged.feedback = feedback  # type: ignore[attr-defined]
        told = feedback if isinstance(feedback, str) else dict(feedback)
        for returned in (
            Score(0.5, feedback),
            {"score": 0.5, "feedback": feedback},
            MappingProxyType({"score": np.float64(0.5), "feedback": feedback, "notes": 1}),
            SimpleNamespace(score=0.5, feedback=feedback),
            judged,
        ):
            assert scored(lambda example, prediction, made=returned: made) == Score(0.5, told)

    @pytest.mark.parametrize("returned", [{"score": True}, {"score": 1, "feedback": None}, SimpleNamespace(score=1)])
    def test_feedback_may_be_left_out(self, returned: Any) -> None:
        assert scored(lambda example, prediction: returned) == Score(1.0)

    def test_measures_come_along(self) -> None:
        returned = {"score": 1, "feedback": "", "measures": {"length": 3}}
        assert scored(lambda example, prediction: returned) == Score(1.0, measures={"length": 3.0})

    @pytest.mark.parametrize(
        "returned",
        [
            {"feedback": "no score"},
            {"score": None, "feedback": ""},
            {"score": "1"},
            {"score": 3, "feedback": ""},
            {"score": 1, "feedback": 3},
            {"score": 1, "feedback": {"queue": None}},
            Score(1.0, {1: "x"}),  # type: ignore[dict-item]
            SimpleNamespace(score=float("nan")),
        ],
    )
    def test_feedback_without_a_score_and_scores_that_are_none_are_told(self, returned: Any) -> None:
        with pytest.raises(MetricError, match=r"(?s)returned .*score.*species='setosa'"):
            scored(lambda example, prediction: returned)

    def test_gepas_form_is_asked_about_the_whole_program(self) -> None:
        asked: list[tuple[Any, ...]] = []

        def gepa(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
            asked.append((trace, pred_name, pred_trace))
            return {"score": float(pred == gold.species), "feedback": "look at the petal"}

        def required(gold: Any, pred: Any, trace: Any, pred_name: str | None, pred_trace: Any) -> float:
            asked.append((trace, pred_name, pred_trace))
            return 1.0

        def keyword(gold: Any, pred: Any, *, pred_name: str | None, other: Any) -> float:
            asked.append((other, pred_name, other))
            return 1.0

        def alone(gold: Any, pred: Any, pred_name: Any) -> float:
            asked.append((None, pred_name, None))
            return 1.0

        class Gepa:
            def __call__(self, gold: Any, pred: Any, trace: Any, pred_name: Any = "x", pred_trace: Any = "x") -> float:
                asked.append((trace, pred_name, pred_trace))
                return 1.0

        trace = Trace()
        assert scored(gepa, trace=trace) == Score(1.0, "look at the petal")
        assert [scored(one, trace=trace).value for one in (required, keyword, alone, Gepa())] == [1.0] * 4
        nothing = (None, None, None)
        assert asked == [nothing, (trace, None, None), nothing, nothing, (trace, None, None)]
        assert [Metric.of(one).needs_trace for one in (gepa, required, keyword, alone)] == [False, True, False, False]

    def test_metrics_may_be_objects_and_partials(self) -> None:
        class Same:
            def __call__(self, example: Any, prediction: Any) -> bool:
                return bool(example.species == prediction)

        def threshold(minimum: float, example: Any, prediction: Any) -> bool:
            return len(prediction) > minimum

        assert scored(Same()).value == 1.0
        assert scored(partial(threshold, 3)).value == 1.0
        assert Metric.of(Same()).name == "Same"

    def test_a_metric_is_made_once(self) -> None:
        metric = Metric.of(lt.exact_match)
        assert Metric.of(metric) is metric
        assert metric.is_quick

    def test_metrics_that_differ_have_identities_that_differ(self) -> None:
        metrics: list[Any] = [
            lt.exact_match,
            lt.exact_match("species"),
            lt.token_f1("species"),
            lt.numeric_match,
            lt.numeric_match(tolerance=0.1),
            lt.set_match,
            lt.judge("Is it kind?"),
            lt.judge("Is it true?"),
            lt.judge("Is it true?", lm=lt.LM(lambda request: "yes")),
            lambda example, prediction: True,
        ]
        assert len({Metric.of(metric).identity for metric in metrics}) == len(metrics)
        assert Metric.of(lt.exact_match("species")).identity == Metric.of(lt.exact_match(field="species")).identity

    def test_what_can_be_checked_beforehand_is(self) -> None:
        with pytest.raises(MetricError, match="several"):
            Metric.of(lt.exact_match).check(TWO_LABELS)
        Metric.of(lt.exact_match("id")).check(TWO_LABELS)
        Metric.of(lambda example, prediction: True).check(TWO_LABELS)
