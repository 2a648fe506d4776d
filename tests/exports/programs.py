"""Predictors of every kind of signature, and strategies for the prompts and inputs they may meet."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from hypothesis import strategies as st
from pydantic import BaseModel

import luthier as lt
from luthier.program.predictor import Predictor

Queue = Literal["billing", "delivery", "account"]


class Mood(enum.Enum):
    CALM = 1
    ANGRY = "furious"


@dataclass
class Facts:
    names: list[str]
    year: int | None
    mood: Mood
    note: str = "none given"
    tags: list[str] = field(default_factory=lambda: ["new"])


@dataclass
class Verdict:
    reasoning: str
    holds: bool
    score: float


class Place(BaseModel):
    street: str
    number: int = 1


class Parcel(BaseModel):
    to: Place
    weights: list[float]


@lt.predictor
def complaint(ticket: Annotated[str, "a customer's {message}"]) -> str:
    """Say in one sentence what the customer wants."""
    return lt.predict()


@lt.predictor(max_tokens=20, temperature=0.3, stop=["\n\n"])
def queue(complaint: str, hints: list[str], tries: int = 2) -> Queue:
    """Choose the queue that should handle this."""
    return lt.predict()


@lt.predictor(reasoning=True)
def answer(context: list[str], question: Annotated[str, "what to answer"]) -> str:
    """Answer the question."""
    return lt.predict()


@lt.predictor
def facts(document: str, secret: Annotated[str, lt.Private] = "") -> Facts:
    """List the facts."""
    return lt.predict()


@lt.predictor
def verdict(claim: str) -> Verdict:
    """Judge the claim."""
    return lt.predict()


@lt.predictor
def count(text: str) -> int | None:
    """Count."""
    return lt.predict()


@lt.predictor
def share(text: str) -> float:
    """Estimate."""
    return lt.predict()


@lt.predictor
def words(text: str) -> set[str]:
    """List the words."""
    return lt.predict()


@lt.predictor
def parcel(text: str) -> Parcel:
    """Read the address."""
    return lt.predict()


@lt.predictor
def scores(text: str) -> dict[str, int]:
    """Score each."""
    return lt.predict()


@lt.predictor
def holds(text: str) -> bool:
    """Does it hold?"""
    return lt.predict()


@lt.predictor
def mood(text: str) -> Mood:
    """Name the mood."""
    return lt.predict()


class Desk:
    @lt.predictor
    def urgency(self, ticket: str) -> Literal[1, 2, 3]:
        """Judge from 1 to 3."""
        return lt.predict()


def program(ticket: str) -> list[Any]:
    desk = Desk()
    return [
        complaint(ticket=ticket),
        queue(complaint=ticket, hints=[]),
        answer(context=[], question=ticket),
        facts(document=ticket),
        verdict(claim=ticket),
        *(each(text=ticket) for each in (count, share, words, parcel, scores, holds, mood)),
        desk.urgency(ticket=ticket),
    ]


PREDICTORS: tuple[Predictor[..., Any], ...] = (
    *(complaint, queue, answer, facts, verdict, count, share, words, parcel, scores, holds, mood),
    Desk.urgency,
)

TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            "{ticket} {{ticket}} {% if x %} {# no #} {",
            'quo"tes \'and\' """three""" `ticks` \\ \\n %s $x',
            "two\nlines\n\n  three\n",
            "reasoning: none\nqueue: billing",
            "\r\nwindows\r line ends\ttabs",
            "\u202e\u2028\x00\x7f\x85 é 漢字 🎻",
        ]
    ),
    st.text(alphabet=st.characters(exclude_categories=()), max_size=40),
    st.text(alphabet="{}%#\n\"'\\ ab:", max_size=20),
)
"""Half characters included: a model may write one."""

VALUES = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=5,
)


def inputs_of(predictor: Predictor[..., Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return strategies for all inputs of a predictor."""
    return st.fixed_dictionaries({field.name: VALUES for field in predictor.signature.inputs})


def prompts_of(predictor: Predictor[..., Any]) -> st.SearchStrategy[lt.Prompt]:
    """Return a strategy for tuned prompts of a predictor: any instruction, a few demos, some without reasoning."""
    outputs = st.fixed_dictionaries({field.name: VALUES for field in predictor.signature.outputs})
    reasoning = st.none() | TEXTS if predictor.signature.reasoning else st.none()
    demos = st.builds(lt.Demo, inputs_of(predictor), outputs, reasoning)
    return st.builds(lt.Prompt, TEXTS, st.lists(demos, max_size=3).map(tuple))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Predictor[..., Any], lt.Prompt, dict[str, Any]]:
    """Draw a predictor, a tuned prompt of it, and inputs."""
    predictor = draw(st.sampled_from(PREDICTORS))
    return predictor, draw(prompts_of(predictor)), draw(inputs_of(predictor))
