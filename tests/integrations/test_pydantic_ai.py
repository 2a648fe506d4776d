"""pydantic-ai agents as predictors: their client connected, their instructions tuned, all else left as it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import luthier as lt
from luthier.canonical import uniform_order
from luthier.errors import BudgetExhausted, ConfigError, Unparseable
from luthier.evaluation.rollout import Outcome
from tests.lm.server import Fault, OpenAIServer, reply
from tests.repository.desk import tickets

pytestmark = pytest.mark.integrations

ROWS = [{"ticket": "Where is parcel 7?", "queue": "delivery"}]
RULE = "Sort the ticket."


class Triage(BaseModel):
    queue: Literal["billing", "delivery", "account"]
    urgent: bool


@pytest.fixture(autouse=True)
def pydantic_ai() -> Any:
    return pytest.importorskip("pydantic_ai")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(answer) as served:
        yield served


def answer(body: Mapping[str, Any]) -> str | Mapping[str, Any]:
    """Call the tool that looks an order up, then give the answer in the form asked; write instructions otherwise."""
    messages = body["messages"]
    names = [tool["function"]["name"] for tool in body.get("tools", ())]
    triage = {"queue": queue_of(messages), "urgent": False}
    if "look_up" in names and "slot 7" not in json.dumps(messages):
        return calling(body, "look_up", {"number": 7})
    if "final_result" in names:
        keys = body["tools"][-1]["function"]["parameters"]["properties"]
        return calling(body, "final_result", {"response": ["a", "b"]} if "response" in keys else triage)
    if "response_format" in body:
        return json.dumps(triage)
    if str(messages[0]["content"]).startswith("Sort"):
        return str(triage["queue"])
    if "proposed instruction" not in str(messages):
        return "Complaints of customers."
    number = uniform_order("proposal", json.dumps(messages)) % 997
    return f"Read the customer's words carefully, then answer (way {number})."


def queue_of(messages: Any) -> str:
    asked = next(str(m["content"]) for m in reversed(messages) if m["role"] == "user")
    words = {"billing": ("charged", "invoice", "refund"), "account": ("log in", "profile", "name")}
    right = next((queue for queue, known in words.items() if any(word in asked for word in known)), "delivery")
    share = 0.9 if "carefully" in str(messages[0]["content"]) else 0.4
    known = uniform_order("queue", asked) / 2**64 < share or "parcel 7" in asked
    return right if known else {"billing": "account", "delivery": "billing", "account": "delivery"}[right]


def calling(body: Mapping[str, Any], name: str, arguments: Any) -> dict[str, Any]:
    call = {"id": f"call-{name}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    told = reply(dict(body), "x" * 40)
    return {**told, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}


def openai_model(server: OpenAIServer) -> Any:
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return OpenAIChatModel("m", provider=OpenAIProvider(base_url=server.url, api_key="k"))


def agent(server: OpenAIServer, *, model: Any = None, **settings: Any) -> Any:
    from pydantic_ai import Agent

    return Agent(openai_model(server) if model is None else model, **{"instructions": RULE, **settings})


def desk(agent: Any) -> Any:
    async def handle(ticket: str) -> str:
        output = (await agent.run(ticket)).output
        return output.queue if isinstance(output, Triage) else str(output)

    return handle


def once(plain: Any, program: Any) -> Any:
    """Run a program on a loop of its own, and close the agent's connections with it."""

    async def main() -> Any:
        async with plain:
            return await program("Where is parcel 7?")

    return asyncio.run(main())


def evaluate(program: Any, server: OpenAIServer, rows: Any = ROWS, **settings: Any) -> lt.Evaluation:
    lm = lt.LM("m", base_url=server.url)
    return lt.evaluate(program, rows, lt.exact_match("queue"), lm=lm, **settings)


def candidate(instruction: str, *demos: lt.Demo) -> lt.Candidate:
    return lt.Candidate({"triage": lt.Prompt(instruction, demos)})


def tuned(plain: Any, **settings: Any) -> Any:
    from luthier.integrations.pydantic_ai import tunable

    return tunable(plain, name="triage", **settings)


def with_tool(plain: Any) -> Any:
    @plain.tool_plain  # type: ignore[untyped-decorator]
    def look_up(number: int) -> str:
        """Look an order up."""
        return f"slot {number}"

    return plain


FORMS = ["tool", "native", "prompted", "text"]


def output_of(form: str) -> Any:
    from pydantic_ai import NativeOutput, PromptedOutput

    return {"tool": Triage, "native": NativeOutput(Triage), "prompted": PromptedOutput(Triage), "text": str}[form]


@pytest.mark.parametrize("form", FORMS)
def test_with_the_original_prompt_the_untouched_agents_bytes_leave_everywhere(server: OpenAIServer, form: str) -> None:
    plain = with_tool(agent(server, output_type=output_of(form)))
    program = desk(tuned(plain))
    assert once(plain, desk(plain)) == "delivery"
    before = list(server.bodies)
    assert len(before) == 2
    for run in (
        lambda: evaluate(program, server),
        lambda: once(plain, lt.bind(program, lm=lt.LM(lambda request: "x"))),
        lambda: once(plain, program),
    ):
        server.bodies.clear()
        run()
        assert server.bodies == before


