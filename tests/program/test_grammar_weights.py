"""Every grammar is one that the embedded engine accepts, and what it lets through can be read."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import pytest

import luthier as lt
from luthier.program.predictor import Predictor
from luthier.program.signature import Signature

pytestmark = pytest.mark.weights


@dataclass
class Item:
    name: str
    size: Literal["small", 'l"arge\\']


@dataclass
class Order:
    reasoning: str
    paid: bool
    count: int
    price: float | None
    note: str


@dataclass
class Basket:
    items: list[Item]
    extra: dict[str, int]


def returning(annotation: Any, *, reasoning: bool = False) -> Predictor[..., Any]:
    def answer(text: str) -> Any:
        """Read the text."""

    answer.__annotations__["return"] = annotation
    return lt.predictor(reasoning=reasoning, output="answer", max_tokens=200)(answer)


TYPED = (
    returning(Literal["small", "large"]),
    returning(bool, reasoning=True),
    returning(int | None),
    returning(Order),
    returning(list[Item]),
    returning(Basket),
)
TEXTS = returning(str, reasoning=True)
"""Held to a grammar as a completion only."""


@pytest.mark.parametrize(
    ("endpoint", "predictor"),
    [*product(("chat", "completions"), TYPED), ("completions", TEXTS)],
    ids=lambda one: one if isinstance(one, str) else one.signature.outputs[0].type_text,
)
def test_the_embedded_engine_accepts_the_grammar(predictor: Predictor[..., Any], endpoint: Any) -> None:
    lm = lt.LM("local/smollm2-135m", endpoint=endpoint, slots=2)
    signature: Signature = predictor.signature
    with lt.use(lm):
        try:
            predictor("Two small boxes, paid.")
        except lt.Unparseable as error:
            # A model this small may run on until it is cut; anything else would be the grammar's fault.
            assert "cut off" in str(error), (signature.line, error.text)
