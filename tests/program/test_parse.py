"""Parsing: tolerant of form, never guessing."""

from __future__ import annotations

import contextlib
import enum
import json
import unicodedata
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import luthier as lt
from luthier.errors import Unparseable
from luthier.lm.request import Completion, FinishReason
from luthier.program.candidate import Demo, Prompt
from luthier.program.parse import parse
from luthier.program.predictor import Predictor
from luthier.program.render import messages, text
from luthier.program.thoughts import without_thoughts
from luthier.program.values import json_to_value, value_to_json


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


@dataclass
class Opinion:
    reasoning: str
    answer: str
    sure: bool = False


@dataclass
class Team:
    name: str
    people: list[Opinion]


class Stars(pydantic.BaseModel):
    stars: int = pydantic.Field(ge=1, le=5)
    words: list[str] = []


class Pair(TypedDict):
    left: str
    right: int


def returning(annotation: Any, *, reasoning: bool = False) -> Predictor[..., Any]:
    def answer(question: str) -> Any:
        """Answer."""

    answer.__annotations__["return"] = annotation
    return lt.predictor(reasoning=reasoning, output="answer")(answer)


def value(annotation: Any, answer: str, finish: FinishReason = "stop", *, reasoning: bool = False) -> Any:
    return parse(returning(annotation, reasoning=reasoning).signature, Completion(answer, finish)).value


@pytest.mark.parametrize(
    ("annotation", "answer", "expected"),
    [
        (str, "  Paris \n", "Paris"),
        (str, "answer: Paris", "Paris"),
        (str, "**Answer:** Paris", "Paris"),
        (str, "```\nParis\n```", "Paris"),
        (str, '{"answer": "Paris"}', "Paris"),
        (str, "\n  two\n  lines", "two\nlines"),
        (str, "<think>\nanswer: no\n</think>\nParis", "Paris"),
        (str, "Dear Ann,\nAnswer: none yet.", "Dear Ann,\nAnswer: none yet."),
        (str, 'Send {"answer": 1} to it.', 'Send {"answer": 1} to it.'),
        (int, "42", 42),
        (int, "1,234,567.", 1234567),
        (int, "The answer is 42.", 42),
        (int, "-7", -7),
        (int, "3.0", 3),
        (float, "$1,234.50", 1234.5),
        (float, "1e-3", 0.001),
        (bool, "Yes.", True),
        (bool, "FALSE", False),
        (Literal["setosa", "virginica"], ' "Setosa." ', "setosa"),
        (Literal["setosa", "virginica"], "setosa\n\nIts petals are short.", "setosa"),
        (Literal["A", "a"], "a", "a"),
        (Literal["C++", "C"], "C++", "C++"),
        (Literal[1, 2], "2", 2),
        (Mood, "GOOD", Mood.GOOD),
        (Size, "large", Size.LARGE),
        (Size, "1", Size.SMALL),
        (str | None, "None", None),
        (int | None, "n/a", None),
        (int | None, "3", 3),
        (list[str], '{"answer": ["a", "b"]}', ["a", "b"]),
        (list[str], 'Here:\n```json\n["a", "b"]\n```', ["a", "b"]),
        (list[str], "- a\n- b", ["a", "b"]),
        (list[int], '["1", 2]', [1, 2]),
        (list[str], 'As in [1]: {"answer": ["a"]}', ["a"]),
        (tuple[str, ...], '["a"]', ("a",)),
        (list[Mood], '["good"]', [Mood.GOOD]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Opinion, "reasoning: so\n\nanswer: yes\n\nsure: true", Opinion("so", "yes", True)),
        (Opinion, '{"reasoning": "so", "Answer": "yes"}', Opinion("so", "yes")),
        (Opinion, "because\nanswer: yes", Opinion("because", "yes")),
        (Team, '{"name": "n", "people": [{"reasoning": "r", "answer": "a"}]}', Team("n", [Opinion("r", "a")])),
        (Stars, '{"stars": 5}', Stars(stars=5)),
        (Pair, "left: a\nright: 2", {"left": "a", "right": 2}),
    ],
)
def test_answers_are_read_however_they_are_written(annotation: Any, answer: str, expected: Any) -> None:
    assert value(annotation, answer) == expected


