"""Predictors that make their own call: what the prompt gives them, and where they may run."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import luthier as lt
from luthier.errors import ConfigError, ProgramFailed

ANY = lt.LM(lambda request: "x")
DEMOS = (
    lt.Demo({"ticket": "Where is it?", "tone": "cross"}, {"queue": "delivery"}),
    lt.Demo({"ticket": "Pay me.", "tone": "calm"}, {"queue": "billing"}),
)
CANDIDATE = lt.Candidate({"queue": lt.Prompt("Name it.", DEMOS)})


@lt.predictor
def queue(ticket: str, tone: str) -> str:
    """Name the queue."""
    prompt: Any = lt.prompt()
    return prompt  # type: ignore[no-any-return]


@lt.predictor
async def aqueue(ticket: str) -> str:
    """Name the queue."""
    return lt.prompt().instruction


def given(candidate: lt.Candidate | None = None) -> Any:
    def program(ticket: str, tone: str) -> Any:
        return queue(ticket=ticket, tone=tone)

    return lt.bind(program, lm=ANY, candidate=candidate)("Log me in.", "calm")


def test_the_prompt_gives_instruction_demos_messages_text_and_a_parser() -> None:
    prompt = given(CANDIDATE)
    assert prompt.instruction == "Name it."
    assert prompt.demos == DEMOS
    messages = prompt.messages()
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert messages[-1]["content"] == "ticket: Log me in.\ntone: calm"
    assert prompt.messages(ticket="Another.")[-1]["content"].startswith("ticket: Another.")
    assert prompt.text().startswith("Name it.")
    assert prompt.text().endswith("queue:")
    assert prompt.parse("billing") == "billing"


def test_demos_stand_in_messages_of_the_users_own() -> None:
    assert given().demo_messages() == []
    assert given(CANDIDATE).demo_messages()[:2] == [
        {"role": "user", "content": "ticket: Where is it?\ntone: cross"},
        {"role": "assistant", "content": "delivery"},
    ]
    shaped = given(CANDIDATE).demo_messages(lambda row: f"<{row['ticket']}>", lambda row: f"[{row['queue']}]")
    assert [message["content"] for message in shaped] == ["<Where is it?>", "[delivery]", "<Pay me.>", "[billing]"]


def test_a_record_stands_as_json_and_a_single_input_as_it_is() -> None:
    @lt.predictor
    def facts(ticket: str) -> Any:
        """Find the facts."""
        return lt.prompt()

    demo = lt.Demo({"ticket": "Where is 7?"}, {"facts": {"number": 7, "city": "Zürich"}})
    bound = lt.bind(
        lambda ticket: facts(ticket=ticket), lm=ANY, candidate=lt.Candidate({"facts": lt.Prompt("", (demo,))})
    )
    assert [message["content"] for message in bound("x").demo_messages()] == [
        "Where is 7?",
        '{"number": 7, "city": "Zürich"}',
    ]


def test_a_conversation_and_an_image_are_given_as_the_client_takes_them() -> None:
    @lt.predictor
    def answer(history: list[lt.Message], ticket: str) -> Any:
        """Answer the customer."""
        prompt = lt.prompt()
        return prompt.messages(), prompt.text(), prompt.demo_messages(), prompt.instruction

    turns = [lt.Message("user", "Hello."), lt.Message("assistant", "Good day.")]
    demo = lt.Demo({"history": turns, "ticket": "Where is it?"}, {"answer": "On its way."})
    for candidate in (None, lt.Candidate({"answer": lt.Prompt("Be kind.", (demo,))})):

        def program(history: list[lt.Message], ticket: str) -> Any:
            return answer(history=history, ticket=ticket)

        messages, text, demos, instruction = lt.bind(program, lm=ANY, candidate=candidate)(turns, "Log me in.")
        assert all(isinstance(message, dict) and isinstance(message["content"], str) for message in messages)
        said = [(message["role"], message["content"]) for message in messages]
        assert ("user", "Hello.") in said
        assert ("assistant", "Good day.") in said
        assert said[-1][0] == "user"
        assert "Log me in." in said[-1][1]
        assert "Log me in." in text
        assert instruction == ("Answer the customer." if candidate is None else "Be kind.")
        assert len(demos) == (0 if candidate is None else 2)


def test_outside_of_any_run_the_body_works_with_its_original_prompt() -> None:
    prompt: Any = queue(ticket="t", tone="calm")
    assert prompt.instruction == "Name the queue."
    assert asyncio.run(aqueue(ticket="t")) == "Name the queue."


def test_luthiers_own_call_still_wants_to_be_told_an_lm() -> None:
    @lt.predictor
    def mine(ticket: str) -> str:
        """Name the queue."""
        return str(getattr(lt, "pred" + "ict")())

    with pytest.raises(ConfigError, match="outside of any run"):
        mine(ticket="t")


def test_while_a_study_runs_a_lost_thread_of_it_is_told_and_not_served() -> None:
    def program(ticket: str) -> str:
        found: list[Any] = []

        def work() -> None:
            try:
                found.append(queue(ticket=ticket, tone="calm"))
            except ConfigError as error:
                found.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if isinstance(found[0], Exception):
            raise found[0]
        return "delivery"

    with pytest.raises((ConfigError, ProgramFailed), match="needs its context"):
        lt.evaluate(program, [{"ticket": "t", "answer": "delivery"}], lt.exact_match, lm=ANY)
