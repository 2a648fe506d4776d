"""An answer known by its beginning is not written to the end, and is the same answer."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import luthier as lt
from luthier.lm.body import request_body
from luthier.lm.choices import beginnings, completed
from luthier.lm.providers import Address
from luthier.lm.reply import read_reply
from luthier.lm.request import Request
from luthier.program.candidate import Prompt
from luthier.program.render import CallSettings, render
from luthier.types import Endpoint

ADDRESS = Address("m", "http://127.0.0.1/v1", None, None, None)
SPECIES = (" setosa", " versicolor", " virginica")
WORDS = st.text(alphabet="ab é", min_size=1, max_size=6)


@lt.predictor
def queue(ticket: str) -> Literal["billing", "delivery", "account"]:
    """Choose."""
    return lt.predict()


@lt.predictor
def urgent(ticket: str) -> bool | None:
    """Say whether it is urgent."""
    return lt.predict()


@lt.predictor(reasoning=True)
def reasoned(ticket: str) -> Literal["billing", "delivery"]:
    """Think, then choose."""
    return lt.predict()


def asked(predictor: Any, endpoint: Literal["chat", "completions"]) -> Request:
    lm = lt.LM("local/smollm2-135m", endpoint=endpoint)
    return render(predictor.signature, Prompt("Do."), {"ticket": "x"}, lm=lm, settings=CallSettings())


def served(answer: list[str], body: dict[str, Any], chat: bool) -> bytes:
    """Write an answer token by token as llama.cpp does, and stop where it stops."""
    text, written, met = "", 0, ""
    for token in answer:
        text, written = text + token, written + 1
        found = [(text.find(word), word) for word in body.get("stop", ()) if word in text]
        if found:
            at, met = min(found)
            text = text[:at]
            break
    choice = {"message": {"content": text}} if chat else {"text": text}
    usage = {"prompt_tokens": 9, "completion_tokens": written + (not met)}
    verbose = {"__verbose": {"stopping_word": met}} if body.get("verbose") else {}
    return json.dumps({"choices": [{**choice, "finish_reason": "stop"}], "usage": usage, **verbose}).encode()


@given(st.lists(WORDS, min_size=1, max_size=5, unique=True), st.data(), st.booleans())
def test_the_answer_is_the_same_however_it_is_cut_into_tokens(choices: list[str], data: Any, chat: bool) -> None:
    answer = data.draw(st.sampled_from(choices))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(answer) - 1), max_size=5))) if len(answer) > 1 else []
    tokens = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    request = Request(Endpoint.CHAT if chat else Endpoint.COMPLETIONS, prompt="p", choices=tuple(choices))
    body = request_body(request, ADDRESS, llama=True)
    completion = read_reply(served(tokens, body, chat), {}, "here", request)
    assert (completion.text, completion.finish_reason) == (answer, "stop")
    assert completion.usage is not None and completion.usage.completion_tokens <= len(tokens) + 1


@pytest.mark.parametrize("chat", [False, True])
def test_choices_that_differ_in_their_first_token_cost_one(chat: bool) -> None:
    request = Request(Endpoint.CHAT if chat else Endpoint.COMPLETIONS, prompt="p", choices=SPECIES)
    body = request_body(request, ADDRESS, llama=True)
    for tokens in ([" set", "osa"], [" vers", "ic", "olor"], [" v", "irg", "inica"]):
        completion = read_reply(served(tokens, body, chat), {}, "here", request)
        assert completion.text == "".join(tokens)
        assert completion.usage is not None
        assert completion.usage.completion_tokens == (2 if tokens[0] == " v" else 1)


def test_a_choice_that_begins_another_is_known_by_its_end_only() -> None:
    assert beginnings(("no", "not sure", "yes")) == ("not", "y")
    assert completed("no", ("no", "not sure", "yes")) is None


def test_a_beginning_that_could_be_met_inside_another_choice_is_not_looked_for() -> None:
    assert beginnings((" very slow", " very small", " s")) == ()


def test_an_answer_cut_by_its_length_counts_where_only_one_choice_goes_on_like_it() -> None:
    content = json.dumps({"choices": [{"text": " vers", "finish_reason": "length"}]}).encode()
    request = Request(Endpoint.COMPLETIONS, prompt="p", choices=SPECIES)
    assert read_reply(content, {}, "here", request).text == " versicolor"
    assert read_reply(content, {}, "here", request).finish_reason == "stop"


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_a_predictor_with_a_literal_says_what_can_be_answered(endpoint: Literal["chat", "completions"]) -> None:
    space = " " if endpoint == "completions" else ""
    request = asked(queue, endpoint)
    assert request.choices == (f"{space}billing", f"{space}delivery", f"{space}account")
    assert asked(urgent, endpoint).choices == tuple(space + word for word in ("true", "false", "none"))
    assert all(choice in str(request.grammar).replace('"', "") for choice in ("billing", "delivery", "account"))
    assert asked(reasoned, endpoint).choices == ()


def test_what_can_be_answered_is_in_no_key_and_sent_to_nobody_but_llama() -> None:
    request, plain = asked(queue, "completions"), Request(Endpoint.COMPLETIONS, prompt="p", choices=("a", "b"))
    assert plain.key("lm") == Request(Endpoint.COMPLETIONS, prompt="p").key("lm")
    assert "verbose" not in request_body(request, ADDRESS, llama=False)
    assert request_body(request, ADDRESS, llama=True)["stop"] == [*request.stop, " b", " d", " a"]
