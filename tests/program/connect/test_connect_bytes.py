"""A program with a connected client sends the bytes that it sent before luthier."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import openai
import pytest

import luthier as lt
from tests.lm.server import OpenAIServer

ROWS = [{"ticket": "Where is my parcel 7?", "answer": "delivery"}]
INSTRUCTION = "Name the queue."
TOOL = {"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {"type": "object"}}}
FORM = {"type": "json_schema", "json_schema": {"name": "q", "schema": {"type": "object"}, "strict": True}}
VOLATILE = {"x-stainless-retry-count", "host"}

Ask = Callable[[Any, list[Any]], Any]


def plain(client: Any, messages: list[Any]) -> Any:
    return client.chat.completions.create(model="m", messages=messages)


def settled(client: Any, messages: list[Any]) -> Any:
    return client.chat.completions.create(
        model="m",
        messages=messages,
        temperature=0.25,
        max_completion_tokens=9,
        seed=3,
        n=2,
        logprobs=True,
        stop=["\n", "é"],
        tools=[TOOL],
        response_format=FORM,
        user="u",
        extra_body={"top_k": 4},
        extra_headers={"X-Extra": "yes"},
        extra_query={"trace": "1"},
        timeout=17,
    )


def with_image(client: Any, messages: list[Any]) -> Any:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
    seen = [messages[0], {"role": "user", "content": [{"type": "text", "text": "ö"}, image]}]
    return client.chat.completions.create(model="m", messages=seen)


def base_model(client: Any, messages: list[Any]) -> Any:
    return client.completions.create(model="m", prompt=messages[-1]["content"], max_tokens=5)


def raw(client: Any, messages: list[Any]) -> Any:
    return client.chat.completions.with_raw_response.create(model="m", messages=messages)


def of_another_timeout(client: Any, messages: list[Any]) -> Any:
    return client.with_options(timeout=3, max_retries=5).chat.completions.create(model="m", messages=messages)


SHAPES: list[Ask] = [plain, settled, with_image, base_model, raw, of_another_timeout]


def clients(server: OpenAIServer) -> Mapping[str, Any]:
    plain: dict[str, Any] = {
        "base_url": server.url,
        "api_key": "k",
        "organization": "org",
        "default_headers": {"X-Mine": "1"},
    }
    azure: dict[str, Any] = {
        "azure_endpoint": server.url.removesuffix("/v1"),
        "api_key": "k",
        "api_version": "2024-10-21",
    }
    return {
        "OpenAI": openai.OpenAI(**plain),
        "AsyncOpenAI": openai.AsyncOpenAI(**plain),
        "AzureOpenAI": openai.AzureOpenAI(**azure),
        "AsyncAzureOpenAI": openai.AsyncAzureOpenAI(**azure),
        "Azure deployment": openai.AzureOpenAI(**azure, azure_deployment="mine"),
    }


def programs(client: Any, ask: Ask) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return one program twice: as it was before luthier, and with its call as a predictor."""

    def messages(ticket: str) -> list[Any]:
        return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": ticket}]

    @lt.predictor(instruction=INSTRUCTION)
    def queue(ticket: str) -> str:
        ask(connected, [{"role": "system", "content": lt.prompt().instruction}, *messages(ticket)[1:]])
        return "delivery"

    @lt.predictor(instruction=INSTRUCTION)
    async def aqueue(ticket: str) -> str:
        await ask(connected, [{"role": "system", "content": lt.prompt().instruction}, *messages(ticket)[1:]])
        return "delivery"

    def before(ticket: str) -> str:
        with client:
            ask(client, messages(ticket))
        return "delivery"

    async def abefore(ticket: str) -> str:
        async with client:
            await ask(client, messages(ticket))
        return "delivery"

    def after(ticket: str) -> str:
        return queue(ticket=ticket)

    async def aafter(ticket: str) -> str:
        return await aqueue(ticket=ticket)

    connected = lt.connect(client)
    return (abefore, aafter) if hasattr(client, "__aenter__") else (before, after)


def sent(server: OpenAIServer) -> list[Any]:
    """Return what has arrived since the last look, all but what the SDK changes with every request."""
    seen = [
        (method, path, body, {name: value for name, value in headers.items() if name.lower() not in VOLATILE})
        for method, path, body, headers in zip(server.methods, server.paths, server.bodies, server.headers, strict=True)
    ]
    for kept in (server.methods, server.paths, server.bodies, server.headers, server.requests):
        kept.clear()
    return seen


@pytest.mark.parametrize("ask", SHAPES)
@pytest.mark.parametrize("kind", ["OpenAI", "AsyncOpenAI", "AzureOpenAI", "AsyncAzureOpenAI", "Azure deployment"])
def test_inside_a_study_under_bind_and_outside_the_undecorated_programs_bytes_leave(kind: str, ask: Ask) -> None:
    with OpenAIServer(lambda body: "delivery") as server:
        client = clients(server)[kind]
        before, after = programs(client, ask)
        lm = lt.LM(lambda request: "never asked")
        assert lt.evaluate(after, ROWS, lt.exact_match, lm=lm).mean == 1.0
        inside = sent(server)

        async def elsewhere() -> list[list[Any]]:
            # On one loop, as an async client wants it.
            seen = []
            for program in (lt.bind(after, lm=lm), before):
                result = program(ROWS[0]["ticket"])
                assert (await result if asyncio.iscoroutine(result) else result) == "delivery"
                seen.append(sent(server))
            return seen

        bound, undecorated = asyncio.run(elsewhere())
        assert len(undecorated) == 1
        assert inside == undecorated
        assert bound == undecorated