@pytest.mark.parametrize(
    ("annotation", "answer"),
    [
        (str, ""),
        (int, "between 3 and 5"),
        (int, "3.7"),
        (int, "2020-01-02"),
        (int, "1/2"),
        (int, "5k"),
        (int, "1,5"),
        (int, "none"),
        (int, "9" * 5000),
        (float, "1e999"),
        (float, "nan"),
        (bool, "yes and no"),
        (Literal["setosa", "virginica"], "setosa or virginica"),
        (Literal["setosa", "virginica"], "It is not setosa"),
        (Literal["setosa", "virginica"], "setosa\nor rather virginica"),
        (Literal["A", "a"], "'A' 'a'"),
        (list[str], "a, b"),
        (list[str], '["a"] or ["b"]'),
        (list[int], '["x"]'),
        (Opinion, "reasoning: so"),
        (Opinion, "answer: yes\nreasoning: so\nanswer: no"),
        (Stars, '{"stars": 9}'),
        (Stars, '{"words": []}'),
        (Team, "[" * 5000),
        (Mood, "reasoning"),
    ],
)
def test_what_would_have_to_be_guessed_is_unparseable(annotation: Any, answer: str) -> None:
    with pytest.raises(Unparseable) as caught:
        value(annotation, answer)
    assert caught.value.text == answer
    assert caught.value.predictor == "answer"


def test_a_cut_answer_counts_only_where_its_value_is_complete() -> None:
    assert value(Literal["setosa", "virginica"], "setosa", "length") == "setosa"
    assert value(Stars, '{"stars": 5} and', "length") == Stars(stars=5)
    with pytest.raises(Unparseable, match="cut off by its length limit before answer"):
        value(Opinion, "reasoning: so it goes on and", "length")
    for annotation, answer in [(str, "Par"), (int, "4"), (Literal["very", "very good"], "very"), (list[str], '["a"')]:
        with pytest.raises(Unparseable):
            value(annotation, answer, "length")


def test_a_refusal_is_unparseable() -> None:
    with pytest.raises(Unparseable, match="refused"):
        parse(returning(str).signature, Completion("I cannot", refusal="I cannot"))
    with pytest.raises(Unparseable, match="content filter"):
        value(str, "text", "content_filter")


def test_reasoning_is_kept_apart() -> None:
    parsed = parse(returning(bool, reasoning=True).signature, Completion("reasoning: a\nb\n\nanswer: no"))
    assert (parsed.outputs, parsed.reasoning, parsed.value) == ({"answer": False}, "a\nb", False)
    open_ended = parse(returning(bool, reasoning=True).signature, Completion(" it is so\nanswer: yes"))
    assert (open_ended.reasoning, open_ended.value) == ("it is so", True)


def test_outputs_are_json() -> None:
    assert parse(returning(Size).signature, Completion("1")).outputs == {"answer": "SMALL"}
    assert parse(returning(Stars).signature, Completion('{"stars": "4"}')).outputs == {"stars": 4}


kinds = st.sampled_from(
    [
        str,
        int,
        float,
        bool,
        Literal["a", "b"],
        Mood,
        Size,
        str | None,
        list[str],
        list[float],
        Opinion,
        Team,
        Stars,
        Pair,
    ]
)
pieces = st.lists(
    st.text()
    | st.sampled_from(
        ["answer:", "reasoning: ", "\n", "  ", "{", "}", '"answer"', "[", "]", "1,000", "```", "a", "null"]
    ),
    max_size=12,
).map("".join)


@given(kinds, pieces | st.text(), st.sampled_from(["stop", "length"]), st.booleans())
def test_any_text_at_all_is_read_or_unparseable(annotation: Any, answer: str, finish: Any, reasoning: bool) -> None:
    with contextlib.suppress(Unparseable):
        json.dumps(
            parse(
                returning(annotation, reasoning=reasoning and annotation is not Opinion).signature,
                Completion(answer, finish),
            ).outputs
        )


# Answers are read in NFC, and what is marked as a thought is no part of them.
words = (
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1)
    .map(lambda word: unicodedata.normalize("NFC", word))
    .filter(lambda word: word.casefold() not in ("none", "null", "n/a") and word.strip("*_#`\"' :{}[]") == word)
    .filter(lambda word: without_thoughts(word) == word)
)


