"""What a predictor's function says about its fields and its instruction."""

from __future__ import annotations

import enum
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional, TypedDict

import pydantic
import pytest

import luthier as lt
from luthier.errors import SignatureError
from luthier.program.shape import type_text


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


@dataclass
class Opinion:
    reasoning: str
    answer: Annotated[bool, "whether it holds"]


class Review(pydantic.BaseModel):
    stars: int = pydantic.Field(ge=1, le=5, description="from one to five")
    title: str | None = None


class Pair(TypedDict):
    left: str
    right: str


def test_the_docstring_is_the_instruction_verbatim() -> None:
    @lt.predictor
    def answer(question: str) -> str:
        """Answer {question}.

        Use   few words.
        """

    assert answer.signature.instruction == "Answer {question}.\n\nUse   few words."


def test_an_instruction_given_may_even_be_empty() -> None:
    @lt.predictor(instruction="")
    def answer(question: str) -> str:
        """Not this."""

    assert answer.signature.instruction == ""


def test_auto_derives_the_instruction_from_the_fields() -> None:
    @lt.predictor(instruction=lt.AUTO, output="c")
    def answer(a: str, b: str) -> str: ...

    assert answer.signature.instruction == "Given the fields `a`, `b`, produce the fields `c`."


def test_no_instruction_at_all_is_an_error_before_any_call() -> None:
    with pytest.raises(SignatureError, match="'answer' has no instruction"):

        @lt.predictor
        def answer(question: str) -> str: ...


def test_without_docstrings_the_error_says_why() -> None:
    code = "import luthier as lt\n@lt.predictor\ndef f(q: str) -> str:\n    '''Answer.'''\n"
    done = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "python -OO strips docstrings" in done.stderr


def test_descriptions_come_from_annotated_and_from_pydantic_fields() -> None:
    @lt.predictor
    def review(
        text: Annotated[str, "what was written"],
        id: Annotated[str, lt.Private],
        lang: Annotated[str, pydantic.Field(description="ISO code")],
    ) -> Review:
        """Rate it."""

    assert [(f.name, f.description, f.private) for f in review.signature.inputs] == [
        ("text", "what was written", False),
        ("id", "", True),
        ("lang", "ISO code", False),
    ]
    assert [(f.name, f.description) for f in review.signature.outputs] == [("stars", "from one to five"), ("title", "")]


def test_a_field_named_reasoning_asks_for_reasoning() -> None:
    @lt.predictor
    def judge(text: str) -> Opinion:
        """Judge."""

    assert judge.signature.reasoning
    assert [f.name for f in judge.signature.outputs] == ["answer"]


@pytest.mark.parametrize(
    ("annotation", "choices"),
    [
        (Literal["a", 2], ("a", "2")),
        (Size, ("SMALL", "LARGE")),
        (bool, ("true", "false")),
        (Optional[Literal["a"]], ("a",)),  # noqa: UP045 - the older spelling is part of the test
        (list[int], ()),
        (Pair, ()),
    ],
)
def test_supported_outputs_know_their_choices(annotation: Any, choices: tuple[str, ...]) -> None:
    def answer(question: str) -> Any:
        """Answer."""

    answer.__annotations__["return"] = annotation
    assert lt.predictor(answer).signature.outputs[0].choices == choices


@pytest.mark.parametrize("annotation", [object, Any, None, type, list[lt.LM]])
def test_an_output_that_no_text_can_give_is_refused_at_once(annotation: Any) -> None:
    def answer(question: str) -> Any:
        """Answer."""

    answer.__annotations__["return"] = annotation
    with pytest.raises(SignatureError, match=r"'answer'.*cannot be an output"):
        lt.predictor(answer)


def test_a_body_that_makes_its_own_call_may_return_anything() -> None:
    @lt.predictor
    def answer(question: str) -> complex:
        """Answer."""
        return complex(len(question))

    assert answer.signature.outputs[0].type_text == "complex"


def test_inputs_without_names_and_missing_return_types_are_refused() -> None:
    with pytest.raises(SignatureError, match="say what it returns"):

        @lt.predictor
        def first(question: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
            """Answer."""

    with pytest.raises(SignatureError, match="every input needs a name"):

        @lt.predictor
        def second(*questions: str) -> str:
            """Answer."""


def test_two_fields_of_one_name_are_refused() -> None:
    with pytest.raises(SignatureError, match="two fields are called 'answer'"):

        @lt.predictor
        def answer(answer: str) -> str:
            """Answer."""


def test_types_defined_later_are_found_at_first_use() -> None:
    @lt.predictor
    def late(question: str) -> Later:
        """Answer."""

    assert late.signature.outputs[0].name == "word"


def test_input_types_that_only_type_checkers_see_do_no_harm() -> None:
    @lt.predictor
    def answer(question: Nowhere) -> str:  # type: ignore[name-defined]  # noqa: F821
        """Answer."""

    assert answer.signature.inputs[0].type_text == "Nowhere"


def test_methods_are_named_after_their_class_and_leave_self_out() -> None:
    class Stage:
        @lt.predictor
        def answer(self, question: str) -> str:
            """Answer."""
            return lt.predict()

    assert Stage.answer.name == "Stage.answer"
    assert [f.name for f in Stage.answer.signature.inputs] == ["question"]


def test_a_static_method_below_the_decorator_is_refused() -> None:
    with pytest.raises(SignatureError, match="above @lt"):
        lt.predictor(staticmethod(lambda: ""))


def test_the_fingerprint_holds_types_but_not_the_instruction() -> None:
    def answer(question: str) -> str:
        """Answer."""

    plain = lt.predictor(answer).signature.fingerprint
    assert lt.predictor(instruction="Otherwise.")(answer).signature.fingerprint == plain
    assert lt.predictor(reasoning=True)(answer).signature.fingerprint != plain
    assert plain.startswith("question: str -> answer: str # b2:")


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (str, "str"),
        (list[str], "list[str]"),
        (str | None, "str | None"),
        (Literal["a", 1], "Literal['a', 1]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Size, "Size(SMALL, LARGE)"),
        ("Forward", "Forward"),
    ],
)
def test_types_are_written_as_one_writes_them(annotation: Any, text: str) -> None:
    assert type_text(annotation) == text


@dataclass
class Later:
    word: str
