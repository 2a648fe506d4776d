from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from luthier.errors import (
    AccessDenied,
    CallTimeout,
    LMError,
    RateLimited,
    RequestRejected,
    ServerFault,
    Unreachable,
)
from luthier.lm.body import request_body
from luthier.lm.faults import BadAnswer
from luthier.lm.gateway import Gateway, RetryPolicy
from luthier.lm.lm import LM
from luthier.lm.providers import resolve
from luthier.lm.request import (
    Completion,
    ImagePart,
    Message,
    OutputSchema,
    Request,
    TextPart,
    Tool,
    ToolCall,
    Usage,
)
from luthier.types import Endpoint, Role
from tests.lm.server import Fault, OpenAIServer, reply

HELLO = Request(messages=(Message("user", "hello"),))
ONCE = RetryPolicy(give_up_after=0)


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


def ask(server: OpenAIServer, request: Request = HELLO, **settings: Any) -> Completion:
    gateway = Gateway(retry=ONCE, lasting=True)
    try:
        return gateway.complete_blocking(LM("m", base_url=server.url, **settings), request, Role.TASK)
    finally:
        gateway.close()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(429), RateLimited),
        (Fault(429, {"error": {"message": "You exceeded", "code": "insufficient_quota"}}), AccessDenied),
        (Fault(401), AccessDenied),
        (Fault(402), AccessDenied),
        (Fault(403), AccessDenied),
        (Fault(400), RequestRejected),
        (Fault(404), RequestRejected),
        (Fault(422), RequestRejected),
        (Fault(500), ServerFault),
        (Fault(503, "<html>down</html>"), ServerFault),
        (Fault(200, "no json"), BadAnswer),
        (Fault(200, "[]"), BadAnswer),
        (Fault(200, {"choices": []}), BadAnswer),
        (Fault(200, {"choices": [{"message": None}]}), BadAnswer),
        (Fault(200, {"choices": [{"message": {"content": 7}}]}), BadAnswer),
        (Fault(200, {"error": {"message": "slow down", "code": 429}}), RateLimited),
        (Fault(cut=True), BadAnswer),
        (Fault(drop=True), Unreachable),
        (Fault(hang=2), CallTimeout),
    ],
)
def test_every_fault_has_its_error(server: OpenAIServer, fault: Fault, kind: type[LMError]) -> None:
    server.faults = [fault]
    with pytest.raises(kind) as caught:
        ask(server, timeout=0.4)
    assert type(caught.value) is kind
    assert str(caught.value)


@pytest.mark.parametrize(
    ("error", "finish"),
    [
        ({"message": "This model's maximum context length is 8192 tokens."}, "length"),
        ({"message": "the request exceeds the context", "type": "exceed_context_size_error"}, "length"),
        ({"message": "The response was filtered", "code": "content_filter"}, "content_filter"),
    ],
)
def test_a_prompt_that_is_refused_for_itself_is_an_answer(
    server: OpenAIServer, error: dict[str, str], finish: str
) -> None:
    server.faults = [Fault(400, {"error": error})]
    completion = ask(server)
    assert (completion.finish_reason, completion.refusal) == (finish, error["message"])
    assert completion.usage is not None and completion.usage.tokens == 0


def test_a_refused_connection_is_unreachable() -> None:
    with OpenAIServer() as server:
        gone = server.url
    gateway = Gateway(retry=ONCE)
    with pytest.raises(Unreachable, match="cannot be reached"):
        gateway.complete_blocking(LM("m", base_url=gone), HELLO, Role.TASK)
    gateway.close()


@pytest.mark.parametrize(("headers", "seconds"), [({"Retry-After": "7"}, 7), ({"Retry-After-Ms": "1500"}, 1.5)])
def test_retry_after_is_read_as_seconds(server: OpenAIServer, headers: dict[str, str], seconds: float) -> None:
    server.faults = [Fault(429, headers=headers)]
    with pytest.raises(RateLimited) as caught:
        ask(server)
    assert caught.value.retry_after == seconds


def test_retry_after_is_read_as_a_date(server: OpenAIServer) -> None:
    when = email.utils.formatdate(time.time() + 60, usegmt=True)
    server.faults = [Fault(429, headers={"Retry-After": when})]
    with pytest.raises(RateLimited) as caught:
        ask(server)
    assert caught.value.retry_after is not None and 30 <= caught.value.retry_after <= 61


def test_what_is_set_is_sent_and_nothing_else(server: OpenAIServer) -> None:
    ask(server, Request(messages=(Message("system", "s"), Message("user", "u")), stop=("\n",), seed=3), max_tokens=9)
    assert server.requests == [
        {
            "model": "m",
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
            "temperature": 0.0,
            "max_tokens": 9,
            "stop": ["\n"],
            "seed": 3,
        }
    ]
    assert "Authorization" not in server.headers[0]


def test_completions_go_to_their_own_endpoint(server: OpenAIServer) -> None:
    answer = ask(server, Request(endpoint=Endpoint.COMPLETIONS, prompt="Once"), top_p=0.5, extra={"min_p": 0.1})
    assert server.paths == ["/v1/completions"]
    assert server.requests == [
        {"model": "m", "prompt": "Once", "temperature": 0.0, "max_tokens": 1024, "top_p": 0.5, "min_p": 0.1}
    ]
    assert answer.text == "ok"