def test_the_calls_of_an_agent_are_its_predictors_tools_included(server: OpenAIServer, tmp_path: Path) -> None:
    program = desk(tuned(with_tool(agent(server, output_type=Triage))))
    for _ in range(2):
        found = evaluate(program, server, store=tmp_path / "s.sqlite")
        [call] = found.rollouts[0].trace.calls
        assert (call.predictor, call.inputs) == ("triage", {"user_prompt": "Where is parcel 7?"})
        assert call.outputs == {"queue": "delivery", "urgent": False}
        assert call.usage is not None
        assert (call.usage.calls, found.unmetered) == (2, {})
        assert call.usage.prompt_tokens > 0
    assert len(server.bodies) == 2


def test_they_are_retried_and_capped(server: OpenAIServer) -> None:
    program = desk(tuned(agent(server, output_type=Triage)))
    server.faults[:] = [Fault(500), Fault(429, headers={"retry-after": "0"})]
    assert evaluate(program, server).mean == 1.0
    rows = [{"ticket": f"Where is parcel 7, part {i}?", "queue": "delivery"} for i in range(9)]
    with pytest.raises(BudgetExhausted):
        evaluate(program, server, rows, budget=lt.Budget(lm_calls=4), concurrency=2)


DEMO = lt.Demo({"user_prompt": "Pay me."}, {"queue": "billing", "urgent": True})
TEXT_DEMO = lt.Demo({"user_prompt": "Pay me."}, {"triage": "billing"})


@pytest.mark.parametrize("form", FORMS)
def test_a_candidates_instruction_and_demos_take_the_originals_place(server: OpenAIServer, form: str) -> None:
    plain = agent(server, output_type=output_of(form))
    program = desk(tuned(plain))
    shown = candidate("Sort it carefully.", TEXT_DEMO if form == "text" else DEMO)
    assert evaluate(program, server, candidate=shown).mean == 1.0
    messages = server.requests[0]["messages"]
    assert messages[0]["content"].startswith("Sort it carefully.")
    assert RULE not in json.dumps(messages)
    assert [m["content"] for m in messages if m["role"] == "user"] == ["Pay me.", "Where is parcel 7?"]
    told = next(m for m in messages if m["role"] == "assistant")
    if form == "tool":
        assert json.loads(told["tool_calls"][0]["function"]["arguments"]) == {"queue": "billing", "urgent": True}
        assert messages[messages.index(told) + 1]["role"] == "tool"
    elif form == "text":
        assert told["content"] == "billing"
    else:
        assert json.loads(told["content"]) == {"queue": "billing", "urgent": True}
    server.bodies.clear()
    once(plain, lt.bind(program, lm=lt.LM(lambda request: "x"), candidate=shown))
    assert json.loads(server.bodies[0])["messages"] == messages


def test_a_system_prompt_is_tuned_and_what_is_dynamic_stays(server: OpenAIServer) -> None:
    plain = agent(server, instructions=None, system_prompt=RULE, output_type=Triage)

    @plain.system_prompt  # type: ignore[untyped-decorator]
    def today() -> str:
        return "Today is Monday."

    @plain.instructions  # type: ignore[untyped-decorator]
    def manners() -> str:
        return "Be kind."

    program = desk(tuned(plain))
    assert evaluate(program, server, candidate=candidate("Sort it carefully.", DEMO)).mean == 1.0
    system = [m["content"] for m in server.requests[0]["messages"] if m["role"] == "system"]
    assert "Sort it carefully." in "\n".join(system)
    assert {"Today is Monday.", "Be kind."} <= set("\n\n".join(system).split("\n\n"))
    assert server.requests[0]["messages"][-1] == {"role": "user", "content": "Where is parcel 7?"}


def test_an_agent_without_instructions_gets_them(server: OpenAIServer) -> None:
    program = desk(tuned(agent(server, instructions=None, output_type=Triage)))
    evaluate(program, server, candidate=candidate("Sort it carefully."))
    assert server.requests[0]["messages"][0] == {"role": "system", "content": "Sort it carefully."}


def test_a_conversation_keeps_its_history_behind_the_demos(server: OpenAIServer) -> None:
    from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, UserPromptPart

    history = [ModelRequest([UserPromptPart("Hello.")]), ModelResponse([TextPart("Good day.")])]
    chat = tuned(agent(server, output_type=Triage))

    async def handle(ticket: str) -> str:
        return str((await chat.run(ticket, message_history=history)).output.queue)

    evaluate(handle, server, candidate=candidate("Sort it carefully.", DEMO))
    said = [m["content"] for m in server.requests[0]["messages"] if m["role"] == "user"]
    assert said == ["Pay me.", "Hello.", "Where is parcel 7?"]


