"""Settings may be left to the server; what a model's name tells decides the defaults, and bills count thoughts."""

from __future__ import annotations

import json
import pickle  # noqa: TID251 - what other libraries do with an LM
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.cli.launch import Launch
from luthier.errors import ConfigError
from luthier.lm.doubles import ScriptedLM
from luthier.lm.gateway import Gateway, worst_case
from luthier.lm.models import known_model
from luthier.lm.reply import read_reply
from luthier.lm.request import Completion, Request, Usage
from luthier.lm.store import Store
from luthier.propose.proposer import Proposer
from luthier.types import Role
from tests.lm.scenes import request, run
from tests.lm.server import OpenAIServer, reply
from tests.studies import world


@pytest.mark.parametrize(
    "name",
    ["gpt-5-mini", "gpt-5.1", "openai/o3", "o4-mini-2025-04-16", "us.anthropic.claude-opus-4-7", "deepseek-reasoner"],
)
def test_models_known_to_refuse_a_temperature_get_none_and_room_to_think(name: str) -> None:
    lm = lt.LM(name, base_url="http://localhost:1/v1")
    assert lm.temperature is None
    assert lt.LM(name, base_url="http://localhost:1/v1", temperature=1).temperature == 1
    assert lm.most_tokens is not None and (lm.max_tokens == 16_000) is lm.thinks


@pytest.mark.parametrize(
    "name", ["gpt-4.1-mini", "gpt-5-chat-latest", "foo3", "qwen2.5-7b", "claude-sonnet-4-5", "phi-o1x"]
)
def test_other_models_are_asked_at_temperature_0(name: str) -> None:
    assert lt.LM(name, base_url="http://localhost:1/v1").temperature == 0.0


