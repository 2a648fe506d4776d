"""The key of a stored answer: all that can change it, and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from luthier.lm.lm import LM
from luthier.lm.request import ImagePart, Message, OutputSchema, Request, TextPart, Tool
from luthier.types import Endpoint

ASKED = Request(messages=(Message("user", "hi"),))
OTHER: dict[str, Any] = {
    "endpoint": Endpoint.COMPLETIONS,
    "messages": (Message("system", "hi"),),
    "prompt": "hi",
    "temperature": 0.0,
    "top_p": 0.9,
    "max_tokens": 7,
    "stop": ("\n",),
    "seed": 3,
    "tools": (Tool("look", "Look it up.", {"type": "object"}),),
    "schema": OutputSchema("answer", {"type": "object"}),
    "grammar": 'root ::= "a"',
    "extra": {"min_p": 0.1},
    "sample": 5,
}


@pytest.mark.parametrize(
    "name", [field.name for field in fields(Request) if field.name not in ("affinity", "choices", "draw")]
)
def test_whatever_can_change_an_answer_changes_its_key(name: str) -> None:
    assert replace(ASKED, **{name: OTHER[name]}).key("m") != ASKED.key("m")


def test_what_cannot_change_an_answer_is_not_in_its_key() -> None:
    assert replace(ASKED, affinity="predictor").key("m") == ASKED.key("m")
    first, moved = (
        Request(messages=(Message("user", (TextPart("see"), ImagePart("ab12", "image/png", url))),))
        for url in ("https://host/a.png", "data:image/png;base64,AAAA")
    )
    assert first.key("m") == moved.key("m"), "an image is its bytes, wherever they are"


def test_the_key_knows_which_model_answers_where_but_no_credentials() -> None:
    def key(*, at: str = "http://host/v1", name: str = "m", **settings: Any) -> str:
        return ASKED.key(LM(name, base_url=at, **settings).identity)

    assert len({key(), key(name="other"), key(at="http://host:81/v1")}) == 3
    assert key() == key(at="http://ada:secret@host/v1/", api_key="k", timeout=3.0, rpm=5, price=None)
