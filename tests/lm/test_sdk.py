"""A ready openai client as a language model."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

import luthier as lt
from luthier.errors import AccessDenied, CallTimeout, ConfigError, LMError, RateLimited, RequestRejected, ServerFault
from luthier.lm.faults import NeverSent
from luthier.lm.request import Completion, Message, Request
from tests.lm.server import Fault, OpenAIServer

ASK = Request(messages=(Message("user", "Where?"),), temperature=0.0, max_tokens=8)
CLIENTS: list[Any] = [openai.OpenAI, openai.AsyncOpenAI]


@lt.predictor
def queue(ticket: str) -> str:
    """Name the queue."""
    return lt.predict()


async def ask(lm: lt.LM, request: Request = ASK) -> Completion:
    return await lm.open().complete(request)


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("connected", [False, True])
def test_it_asks_through_the_client_as_luthiers_own_client_would(kind: Any, connected: bool) -> None:
    with OpenAIServer(lambda body: "delivery", key="k") as server:
        client = server.client(kind, default_headers={"X-Mine": "1"})
        lm = lt.LM("m", client=lt.connect(client) if connected else client)
        rows = [{"ticket": f"Where is {i}?", "answer": "delivery"} for i in range(4)]
        found = lt.evaluate(queue, rows, lt.exact_match, lm=lm, budget=lt.Budget(lm_calls=4))
        assert (found.mean, found.usage.calls) == (1.0, 4)
        assert server.headers[0]["x-mine"] == "1"
        own = lt.LM("m", base_url=server.url, api_key="k")
        lt.evaluate(queue, rows[:1], lt.exact_match, lm=own)
        assert server.requests[-1] == next(
            r for r in server.requests if r["messages"] == server.requests[-1]["messages"]
        )
        assert lm.identity == own.identity


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(401), AccessDenied),
        (Fault(429, headers={"retry-after": "7"}), RateLimited),
        (Fault(500), ServerFault),
        (Fault(404), RequestRejected),
        (Fault(200, "no JSON"), ServerFault),
        (Fault(hang=5), CallTimeout),
    ],
)
def test_faults_are_of_our_tree_and_not_retried_by_the_client(kind: Any, fault: Fault, error: type[LMError]) -> None:
    with OpenAIServer(lambda body: "delivery", faults=[fault]) as server:
        lm = lt.LM("m", client=server.client(kind, max_retries=4), timeout=0.5 if fault.hang else 20.0)
        with pytest.raises(error) as raised:
            asyncio.run(ask(lm))
        assert len(server.requests) == 1
        assert getattr(raised.value, "retry_after", None) == (7.0 if fault.status == 429 else None)


def test_a_server_that_is_not_there_was_never_sent_anything() -> None:
    with pytest.raises(NeverSent):
        asyncio.run(ask(lt.LM("m", client=openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="k"))))


def test_a_prompt_that_is_refused_is_an_answer() -> None:
    long = Fault(400, {"error": {"message": "too long", "code": "context_length_exceeded"}})
    with OpenAIServer(faults=[long]) as server:
        lm = lt.LM("m", client=server.client())
        assert asyncio.run(ask(lm)).finish_reason == "length"


def test_openais_own_models_keep_their_identity_price_and_fields() -> None:
    named, ready = lt.LM("openai/gpt-4.1-mini"), lt.LM("openai/gpt-4.1-mini", client=openai.OpenAI(api_key="k"))
    assert ready.identity == named.identity
    assert ready.price == named.price is not None
    assert ready.leaves_machine == "api.openai.com"
    assert ready.with_settings(temperature=0.5).address == ready.address
    ready.check(dollars=True)


def test_azures_path_is_the_sdks() -> None:
    with OpenAIServer(lambda body: "delivery") as server:
        azure = openai.AzureOpenAI(azure_endpoint=server.url.removesuffix("/v1"), api_key="k", api_version="2024-10-21")
        with azure:
            assert asyncio.run(ask(lt.LM("mine", client=azure))).text == "delivery"
        assert server.paths == ["/openai/deployments/mine/chat/completions?api-version=2024-10-21"]


@pytest.mark.parametrize("settings", [{"base_url": "http://x/v1"}, {"api_key": "k2"}, {"client": object()}])
def test_what_contradicts_the_client_is_told(settings: Any) -> None:
    with pytest.raises(ConfigError, match="client"):
        lt.LM("m", **{"client": openai.OpenAI(api_key="k"), **settings})
