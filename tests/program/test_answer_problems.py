"""Answers that came, but not as they should, are counted by predictor: in evaluations, journals, and reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.lm.request import Completion, Request
from luthier.program.answer_problems import is_another
from luthier.report.answer_problems_text import say_problems, sum_problems
from tests.lm.server import Body, OpenAIServer


@dataclass(frozen=True)
class Parts:
    size: int
    colour: str


@lt.predictor
def parts(thing: str) -> Parts:
    """Describe a thing."""
    return lt.predict()


@lt.predictor
def word(thing: str) -> str:
    """Name a thing."""
    return lt.predict()


ROWS = [{"thing": str(i), "word": "ball"} for i in range(4)]


def counted(program: Any, completion: Completion) -> dict[str, dict[str, int]]:
    def answer(request: Request) -> Completion:
        return completion

    return lt.evaluate(program, ROWS, lambda example, prediction: True, lm=lt.LM(answer)).badly


def test_a_cut_answer_is_counted_though_it_can_be_read() -> None:
    assert counted(word, Completion("ba", "length")) == {"word": {"cut off by the length limit": 4}}


@pytest.mark.parametrize("completion", [Completion("", "stop", refusal="I can't."), Completion("", "content_filter")])
def test_a_refusal_is_counted(completion: Completion) -> None:
    assert counted(word, completion) == {"word": {"refused": 4}}


@pytest.mark.parametrize(
    ("text", "wrapped"),
    [
        ('{"size": 1, "colour": "red"}', False),
        ('```json\n{"size": 1, "colour": "red"}\n```', False),
        ('Sure! {"size": 1, "colour": "red"}', True),
        ('{"size": 1, "colour": "red"} Anything else?', True),
    ],
)
def test_text_around_the_json_is_counted_and_read_past(text: str, wrapped: bool) -> None:
    assert counted(parts, Completion(text)) == ({"parts": {"text around the JSON": 4}} if wrapped else {})


def test_an_object_in_a_text_is_part_of_the_text() -> None:
    assert counted(word, Completion('I would write {"ball": 1} here')) == {}


@pytest.mark.parametrize(
    ("asked", "echoed", "another"),
    [
        ("openai/gpt-4.1-mini", "gpt-4.1-mini-2025-04-14", False),
        ("openai/gpt-4.1-mini", "gpt-3.5-turbo", True),
        ("openai/gpt-4.1", "gpt-4.1-mini", True),
        ("openai/gpt-4", "gpt-4-32k", True),
        ("openai/gpt-4.1-2025-04-14", "gpt-4.1", False),
        ("ollama/llama3", "llama3:8b-instruct", False),
        ("openai/qwen2.5-0.5b", "/models/qwen2.5-0.5b-q4_k_m.gguf", False),
        ("vllm/meta-llama/Llama-3-8B", "llama-3-8b", False),
        ("openai/x", "", False),
    ],
)
def test_another_model_is_told_from_the_same_under_a_longer_name(asked: str, echoed: str, another: bool) -> None:
    assert is_another(echoed, asked) is another


def test_a_server_that_answers_with_another_model_is_found_out_in_journal_and_report(tmp_path: Path) -> None:
    def answer(body: Body) -> dict[str, Any]:
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ball"}}
        usage = {"prompt_tokens": 5, "completion_tokens": 1}
        return {"model": "something-cheaper", "choices": [choice], "usage": usage}

    rows = [{"thing": str(i), "word": "ball" if i % 3 else "cube"} for i in range(70)]
    with OpenAIServer(answer) as server:
        lm = lt.LM("openai/dear", base_url=server.url, api_key="key")
        result = lt.optimize(
            word, rows, lt.exact_match("word"), lm=lm, optimizer="labeled-few-shot", study_dir=tmp_path / "study"
        )
    baseline = next(event for event in result.events if event["event"] == "baseline")
    assert (
        sum_problems(outcome["badly"] for outcome in baseline["outcomes"])["word"]["from another model"]
        == baseline["n"]
    )
    assert "from another model" in result.report.read_text(encoding="utf-8")


def test_counts_are_said_in_one_line() -> None:
    counts = {"b": {"refused": 1}, "a": {"text around the JSON": 2, "cut off by the length limit": 3}}
    assert say_problems(counts) == "a: 3 cut off by the length limit, 2 text around the JSON; b: 1 refused"
