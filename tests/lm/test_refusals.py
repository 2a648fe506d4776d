"""What a server refuses is read from its own words, and left out of requests without making two draws one."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from luthier.budget import Ledger
from luthier.errors import ConfigError, RequestRejected
from luthier.lm.doubles import ScriptedLM
from luthier.lm.gateway import Gateway
from luthier.lm.lm import LM
from luthier.lm.refusals import cut_at_stops, most_written, refused_parameter, without
from luthier.lm.request import Completion, Message, OutputSchema, Request
from luthier.lm.store import Store
from luthier.types import Endpoint, Role
from tests.lm.families import openai
from tests.lm.scenes import request
from tests.lm.server import Fault, OpenAIServer

ASKED = Request(messages=(Message("user", "a"),), temperature=0.7, max_tokens=9, stop=("END",), seed=3, sample=4)


def error(message: Any, **more: Any) -> str:
    return json.dumps({"error": {"message": message, **more}})


@pytest.mark.parametrize(
    ("said", "parameter"),
    [
        # https://github.com/yym68686/uni-api/issues/105
        (
            '{"code": "Client specified an invalid argument", "error": "Argument not supported on this model: stop"}',
            "stop",
        ),
        # https://github.com/open-webui/open-webui/issues/21266, of another parameter
        (error("Model grok-4 does not support parameter reasoningEffort."), "reasoning_effort"),
        # https://github.com/1Panel-dev/MaxKB/issues/2912: vLLM, Python's spelling inside a text
        (
            "{\"object\": \"error\", \"message\": \"[{'type': 'extra_forbidden', 'loc': ('body', "
            "'max_completion_tokens'), 'msg': 'Extra inputs are not permitted', 'input': 800}]\", \"code\": 400}",
            "max_completion_tokens",
        ),
        # https://github.com/vllm-project/vllm-gaudi/pull/1098
        (
            error("Gaudi doesn't support logprobs. Please remove 'logprobs'/'top_logprobs' from your request."),
            "logprobs",
        ),
        # https://github.com/browser-use/browser-use/pull/215
        (error("response_format: response_format.type `json_schema` is unavailable now at line 1"), "response_format"),
        # https://github.com/stanfordnlp/dspy/issues/365: two fields in one sentence, the first one counts
        (
            '{"message": "Malformed input request: #: extraneous key [max_tokens] is not permitted#: extraneous key '
            '[n] is not permitted, please reformat your input and try again."}',
            "max_tokens",
        ),
        # https://github.com/expectedparrot/edsl/issues/2458, worded as the API reference does
        (error("`temperature` is deprecated for this model."), "temperature"),
        # https://github.com/danny-avila/LibreChat/issues/9878
        (error("`temperature` may only be set to 1 when thinking is enabled. Please consult our docs."), "temperature"),
        # https://github.com/dotCipher/opencode-claude-bridge/pull/1
        (error("temperature may only be set to 1 when thinking is enabled or in adaptive mode"), "temperature"),
        # https://github.com/danny-avila/LibreChat/issues/6116
        (error("temperature is not supported when thinking is enabled"), "temperature"),
        # https://github.com/Warma10032/VideoAdGuard/issues/34, https://github.com/arcsin1/oh-my-ppt/issues/45
        (error("invalid temperature: only 1 is allowed for this model"), "temperature"),
        (error("invalid temperature: only 0.6 is allowed for this model"), "temperature"),
        (error("Unsupported parameter: 'top_p' is not supported with this model.", param="top_p"), "top_p"),
    ],
)
def test_a_refused_parameter_is_found_in_any_wording(said: str, parameter: str) -> None:
    found = refused_parameter(said)
    assert found is not None
    assert (found.name, found.value_only) == (parameter, False)


@pytest.mark.parametrize(
    "said",
    [
        error(
            "max_tokens is too large: 100000. This model supports at most 16384 completion tokens", param="max_tokens"
        ),
        error("Invalid 'temperature': decimal above maximum value. Expected a value <= 2", param="temperature"),
        error("max_tokens: 200000 > 64000, which is the maximum allowed number of output tokens"),
    ],
)
def test_a_value_that_is_refused_is_not_a_parameter_that_is(said: str) -> None:
    found = refused_parameter(said)
    assert found is not None
    assert found.value_only


@pytest.mark.parametrize(
    "said",
    [
        # https://github.com/fanenr/chatbot/issues/21: what the server suggests is not what it refuses
        error("property 'store' is unsupported, did you mean 'stop'?"),
        error("The model `gpt-9` does not exist or you do not have access to it."),
        error("Please stop sending empty messages: content is not permitted to be empty."),
        "not json at all",
        "[]",
        "",
    ],
)
def test_words_about_something_else_name_no_parameter(said: str) -> None:
    assert refused_parameter(said) is None


def test_draws_that_differ_by_temperature_still_differ_without_it() -> None:
    drawn = {without(replace(ASKED, temperature=heat), "temperature").key("m") for heat in (0.7, 0.8, 1.0)}
    assert len(drawn) == 3
    cold = replace(ASKED, temperature=0.0, sample=0)
    numbered = [without(replace(cold, draw=partial(int, n)), "temperature") for n in (1, 2, 1)]
    assert numbered[0].key("m") == numbered[2].key("m") != numbered[1].key("m")


def test_max_tokens_is_renamed_before_it_is_left_out() -> None:
    renamed = without(ASKED, "max_tokens")
    assert (renamed.max_tokens, renamed.extra) == (None, {"max_completion_tokens": 9})
    assert most_written(renamed) == 9
    assert not without(renamed, "max_completion_tokens").extra


def test_where_stops_are_refused_the_answer_ends_where_it_would_have() -> None:
    assert cut_at_stops(Completion("a END b", "length"), ("x", "END")) == Completion("a ", "stop")

    def answer(body: dict[str, Any]) -> Any:
        if "stop" in body:
            return Fault(400, {"error": {"message": "Unsupported parameter: 'stop' is not supported with this model."}})
        return "billing\n\nticket: another"

    with OpenAIServer(answer) as server:
        gateway = Gateway(store=Store(":memory:"))
        lm = LM("m", base_url=server.url, endpoint="completions")
        asked = Request(endpoint=Endpoint.COMPLETIONS, prompt="p", stop=("\n\n",))
        texts = [gateway.complete_blocking(lm, asked, Role.TASK).text for _ in range(2)]
        gateway.close()
    assert texts == ["billing", "billing"] and gateway.hits == 1


def test_each_parameter_is_refused_once_whoever_asks() -> None:
    with OpenAIServer(lambda body: openai(body) or "ok") as server:
        gateway = Gateway(store=Store(":memory:"))
        cold, warm = (LM("m", base_url=server.url, temperature=heat) for heat in (0.0, 0.5))
        for lm in (cold, warm, cold):
            gateway.complete_blocking(lm, request(f"a{lm.temperature}"), Role.TASK)
        gateway.complete_blocking(cold, request("b", temperature=0.9), Role.PROPOSER)
        gateway.close()
    kept = [body for body in server.requests if openai(body) is None]
    assert len(server.requests) - len(kept) == 2
    assert [body["max_completion_tokens"] for body in kept] == [1024] * 3  # the third had been answered
    assert not any("temperature" in body for body in kept)


def test_a_refused_schema_is_left_out() -> None:
    refusal = {"error": {"message": "This response_format type is unavailable now"}}
    with OpenAIServer(lambda body: Fault(400, refusal) if "response_format" in body else "ok") as server:
        gateway = Gateway()
        schema = OutputSchema("answer", {"type": "object"})
        lm = LM("m", base_url=server.url)
        assert gateway.complete_blocking(lm, request("a", schema=schema), Role.TASK).text == "ok"
        gateway.close()


def test_what_the_user_asked_for_by_name_is_not_dropped_but_named() -> None:
    said = {"error": {"message": "Unrecognized request argument supplied: reasoning_effort", "code": None}}
    with OpenAIServer(lambda body: Fault(400, said) if "reasoning_effort" in body else "ok") as server:
        gateway = Gateway()
        lm = LM("m", base_url=server.url, reasoning_effort="low")
        with pytest.raises(RequestRejected, match="reasoning_effort"):
            gateway.complete_blocking(lm, request("a"), Role.TASK)
        gateway.close()


def test_a_limit_on_tokens_needs_a_bound_on_answers() -> None:
    gateway = Gateway(ledger=Ledger({"tokens": 1e6}))
    with pytest.raises(ConfigError, match="max_tokens"):
        gateway.complete_blocking(LM(ScriptedLM(lambda asked: "ok"), max_tokens=None), request("a"), Role.TASK)
    gateway.close()


def test_an_answer_that_thinking_left_no_room_for_is_cut_and_not_refused() -> None:
    # OpenAI, where max_completion_tokens is used up before the first word of the answer
    said = "Could not finish the message because max_tokens or model output limit was reached. Please try again."
    with OpenAIServer(lambda body: Fault(400, {"error": {"message": said}})) as server:
        gateway = Gateway()
        found = gateway.complete_blocking(LM("m", base_url=server.url), request("a"), Role.TASK)
        gateway.close()
    assert (found.text, found.finish_reason, found.refusal) == ("", "length", None)