@pytest.mark.parametrize("reasoning", [False, True])
@given(words, words)
def test_what_a_demo_shows_is_read_back(reasoning: bool, answer: str, thought: str) -> None:
    predictor = returning(str, reasoning=reasoning)
    demo = Demo({"question": "q"}, {"answer": answer}, thought)
    shown = messages(predictor.signature, Prompt("", (demo,)), {"question": "r"})[2].text
    assert parse(predictor.signature, Completion(shown)).outputs == {"answer": answer}
    block = text(predictor.signature, Prompt("", (demo,)), {"question": "r"}).split("\n\n")[-2]
    first = "reasoning:" if reasoning else "answer:"
    assert parse(predictor.signature, Completion(block.split(first, 1)[1])).outputs == {"answer": answer}


@pytest.mark.parametrize(
    ("annotation", "given_value"),
    [
        (int, 3),
        (Mood, Mood.BAD),
        (Size, Size.LARGE),
        (list[Mood], [Mood.GOOD]),
        (Opinion, Opinion("r", "a", True)),
        (str | None, None),
    ],
)
def test_values_survive_json(annotation: Any, given_value: Any) -> None:
    data = json.loads(json.dumps(value_to_json(given_value)))
    assert json_to_value(annotation, data) == given_value


def test_what_json_cannot_hold_becomes_its_repr() -> None:
    assert value_to_json({"a": {2, 1}, "b": float("nan"), "c": Stars(stars=1), 4: b"x"}) == {
        "a": [1, 2],
        "b": "nan",
        "c": {"stars": 1, "words": []},
        "4": "b'x'",
    }


def test_brackets_in_the_reasoning_are_no_answer() -> None:
    answer = ' see [1] and [2]\nanswer: ["a"]'
    parsed = parse(returning(list[str], reasoning=True).signature, Completion(answer))
    assert (parsed.reasoning, parsed.value) == ("see [1] and [2]", ["a"])


Queue = Literal["账单", "物流", "返品"]


@pytest.mark.parametrize(
    "answer",
    [
        "账单",
        "账单。",
        "账单！",
        "「账单」",
        "『账单』。",
        "《账单》",
        "（账单）",
        "【账单】",
        "answer：账单",
        "answer： 「账单」。",
        "【answer】：账单",
        "**answer**：账单",
        "\u3000账单\u3000",
        "账单\n因为客户问到了费用。",
        "账单、",
        "账单؛",
    ],
)
def test_punctuation_of_other_scripts_around_a_choice_is_no_part_of_it(answer: str) -> None:
    assert value(Queue, answer) == "账单"


def test_a_choice_brought_up_in_a_text_without_blanks_is_seen() -> None:
    with pytest.raises(Unparseable, match="several"):
        value(Queue, "账单\n但是也可能是物流问题")


@pytest.mark.parametrize(
    ("annotation", "answer", "expected"),
    [
        (Literal["café", "thé"], "cafe\u0301", "café"),
        (Literal["cafe\u0301", "the"], "café.", "cafe\u0301"),
        (Literal["A1", "B2"], "Ａ１", "A1"),
        (Literal["A1", "B2"], '{"answer": "Ｂ２"}', "B2"),
        (Literal["Straße", "Platz"], "STRASSE", "Straße"),
        (int, "１２", 12),
        (float, "－３．５", -3.5),
        (float, "answer：2.5", 2.5),
        (list[str], "1、账单\n2、物流", ["账单", "物流"]),
        (list[str], "・late\n・lost", ["late", "lost"]),
        (str, "cafe\u0301", "café"),
        (bool, "ｙｅｓ。", True),
    ],
)
def test_full_width_and_decomposed_forms_are_read(annotation: Any, answer: str, expected: Any) -> None:
    assert value(annotation, answer) == expected


@pytest.mark.parametrize("answer", ["账单？", "不是账单", "账单物流", "账单或物流。"])
def test_doubt_and_several_choices_stay_unreadable_in_other_scripts(answer: str) -> None:
    with pytest.raises(Unparseable):
        value(Queue, answer)


@pytest.mark.parametrize("answer", ["10³", "３ or ４", "½", "１／２"])
def test_signs_that_are_no_digits_are_not_read_as_such(answer: str) -> None:
    assert value(int, "25 m²") == 25
    with pytest.raises(Unparseable):
        value(int, answer)