@pytest.mark.parametrize(
    ("extra", "thinks"),
    [
        ({"reasoning_effort": "low"}, True),
        ({"reasoning_effort": "none"}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({"reasoning": {"effort": "high", "exclude": False}}, True),
        ({"reasoning": {"enabled": False}}, False),
        ({"reasoning": {"max_tokens": 2000}}, True),
        ({"reasoning": None}, False),
    ],
)
def test_a_model_has_room_to_think_where_it_is_told_to_and_not_where_it_is_told_not_to(
    extra: dict[str, Any], thinks: bool
) -> None:
    lm = lt.LM("own", base_url="http://localhost:1/v1", extra=extra)
    assert (lm.max_tokens or 0) > 10_000 if thinks else lm.max_tokens == 1_024


def test_the_longest_answer_is_known_by_name_where_it_is_not_given() -> None:
    assert known_model("gpt-5-mini").most_tokens == lt.LM("openai/gpt-5-mini", api_key="k", max_tokens=None).most_tokens
    open_ended = lt.LM("openai/gpt-5-mini", api_key="k", max_tokens=None)
    assert worst_case(open_ended, request("a"))["tokens"] > 128_000
    assert lt.LM("own", base_url="http://localhost:1/v1", max_tokens=None).most_tokens is None
    extra = Request(max_tokens=9, extra={"max_completion_tokens": 5_000})
    assert worst_case(open_ended, extra)["tokens"] < 128_000


@pytest.mark.parametrize("budget", [lt.Budget(tokens=10**6), lt.Budget(usd=1.0)])
def test_a_budget_that_cannot_be_kept_is_refused_before_any_call(budget: lt.Budget, tmp_path: Path) -> None:
    double = ScriptedLM(world.answer)
    lm = lt.LM(double, max_tokens=None, price=lt.Price(1, 1))
    what: tuple[Any, ...] = (world.describe, world.rows(80), lt.exact_match("answer"))
    with pytest.raises(ConfigError, match="max_tokens"):
        lt.optimize(*what, lm=lm, budget=budget, study_dir=tmp_path / "study")
    with pytest.raises(ConfigError, match="max_tokens"):
        lt.evaluate(*what, lm=lm, budget=budget)
    with pytest.raises(ConfigError, match="max_tokens"):
        lt.check(*what, lm=lm, budget=budget, study_dir=tmp_path / "check")
    assert double.calls == 0
    limited = lt.optimize(*what, lm=lm, budget=lt.Budget(lm_calls=4_000), auto=60, study_dir=tmp_path / "study")
    assert limited.decision in ("adopt", "keep", "undecided")


def test_without_a_temperature_nothing_is_sent_and_draws_are_numbered() -> None:
    double = ScriptedLM(lambda asked: str(asked.sample))

    @lt.predictor
    def draw(x: str) -> str:
        """Draw."""
        return lt.predict()

    def twice(x: str) -> str:
        return f"{draw(x=x)} {draw(x=x)}"

    lm = lt.LM(double, temperature=None, max_tokens=None, top_p=None)
    found = lt.evaluate(
        twice, [{"x": "a", "y": "b"}], lambda example, prediction: len(set(prediction.split())) == 2, lm=lm
    )
    assert found.mean == 1.0
    assert all((asked.temperature, asked.max_tokens, asked.top_p) == (None, None, None) for asked in double.requests)


def test_a_proposer_without_a_temperature_sends_none_and_its_proposals_stay_apart() -> None:
    double = ScriptedLM(lambda asked: "x")
    gateway = Gateway(store=Store(":memory:"))
    proposer = Proposer(gateway, lt.LM(double, temperature=None))

    async def ask() -> None:
        for sample, heat in ((1, 0.7), (2, 0.7), (1, 0.9), (1, 0.7)):
            await proposer.complete("write", max_tokens=500, sample=sample, temperature=heat)

    run(ask())
    gateway.close()
    assert [asked.temperature for asked in double.requests] == [None] * 3  # the fourth is the first


def test_what_a_thinking_model_writes_beside_its_thoughts_may_be_as_long_as_without_them() -> None:
    assert lt.LM("openai/gpt-5-mini", api_key="k").room_for(500) == 16_000
    assert lt.LM("own", base_url="http://localhost:1/v1", reasoning_effort="high").room_for(500) == 16_000
    assert lt.LM("own", base_url="http://localhost:1/v1", max_tokens=None).room_for(500) is None
    assert lt.LM("openai/gpt-4.1", api_key="k").room_for(500) == 500


def test_reasoning_effort_and_extra_are_in_every_request_and_a_none_is_not() -> None:
    with OpenAIServer(lambda body: "ok") as server:
        extra = {"thinking": {"type": "enabled"}, "top_k": None}
        lm = lt.LM("m", base_url=server.url, reasoning_effort="low", extra=extra)
        gateway = Gateway()
        run(gateway.probe(lm))
        gateway.complete_blocking(pickle.loads(pickle.dumps(lm)), request("a"), Role.TASK)
        gateway.close()
    assert [body["reasoning_effort"] for body in server.requests] == ["low", "low"]
    assert all(body["thinking"] == {"type": "enabled"} and "top_k" not in body for body in server.requests)
    assert lm.identity == lm.with_settings(reasoning_effort="high").identity
    assert request("a", extra=lm.extra).key("m") != request(
        "a", extra=lm.with_settings(reasoning_effort="high").extra
    ).key("m")


def usage_of(message: dict[str, Any], **usage: Any) -> Usage:
    whole = reply({"messages": []}, "billing")
    whole["choices"][0]["message"] |= message
    whole["usage"] = {"prompt_tokens": 10, **usage}
    found = read_reply(json.dumps(whole).encode(), {}, "here", request("a")).usage
    assert found is not None
    return found


def test_bills_count_hidden_reasoning_however_they_list_it() -> None:
    details = {"completion_tokens_details": {"reasoning_tokens": 60}}
    assert usage_of({}, completion_tokens=70, total_tokens=80, **details) == Usage(10, 70, 0, 1, 60)  # OpenAI
    # https://github.com/router-for-me/CLIProxyAPI/issues/5733, and xAI: thoughts stand in the total alone
    assert usage_of({}, completion_tokens=10, total_tokens=80, **details) == Usage(10, 70, 0, 1, 60)
    assert usage_of({}, completion_tokens=0, total_tokens=70, **details) == Usage(10, 60, 0, 1, 60)
    assert usage_of({}, completion_tokens=70) == Usage(10, 70, 0, 1)  # no total, no thoughts
    shared = usage_of({"reasoning_content": "x" * 21}, completion_tokens=40, total_tokens=50)  # 21 of 28 characters
    assert shared == Usage(10, 40, 0, 1, 30)


def test_thoughts_beside_the_answer_are_not_read() -> None:
    parts = [{"type": "reasoning", "text": "delivery?"}, {"type": "text", "text": "billing"}]
    whole = reply({"messages": []}, "")
    whole["choices"][0]["message"] |= {"content": parts, "reasoning": "delivery?"}
    assert read_reply(json.dumps(whole).encode(), {}, "here", request("a")).text == "billing"


def test_the_store_keeps_what_thoughts_took() -> None:
    store = Store(":memory:")
    store.put("k", "m", Completion("a", usage=Usage(1, 9, 0, 1, 5)))
    found = store.get("k")
    store.close()
    assert found is not None and found.usage == Usage(1, 9, 0, 1, 5)


@pytest.mark.parametrize(
    ("name", "variables", "identity"),
    [
        ("anthropic/claude-opus-4-7", {}, "claude-opus-4-7 at https://api.anthropic.com/v1"),
        ("azure/prod", {"AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com/"}, "prod at https://r.openai.azure.com/openai/v1"),
        ("azure/prod", {"AZURE_API_BASE": "https://r.openai.azure.com/openai/v1/"}, "prod at https://r.openai.azure.com/openai/v1"),
        ("bedrock/openai.gpt-oss-20b-1:0", {"AWS_REGION": "us-west-2"},
         "openai.gpt-oss-20b-1:0 at https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1"),
        ("bedrock/m", {"AWS_DEFAULT_REGION": "eu-central-1"}, "m at https://bedrock-runtime.eu-central-1.amazonaws.com/openai/v1"),
        ("openrouter/openai/gpt-5", {}, "openai/gpt-5 at https://openrouter.ai/api/v1"),
    ],
)  # fmt: skip
def test_a_prefix_leads_to_its_address(
    name: str, variables: dict[str, str], identity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AZURE_OPENAI_ENDPOINT", "AZURE_API_BASE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    lm = lt.LM(name, api_key="k")
    assert lm.identity == identity
    lm.check()


@pytest.mark.parametrize(
    ("name", "told"),
    [("azure/prod", "AZURE_OPENAI_ENDPOINT"), ("bedrock/m", "AWS_REGION"), ("vertex_ai/gemini", "LiteLLM")],
)
def test_where_an_address_cannot_be_made_the_error_says_how(
    name: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AZURE_OPENAI_ENDPOINT", "AZURE_API_BASE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigError, match=told) as raised:
        lt.LM(name)
    assert "LiteLLM" in str(raised.value)
    assert lt.LM(name, base_url="http://localhost:4000/v1").address is not None


def launched(**options: Any) -> lt.LM:
    launch = Launch("p", "d", "exact_match", "m", base_url="http://localhost:1/v1", **options)
    made: lt.LM = Launch.from_json(json.loads(json.dumps(launch.to_json()))).made("m")
    return made


def test_the_command_line_says_the_same() -> None:
    lm = launched(temperature="none", max_tokens="none", reasoning_effort="low", extra=("top_k=40", "mode=fast"))
    assert (lm.temperature, lm.max_tokens) == (None, None)
    assert lm.extra == {"reasoning_effort": "low", "top_k": 40, "mode": "fast"}
    assert launched(temperature=0.5, max_tokens=9).temperature == 0.5  # as studies wrote it before
    assert launched(temperature="0.5").temperature == 0.5


@pytest.mark.parametrize(
    "options",
    [{"temperature": "warm"}, {"max_tokens": "0"}, {"extra": ("top_k",)}, {"extra": ("x_api_key=sk-1234567",)}]
    + [{"extra": (broken,)} for broken in ("thinking={type: disabled}", "stop=['a']", 'mode="fast')],
)
def test_a_wrong_option_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        launched(**options)
