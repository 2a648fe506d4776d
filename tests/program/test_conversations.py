"""Conversations as inputs: turns of the rendered chat, never flattened into one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import luthier as lt
from luthier.errors import DataError
from luthier.lm.doubles import ScriptedLM
from luthier.lm.request import Message
from luthier.program.candidate import Demo, Prompt
from luthier.program.render import messages, text

EARLIER = [lt.Message("user", "My parcel is late."), lt.Message("assistant", "Which order?")]


@lt.predictor
def answer(history: list[lt.Message], question: str) -> str:
    """Help the customer."""
    return lt.predict()


@lt.predictor
def between(customer: str, history: Sequence[lt.Message] | None, question: str) -> str:
    """Help the customer."""
    return lt.predict()


def roles(turns: Sequence[Message]) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in turns]


def chat(predictor: Any, prompt: Prompt, **inputs: Any) -> list[tuple[str, str]]:
    return roles(messages(predictor.signature, prompt, inputs))


def test_turns_stand_where_the_input_is_declared_after_the_system_message() -> None:
    found = chat(answer, answer.original, history=EARLIER, question="Number 7.")
    assert [role for role, _ in found] == ["system", "user", "assistant", "user"]
    assert found[1:] == [("user", "My parcel is late."), ("assistant", "Which order?"), ("user", "question: Number 7.")]
    found = chat(between, between.original, customer="Ada", history=EARLIER, question="Number 7.")
    assert found[1] == ("user", "customer: Ada") and found[-1] == ("user", "question: Number 7.")
    assert chat(between, between.original, customer="Ada", history=None, question="?")[1:] == [
        ("user", "customer: Ada"),
        ("user", "question: ?"),
    ]


def test_a_conversation_alone_ends_with_its_own_last_turn() -> None:
    @lt.predictor
    def reply(history: list[lt.Message]) -> str:
        """Go on."""
        return lt.predict()

    assert chat(reply, reply.original, history=EARLIER[:1])[1:] == [("user", "My parcel is late.")]


@pytest.mark.parametrize(
    "written",
    [
        {"role": "assistant", "content": "Hm", "tool_calls": [["c", "look", "{}"]]},
        {
            "role": "assistant",
            "content": "Hm",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
        },
        lt.Message("assistant", "Hm", (lt.ToolCall("c", "look", "{}"),)),
    ],
)
def test_turns_may_be_written_as_clients_have_them_and_are_kept_as_json(written: Any) -> None:
    asked: list[lt.Request] = []

    def hear(request: lt.Request) -> str:
        asked.append(request)
        return "ok"

    evaluation = lt.evaluate(
        lambda history, question: answer(history=history, question=question),
        [{"history": [written if isinstance(written, dict) else written.luthier_json()], "question": "?"}],
        lambda example, prediction: True,
        lm=lt.LM(ScriptedLM(hear)),
    )
    assert asked[0].messages[1] == lt.Message("assistant", "Hm", (lt.ToolCall("c", "look", "{}"),))
    kept = evaluation.rollouts[0].trace.calls[0].inputs["history"]
    assert kept == [{"role": "assistant", "content": "Hm", "tool_calls": [["c", "look", "{}"]]}]
    demo = Prompt("Help.", (Demo({"history": kept, "question": "?"}, {"answer": "Yes."}),))
    assert messages(answer.signature, demo, {"history": [], "question": "!"})[1] == asked[0].messages[1]


def test_demos_have_their_conversations_as_turns_too() -> None:
    demo = Demo({"history": [{"role": "user", "content": "Hi"}], "question": "Late?"}, {"answer": "Sorry."})
    found = chat(answer, Prompt("Help.", (demo,)), history=EARLIER, question="7")
    assert [role for role, _ in found] == ["system", "user", "user", "assistant", "user", "assistant", "user"]
    assert found[1:4] == [("user", "Hi"), ("user", "question: Late?"), ("assistant", "Sorry.")]


def test_for_base_models_a_conversation_is_a_value_of_one_line_a_turn() -> None:
    history = [*EARLIER, lt.Message("user", "7\n8")]
    assert text(answer.signature, answer.original, {"history": history, "question": "?"}) == (
        "Help the customer.\n\n"
        "history:\n  user: My parcel is late.\n  assistant: Which order?\n  user: 7\n    8\nquestion: ?\nanswer:"
    )


def test_what_is_no_turn_is_refused() -> None:
    with lt.use(lt.LM(lambda request: "")), pytest.raises(DataError, match="is no turn of a chat"):
        answer(history=[{"role": "stranger", "content": ""}], question="?")  # type: ignore[list-item]


def test_a_body_of_ones_own_gets_the_turns_as_clients_take_them() -> None:
    @lt.predictor
    def own(history: list[lt.Message], question: str) -> list[Any]:
        """Help."""
        return lt.prompt().messages()

    with lt.use(lt.LM(lambda request: "")):
        found = own(history=EARLIER, question="?")
    assert found[1:] == [
        {"role": "user", "content": "My parcel is late."},
        {"role": "assistant", "content": "Which order?"},
        {"role": "user", "content": "question: ?"},
    ]