def test_tools_schemas_and_images_have_their_places(server: OpenAIServer) -> None:
    server.handler = lambda body: {
        "model": "m-2026",
        "choices": [
            {
                "finish_reason": "tool_calls",
                "message": {
                    "content": None,
                    "tool_calls": [{"id": "c", "function": {"name": "look", "arguments": '{"x":1}'}}],
                },
            }
        ],
    }
    image = ImagePart("ab", "image/png", "data:image/png;base64,AA==")
    schema = {
        "type": "object",
        "properties": {"x": {"type": "integer"}},
        "required": ["x"],
        "additionalProperties": False,
    }
    request = Request(
        messages=(
            Message("user", (TextPart("see"), image)),
            Message("assistant", "", tool_calls=(ToolCall("a", "look", "{}"),)),
            Message("tool", "42", tool_call_id="a"),
        ),
        tools=(Tool("look", "looks", {"type": "object"}),),
        schema=OutputSchema("out", schema),
    )
    answer = ask(server, request)
    body = server.requests[0]
    assert body["messages"][0]["content"][1] == {"type": "image_url", "image_url": {"url": image.url}}
    assert body["messages"][1]["tool_calls"][0]["function"] == {"name": "look", "arguments": "{}"}
    assert body["messages"][2]["tool_call_id"] == "a"
    assert body["tools"][0]["function"]["name"] == "look"
    assert body["response_format"]["json_schema"] == {"name": "out", "schema": schema, "strict": True}
    assert answer.text == "" and answer.finish_reason == "tool_calls" and answer.model == "m-2026"
    assert answer.tool_calls == (ToolCall("c", "look", '{"x":1}'),)
    assert answer.usage is None


def test_a_llama_server_gets_a_grammar_or_a_schema_but_never_both() -> None:
    address = resolve("vllm/m", None, None)
    schema = OutputSchema("out", {"type": "object"})
    plain = Request(endpoint=Endpoint.COMPLETIONS, prompt="p", schema=schema)
    assert request_body(plain, address, llama=True)["json_schema"] == {"type": "object"}
    assert "json_schema" not in request_body(plain, address, llama=False)
    both = Request(messages=HELLO.messages, schema=schema, grammar='root ::= "a"')
    body = request_body(both, address, llama=True)
    assert body["grammar"] == 'root ::= "a"' and "response_format" not in body and body["cache_prompt"] is True


def test_openai_itself_is_told_max_completion_tokens() -> None:
    request = Request(messages=HELLO.messages, max_tokens=5)
    assert request_body(request, resolve("openai/x", None, "k"), llama=False)["max_completion_tokens"] == 5
    other = resolve("openai/x", "http://localhost:1/v1", "k")
    assert request_body(request, other, llama=False)["max_tokens"] == 5


@pytest.mark.parametrize(
    ("more", "cached"),
    [
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}}, 4),
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 2}, "timings": {"cache_n": 8}}, 8),
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None}}, 0),
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 3}}, 3),
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 2, "cache_read_input_tokens": 5}}, 5),
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 6}}, 6),
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 2, "cache_read_input_tokens": 99}}, 9),
    ],
)
def test_the_bill_says_what_was_cached(server: OpenAIServer, more: dict[str, Any], cached: int) -> None:
    server.handler = lambda body: {**reply(body, "hi"), **more}
    assert ask(server).usage == Usage(9, 2, cached, 1)


@pytest.mark.parametrize(
    ("said", "means"),
    [("stop", "stop"), ("length", "length"), ("eos", "stop"), (None, "stop"), ("content_filter", "content_filter"),
     ("function_call", "tool_calls"), ("weird", "other")],
)  # fmt: skip
def test_finish_reasons_are_translated(server: OpenAIServer, said: str | None, means: str) -> None:
    server.handler = lambda body: {"choices": [{"finish_reason": said, "message": {"content": "x"}}]}
    assert ask(server).finish_reason == means


def test_a_key_is_sent_and_never_shown(server: OpenAIServer) -> None:
    key = "my-very-own-key-0815"
    server.key = key
    assert ask(server, api_key=key).text == "ok"
    echo = json.dumps({"error": {"message": f"Incorrect API key provided: {key}. Bearer {key}"}})
    server.faults = [Fault(401, echo)]
    with pytest.raises(AccessDenied) as caught:
        ask(server, api_key=key)
    assert key not in str(caught.value) and "redacted" in str(caught.value)
    assert key not in repr(LM("m", base_url=server.url, api_key=key))


def test_credentials_in_the_address_are_used_and_never_shown(server: OpenAIServer) -> None:
    url = server.url.replace("http://", "http://ada:hunter2pass@")
    lm = LM("m", base_url=url)
    gateway = Gateway(retry=ONCE)
    gateway.complete_blocking(lm, HELLO, Role.TASK)
    assert server.headers[0]["Authorization"].startswith("Basic ")
    server.faults = [Fault(500)]
    with pytest.raises(ServerFault) as caught:
        gateway.complete_blocking(lm, HELLO, Role.TASK)
    gateway.close()
    assert not any("hunter2pass" in text for text in (str(caught.value), repr(lm), lm.identity))
