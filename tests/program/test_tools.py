"""Tools: what an LM is told of them, what becomes of their calls, and an agent whose tools are tuned."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic
import pytest

import luthier as lt
from examples import react
from luthier.errors import ConfigError, LabelWarning, SignatureError, Unparseable
from luthier.lm.doubles import ScriptedLM
from luthier.program.candidate import Kind, Prompt
from luthier.program.program import discover
from tests.lm.server import OpenAIServer
from tests.optimizers.studies import event, tune
from tests.studies import world

ran: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


class Place(pydantic.BaseModel):
    city: str
    country: str = "Norway"


@lt.tool(tune=["query"], guard=lt.Guard(max_tokens=100))
def search(query: Annotated[str, "what to look for"], k: int = 3, near: Place | None = None) -> list[str]:
    """Search the archive."""
    ran.append((query, k, near))
    return [query] * k


@lt.tool
async def later(word: str) -> str:
    """Say it later."""
    await asyncio.sleep(0)
    return word


def evaluate(program: Callable[..., Any], store: Path | None = None, rows: int = 4) -> lt.Evaluation:
    data = [{"number": str(i), "answer": "x"} for i in range(rows)]
    return lt.evaluate(program, data, lambda example, prediction: True, lm=lt.LM(ScriptedLM(world.answer)), store=store)


def test_a_tool_is_its_function_and_its_spec_is_what_openai_clients_take() -> None:
    assert search("a", k=2) == ["a", "a"]
    spec = search.spec
    assert spec["type"] == "function"
    assert spec["function"]["name"] == "search" and spec["function"]["description"] == "Search the archive."
    schema = spec["function"]["parameters"]
    assert schema["properties"]["query"] == {"type": "string", "description": "what to look for"}
    assert schema["properties"]["k"] == {"type": "integer", "default": 3}
    assert schema["required"] == ["query"] and "Place" in schema["$defs"]
    json.dumps(spec)


def test_a_candidates_descriptions_are_told_and_the_schema_stays() -> None:
    texts = {text.name: text for text in search.luthier_texts}
    assert list(texts) == ["search.description", "search.query.description"]
    assert all(text.kind is Kind.TOOL for text in texts.values())
    assert texts["search.description"].guard.max_tokens == 100
    said = {"search.description": "Find records.", "search.query.description": "two or three words"}
    candidate = lt.Candidate({name: Prompt(text, kind=Kind.TOOL) for name, text in said.items()})
    original = search.spec["function"]
    with lt.use(lt.LM(lambda request: ""), candidate):
        told = search.spec["function"]
    assert told["description"] == "Find records."
    assert told["parameters"]["properties"]["query"]["description"] == "two or three words"
    told["parameters"]["properties"]["query"]["description"] = "what to look for"
    assert {**told, "description": "Search the archive."} == original


def test_an_lms_arguments_are_read_by_the_signature_and_what_it_wrote_wrongly_is_told_to_it() -> None:
    call = lt.ToolCall("c1", "search", '{"query": "q", "k": "2", "near": {"city": "Oslo"}}')
    assert search.run(call) == ["q", "q"] and ran == [("q", 2, Place(city="Oslo"))]
    answer = search.answer(call)
    assert (answer.role, answer.text, answer.tool_call_id) == ("tool", '["q", "q"]', "c1")
    for wrong in ("{", "[]", '{"k": 1}', '{"query": "q", "k": "many"}'):
        with pytest.raises(Unparseable, match="the arguments of search cannot be read"):
            search.run(wrong)
        assert "cannot be read" in search.answer(lt.ToolCall("c2", "search", wrong)).text
    assert asyncio.run(later.aanswer(lt.ToolCall("c3", "later", '{"word": "hi"}'))).text == "hi"
    with pytest.raises(ConfigError, match="await its aanswer"):
        later.answer(lt.ToolCall("c4", "later", "{}"))


def test_what_cannot_be_a_tool_is_refused() -> None:
    with pytest.raises(SignatureError, match="no description"):
        lt.tool(lambda x: x)
    with pytest.raises(SignatureError, match="tune names 'k'"):
        discover(evaluate, [lt.tool(tune=["k"])(search.__wrapped__)])  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="must be one of run, record, refuse"):
        lt.tool(effects="maybe")  # type: ignore[call-overload]
    with pytest.raises(SignatureError, match="every parameter needs a name"):
        lt.tool(description="Odd.")(lambda *words: words).parameters  # noqa: B018 - read for what it raises


def made(effects: Any, **given: Any) -> lt.Tool[[str], str]:
    @lt.tool(effects=effects, **given)
    def send(word: str) -> str:
        """Send a word out into the world."""
        ran.append(word)
        return f"sent {word} ({len(ran)})"

    return send


def using(send: Callable[[str], str]) -> Callable[..., str]:
    return lambda number: world.parity(number=number) + send("same")


@pytest.mark.parametrize(
    ("effects", "given", "runs"),
    [("run", {}, 8), ("record", {}, 4), ("record", {"pure": True}, 1), ("refuse", {"refused": "sent"}, 0)],
)
def test_what_becomes_of_a_tools_calls_in_evaluations(
    tmp_path: Path, effects: str, given: Mapping[str, Any], runs: int
) -> None:
    send = made(effects, **given)
    first = evaluate(using(send), tmp_path / "store.sqlite")
    again = evaluate(using(send), tmp_path / "store.sqlite")
    assert len(ran) == runs
    if effects != "run":
        assert [one.prediction for one in again.rollouts] == [one.prediction for one in first.rollouts]
    send("outside")
    with lt.use(lt.LM(ScriptedLM(world.answer))):
        send("in a service")
    assert ran[runs:] == ["outside", "in a service"]


def test_a_tool_that_refuses_ends_a_study_that_calls_it_unless_there_is_a_stand_in(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the tool 'send' refuses to run in a study"):
        evaluate(using(made("refuse")))
    assert ran == []

    @lt.tool(effects="refuse", refused=None)
    async def asend(word: str) -> str | None:
        """Send a word."""
        ran.append(word)
        return word

    async def program(number: str) -> str:
        await aparity(number=number)
        return str(await asend("x"))

    assert {one.prediction for one in evaluate(program).rollouts} == {"None"} and ran == []


@lt.predictor(stop=["#parity"])
async def aparity(number: str) -> str:
    """Say whether the number is even."""
    return lt.predict()


# --- an agent --------------------------------------------------------------------------------------------------------


def questions(n: int) -> list[dict[str, str]]:
    cities = list(react.PEOPLE)
    rows = []
    for i in range(n):
        pair = (cities[i % 4], cities[(i + 1 + i // 4) % 4])
        one = pair[0] if i % 3 == 0 or pair[0] == pair[1] else None
        text = (
            f"How many people live in {one}? ({i})" if one else f"How many in {pair[0]} and {pair[1]} together? ({i})"
        )
        rows.append({"question": text, "answer": str(react.PEOPLE[one] if one else sum(react.PEOPLE[c] for c in pair))})
    return rows


def agents_lm(request: lt.Request) -> lt.Completion | str:
    if request.tools:
        return react.toy_model(request)
    text = request.messages[0].text
    if "MODULE:\nregister.description" in text and "proposed instruction" in text:
        return ("Look up facts on one city.", "Return how many people live in a city.")[request.sample % 2]
    return f"Answer the question asked, number {request.sample % 97}, with figures."


def test_an_agents_instruction_and_its_tools_descriptions_are_tuned_and_the_one_that_matters_is_found(
    tmp_path: Path,
) -> None:
    settings = lt.MIPRO(candidates=4, instructions=3, trials=16, minibatch=9, closing=2)
    with pytest.warns(LabelWarning, match="scores 0"):  # without the tool, no answer is right
        result = tune(
            tmp_path / "s", settings, program=react.agent, data=questions(100), lm=lt.LM(ScriptedLM(agents_lm))
        )
    variables = {variable["name"] for variable in event(tmp_path / "s", "space")["variables"]}
    assert variables == {"step.instruction", "register.description.instruction", "add.description.instruction"}
    assert "people" in result.best.prompts["register.description"].instruction
    assert result.decision == "adopt" and result.verdict.before < 0.1 and result.verdict.after > 0.9
    assert (
        (tmp_path / "s" / "prompts" / "register.description.md")
        .read_text(encoding="utf-8")
        .startswith('---\ntool: "register')
    )
    assert lt.Candidate.load(tmp_path / "s" / "prompts") == result.candidate
    assert "step" in event(tmp_path / "s", "manifest")["predictors"][2]["name"]


def test_over_the_wire_tools_calls_and_their_answers_are_openais(tmp_path: Path) -> None:
    def answer(body: Mapping[str, Any]) -> Mapping[str, Any] | str:
        told = [turn for turn in body["messages"] if turn["role"] == "tool"]
        if told:
            return str(told[-1]["content"])
        call = {"id": "c1", "type": "function", "function": {"name": "register", "arguments": '{"city": "Oslo"}'}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        return {
            "choices": [{"message": message, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        }

    with OpenAIServer(answer) as server:
        lm = lt.LM("m", base_url=server.url, api_key="none")
        assert lt.bind(react.agent, lm=lm)("How many people live in Oslo?") == "717710"
    first, second = server.requests
    assert [tool["function"]["name"] for tool in first["tools"]] == ["register", "add"]
    assert [turn["role"] for turn in second["messages"]] == ["system", "user", "assistant", "tool"]
    assert second["messages"][2]["tool_calls"][0]["function"] == {"name": "register", "arguments": '{"city": "Oslo"}'}
    assert second["messages"][3] == {"role": "tool", "content": "717710", "tool_call_id": "c1"}


def test_tools_may_be_given_at_the_call(tmp_path: Path) -> None:
    offered: list[list[str]] = []

    def answer(request: lt.Request) -> str:
        offered.append([tool.name for tool in request.tools])
        return "done"

    @lt.predictor(tools=[search])
    def step(question: str, few: bool) -> lt.Reply:
        """Do it."""
        return lt.predict() if few else lt.predict(tools=[search, later])

    with lt.use(lt.LM(ScriptedLM(answer))):
        assert step("?", True) == lt.Reply("done") and step("?", False).message == lt.Message("assistant", "done")
    assert offered == [["search"], ["search", "later"]]


def test_a_reply_that_is_cut_is_unparseable_and_no_demo_is_made_of_replies(tmp_path: Path) -> None:
    cut = lt.LM(ScriptedLM(lambda request: lt.Completion("It is", "length")))
    with lt.use(cut), pytest.raises(Unparseable, match="not whole: length"):
        react.step(question="?", history=[])
    assert discover(react.agent).original.prompts["step"].kind is Kind.INSTRUCTION