def test_a_list_is_shown_in_the_wrapping_that_the_output_tool_wants(server: OpenAIServer) -> None:
    lists = tuned(agent(server, output_type=list[str]))

    async def handle(ticket: str) -> str:
        return "+".join((await lists.run(ticket)).output)

    shown = candidate("Sort it carefully.", lt.Demo({"user_prompt": "Pay me."}, {"triage": ["c"]}))
    assert evaluate(handle, server, [{"ticket": "t", "queue": "a+b"}], candidate=shown).mean == 1.0
    arguments = server.requests[0]["messages"][2]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"response": ["c"]}


def test_streams_and_blocking_runs_are_metered_too(server: OpenAIServer) -> None:
    streaming = tuned(agent(server, output_type=str))

    async def streamed(ticket: str) -> str:
        async with streaming.run_stream(ticket) as result:
            return str(await result.get_output())

    def blocking(ticket: str) -> str:
        try:
            return str(streaming.run_sync(ticket).output)
        finally:
            asyncio.get_event_loop().close()  # which run_sync leaves open in every thread

    for program in (streamed, blocking):
        found = evaluate(program, server)
        assert (found.mean, found.usage.calls, found.unmetered) == (1.0, 1, {}), found.rollouts[0].error


def test_an_answer_that_never_gets_into_form_is_unparseable_and_still_pydantic_ais_error(server: OpenAIServer) -> None:
    from pydantic_ai.exceptions import UnexpectedModelBehavior

    server.handler = lambda body: calling(body, "final_result", {"queue": "nowhere"})
    broken = tuned(agent(server, output_type=Triage, retries=1))
    found = evaluate(desk(broken), server)
    assert found.count(Outcome.UNPARSEABLE) == 1
    [call] = found.rollouts[0].trace.calls
    assert call.usage is not None
    assert call.usage.calls == 2

    async def sturdy(ticket: str) -> str:
        try:
            return str((await broken.run(ticket)).output)
        except UnexpectedModelBehavior as error:
            assert isinstance(error, Unparseable)
            return "delivery"

    assert evaluate(sturdy, server).mean == 1.0


def test_a_model_of_another_provider_is_charged_by_what_it_says_it_used(server: OpenAIServer) -> None:
    from pydantic_ai.messages import ModelResponse, TextPart
    from pydantic_ai.models.function import FunctionModel

    other = FunctionModel(lambda messages, info: ModelResponse([TextPart("delivery")]))
    found = evaluate(desk(tuned(agent(server, model=other, output_type=str))), server, budget=lt.Budget(tokens=10**6))
    assert found.unmetered == {}
    assert found.usage.calls == 1
    assert found.usage.prompt_tokens > 0
    assert not server.bodies


def test_a_client_that_is_connected_already_and_one_of_the_users_own_are_kept(server: OpenAIServer) -> None:
    import openai
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    for client in (
        lt.connect(openai.AsyncOpenAI(base_url=server.url, api_key="k", default_headers={"X-Mine": "1"})),
        openai.AsyncOpenAI(base_url=server.url, api_key="k", default_headers={"X-Mine": "1"}),
    ):
        server.headers.clear()
        model = OpenAIChatModel("m", provider=OpenAIProvider(openai_client=client))
        found = evaluate(desk(tuned(agent(server, model=model, output_type=Triage))), server)
        assert (found.usage.calls, found.unmetered) == (1, {})
        assert server.headers[0]["x-mine"] == "1"


def test_of_several_texts_one_is_named(server: OpenAIServer) -> None:
    plain = agent(server, instructions=[RULE, "Be brief."], output_type=Triage)
    with pytest.raises(ConfigError, match="2 texts"):
        tuned(plain)
    program = desk(tuned(plain, instruction=RULE))
    evaluate(program, server, candidate=candidate("Sort it carefully."))
    system = "\n".join(m["content"] for m in server.requests[0]["messages"] if m["role"] == "system")
    assert "Sort it carefully." in system
    assert "Be brief." in system


def test_an_agent_is_tuned_saved_and_deployed(server: OpenAIServer, tmp_path: Path) -> None:
    plain = with_tool(agent(server, output_type=Triage))
    program = desk(tuned(plain))
    result = lt.optimize(
        program,
        tickets(120),
        lt.exact_match("queue"),
        lm=lt.LM("m", base_url=server.url),
        auto=200,
        study_dir=tmp_path / "study",
    )
    assert result.decision == "adopt", result.verdict.sentence
    assert "carefully" in result.candidate.prompts["triage"].instruction
    baseline = next(event for event in result.events if event["event"] == "baseline")
    assert baseline["usage"]["lm_calls"] == 2 * baseline["n"]
    result.candidate.save(tmp_path / "prompts")
    deployed = lt.bind(program, lm=lt.LM("m", base_url=server.url), candidate=lt.Candidate.load(tmp_path / "prompts"))
    server.requests.clear()
    assert once(plain, deployed) == "delivery"
    assert "carefully" in str(server.requests[0]["messages"][0]["content"])
