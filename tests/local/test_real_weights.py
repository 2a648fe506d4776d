"""What the real llama.cpp server must do, with the smallest model (``luthier models pull smollm2-135m`` fetches it)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from luthier.lm.local import LocalServer, close_servers, local_server, model_path

pytestmark = pytest.mark.weights

LABELS = 'root ::= "positive" | "negative"'
HEADER = "Say whether the review is positive or negative. " + " ".join(f"Rule {n}: be fair." for n in range(40))


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    if model_path("smollm2-135m") is None:
        pytest.skip("smollm2-135m is not there")
    yield local_server("smollm2-135m", slots=4)
    close_servers()


def post(server: LocalServer, path: str, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key or server.api_key}"}
    request = urllib.request.Request(server.base_url + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return dict(json.load(answer))


def chat(server: LocalServer, review: str, header: str = HEADER, **more: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": header}, {"role": "user", "content": review}]
    return post(server, "/chat/completions", {"messages": messages, "temperature": 0, "max_tokens": 8, **more})


def cached(answer: dict[str, Any]) -> int:
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


def test_a_grammar_binds_the_answer_on_both_endpoints(server: LocalServer) -> None:
    assert chat(server, "A joy.", grammar=LABELS)["choices"][0]["message"]["content"] in ("positive", "negative")
    body = {"prompt": "A joy. Verdict: ", "temperature": 0, "max_tokens": 8, "grammar": LABELS}
    assert post(server, "/completions", body)["choices"][0]["text"] in ("positive", "negative")


def test_a_schema_binds_a_chat_answer(server: LocalServer) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    form = {"type": "json_schema", "json_schema": {"name": "o", "schema": schema}}
    answer = chat(server, "A joy.", response_format=form, max_tokens=64)
    assert isinstance(json.loads(answer["choices"][0]["message"]["content"])["ok"], bool)


def test_an_answer_cut_by_max_tokens_says_so(server: LocalServer) -> None:
    assert chat(server, "Tell a long story.", max_tokens=2)["choices"][0]["finish_reason"] == "length"


def test_every_predictor_keeps_its_prefix_while_they_take_turns(server: LocalServer) -> None:
    headers = [f"Task {n}. " + HEADER.replace("fair", f"fair{n}") for n in range(4)]
    first = [chat(server, "A joy.", header) for header in headers]
    again = [chat(server, "A bore.", header) for header in headers]
    assert all(cached(answer) < 50 for answer in first)
    assert all(cached(answer) > 200 for answer in again)


def test_the_same_request_with_a_warm_prefix_gives_the_same_answer(server: LocalServer) -> None:
    texts = {chat(server, "Dull, and yet.", max_tokens=16)["choices"][0]["message"]["content"] for _ in range(4)}
    # The first reads the prefix and may round differently from those that find it.
    assert len(texts) <= 2
    assert len({chat(server, "Dull, and yet.")["choices"][0]["message"]["content"] for _ in range(3)}) == 1


def test_a_wrong_key_is_refused(server: LocalServer) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401") as caught:
        chat_with_wrong_key(server)
    caught.value.close()


def test_no_page_of_a_browser_may_read_it(server: LocalServer) -> None:
    request = urllib.request.Request(
        server.base_url.removesuffix("/v1") + "/health", headers={"Origin": "http://elsewhere.example"}
    )
    with urllib.request.urlopen(request) as answer:
        assert not answer.headers.get("Access-Control-Allow-Origin")


def chat_with_wrong_key(server: LocalServer) -> None:
    post(server, "/completions", {"prompt": "x", "max_tokens": 1}, key="wrong")
