"""What a connected client reads in a study is what it would have read, from the store and as a stream, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.evaluation.rollout import Outcome
from tests.lm.server import OpenAIServer, reply
from tests.program.connect.desk import NEVER_ASKED, rows

CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"n": 7}'}}
USAGE = {
    "input_tokens": 11,
    "output_tokens": 5,
    "total_tokens": 16,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens_details": {"reasoning_tokens": 0},
}


def answer(body: dict[str, Any]) -> str | Mapping[str, Any]:
    match body["model"]:
        case "two":
            told = reply(body, "delivery")
            second = {**told["choices"][0], "index": 1, "message": {"role": "assistant", "content": "account"}}
            logprobs = {
                "content": [{"token": "d", "logprob": -0.5, "bytes": [100], "top_logprobs": []}],
                "refusal": None,
            }
            return {**told, "choices": [{**told["choices"][0], "logprobs": logprobs}, second], "service_tier": "flex"}
        case "tool":
            told = reply(body, "")
            message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
            return {**told, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
        case "cut":
            told = reply(body, "deliv")
            return {**told, "choices": [{**told["choices"][0], "finish_reason": "length"}]}
        case "response":
            return response(body)
        case "embedding":
            data = [{"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}]
            return {"object": "list", "model": "e", "data": data, "usage": {"prompt_tokens": 6, "total_tokens": 6}}
        case "picture":
            return {"created": 1, "data": [{"b64_json": "aGVsbG8="}]}
        case _:
            return "delivery"


def response(body: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "output_text", "text": "delivery", "annotations": [], "logprobs": []}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "response",
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "output": [
            {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [text]},
            {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"n": 7}'},
        ],
        "usage": USAGE,
    }


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(answer) as served:
        yield served


def read_in_study(client: Any, ask: Callable[[Any], Any], store: Path | None = None) -> tuple[Any, lt.Evaluation]:
    """Return what ``ask`` read inside a study, and the study."""
    read = []
    connected = lt.connect(client)

    @lt.predictor
    def queue(ticket: str) -> str:
        """Name the queue."""
        read.append(ask(connected))
        return "delivery"

    found = lt.evaluate(lambda ticket: queue(ticket=ticket), rows(1), lt.exact_match, lm=NEVER_ASKED, store=store)
    assert found.count(Outcome.SCORED) == 1, found.rollouts[0].error
    return read[0], found


def chat(model: str, **settings: Any) -> Callable[[Any], Any]:
    messages = [{"role": "user", "content": "Where?"}]
    return lambda client: client.chat.completions.create(model=model, messages=messages, temperature=0, **settings)


def respond(client: Any, **settings: Any) -> Any:
    return client.responses.create(model="response", input="Where?", instructions="Secret rule.", **settings)


def embed(client: Any) -> Any:
    return client.embeddings.create(model="embedding", input="Where?", encoding_format="float")


WHOLE: list[Callable[[Any], Any]] = [
    chat("plain"),
    chat("two", n=2, logprobs=True),
    chat("tool"),
    chat("cut"),
    respond,
    embed,
    lambda client: client.completions.create(model="plain", prompt="Where?", temperature=0),
]


@pytest.mark.parametrize("ask", WHOLE)
def test_a_reply_is_whole_fresh_and_from_the_store(
    server: OpenAIServer, ask: Callable[[Any], Any], tmp_path: Path
) -> None:
    client = server.client()
    outside = ask(client).model_dump()
    for _ in range(2):
        inside, found = read_in_study(client, ask, tmp_path / "s.sqlite")
        assert inside.model_dump() == outside
        assert found.usage.prompt_tokens > 0
        assert found.unmetered == {}
    assert len(server.requests) == 2


def test_finish_reasons_and_all_tokens_are_read(server: OpenAIServer) -> None:
    client = server.client()
    told = {}
    for name, ask in {"cut": chat("cut"), "tool": chat("tool"), "response": respond}.items():
        _, found = read_in_study(client, ask)
        [call] = found.rollouts[0].trace.calls
        told[name] = (call.finish_reason, call.text)
    assert told == {"cut": ("length", "deliv"), "tool": ("tool_calls", ""), "response": ("tool_calls", "delivery")}
    assert (call.usage.prompt_tokens, call.usage.completion_tokens, call.usage.cached_tokens) == (11, 5, 4)  # type: ignore[union-attr]


@pytest.mark.parametrize("with_usage", [False, True])
@pytest.mark.parametrize("model", ["plain", "two", "tool", "cut"])
def test_a_stream_is_asked_for_whole_and_read_as_a_stream(
    server: OpenAIServer, model: str, with_usage: bool, tmp_path: Path
) -> None:
    client = server.client()
    whole = chat(model)(client).model_dump()
    options = {"stream_options": {"include_usage": True}} if with_usage else {}

    def ask(client: Any) -> list[Any]:
        return list(chat(model, stream=True, **options)(client))

    for _ in range(2):
        chunks, found = read_in_study(client, ask, tmp_path / "s.sqlite")
        assert [chunk.usage is not None for chunk in chunks][-1] is with_usage
        assert all(chunk.choices for chunk in (chunks[:-1] if with_usage else chunks))
        for choice in whole["choices"]:
            deltas = [c for chunk in chunks for c in chunk.choices if c.index == choice["index"]]
            text = "".join(c.delta.content or "" for c in deltas)
            assert text == (choice["message"]["content"] or "")
            assert [c.finish_reason for c in deltas] == [None, choice["finish_reason"]]
            calls = [call.function.arguments for c in deltas for call in c.delta.tool_calls or ()]
            assert calls == [call["function"]["arguments"] for call in choice["message"].get("tool_calls") or ()]
        assert found.usage.completion_tokens > 0 or model == "tool"
    assert server.bodies[0] == server.bodies[1]  # asked for as if it were no stream
    assert len(server.bodies) == 2


def test_the_sdks_stream_helpers_read_it(server: OpenAIServer) -> None:
    client = server.client()

    def completion(client: Any) -> Any:
        messages = [{"role": "user", "content": "Where?"}]
        with client.chat.completions.stream(model="two", messages=messages) as stream:
            kinds = [event.type for event in stream]
            return kinds, stream.get_final_completion()

    (kinds, final), _ = read_in_study(client, completion)
    assert {"content.delta", "content.done"} <= set(kinds)
    assert [choice.message.content for choice in final.choices] == ["delivery", "account"]

    def responses(client: Any) -> Any:
        with client.responses.stream(model="response", input="Where?") as stream:
            kinds = [event.type for event in stream]
            return kinds, stream.get_final_response()

    (kinds, final), found = read_in_study(client, responses)
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert {"response.output_text.delta", "response.function_call_arguments.delta"} <= set(kinds)
    assert final.output_text == "delivery"
    assert found.usage.prompt_tokens == 11


def test_what_does_not_change_the_answer_is_no_part_of_the_key(server: OpenAIServer, tmp_path: Path) -> None:
    client = server.client()
    same: list[Any] = [{}, {"user": "u"}, {"metadata": {"a": "b"}}, {"stream": True}, {"safety_identifier": "x"}]
    for settings in same:
        read_in_study(client, chat("plain", **settings), tmp_path / "s.sqlite")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"top_p": 0.5}, {"max_tokens": 3}, {"extra_body": {"top_k": 1}}, {"tool_choice": "none"}]
)
def test_what_changes_the_answer_is_asked_for_anew(server: OpenAIServer, tmp_path: Path, other: Any) -> None:
    client = server.client()
    both: list[Any] = [{}, other]
    for settings in both:
        read_in_study(client, chat("plain", **settings), tmp_path / "s.sqlite")
    assert len(server.requests) == 2


def test_a_reply_that_repeats_the_prompt_is_kept_without_it(server: OpenAIServer, tmp_path: Path) -> None:
    client = server.client()
    inside, _ = read_in_study(client, respond, tmp_path / "s.sqlite")
    assert inside.instructions == "Secret rule."
    assert b"Secret" not in b"".join(path.read_bytes() for path in tmp_path.glob("s.sqlite*"))


def test_a_call_that_cannot_be_metered_goes_out_and_is_counted(server: OpenAIServer) -> None:
    client = server.client()

    def draw(client: Any) -> Any:
        return client.images.generate(model="picture", prompt="A parcel")

    picture, found = read_in_study(client, draw)
    assert picture.data[0].b64_json == "aGVsbG8="
    assert found.unmetered == {"queue": 1}
