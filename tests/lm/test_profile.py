"""Which models are taken to be able, and which small."""

from __future__ import annotations

import pytest

import luthier as lt
from luthier.errors import ConfigError
from luthier.lm.profile import Profile, profile_named


@pytest.mark.parametrize(
    "name",
    [
        "qwen2.5-coder-0.5b",
        "Qwen/Qwen2.5-1.5B-Instruct",
        "llama3.2:1b",
        "HuggingFaceTB/SmolLM2-360M-Instruct",
        "google/gemma-2-2b-it",
        "meta-llama/Llama-3.2-1B-Instruct-Q4_K_M",
        "gemma-3n-e2b-it",
    ],
)
def test_a_name_with_less_than_three_billion_parameters_is_small(name: str) -> None:
    assert profile_named(name, embedded=False) is Profile.SMALL


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4.1-nano",
        "claude-haiku-4-5",
        "o4-mini-2025-04-16",
        "meta-llama/Llama-3.2-3B-Instruct",
        "qwen3-30b-a3b",
        "openai/gpt-oss-20b",
        "mistralai/Mixtral-8x7B-Instruct-v0.1",
        "qwen2.5-7b-instruct-1m",
        "deepseek-v3.1",
        "model-4bit",
    ],
)
def test_any_other_name_is_able(name: str) -> None:
    assert profile_named(name, embedded=False) is Profile.ABLE


def test_an_embedded_model_is_small_unless_its_name_says_otherwise() -> None:
    assert lt.LM("local/qwen2.5-coder-0.5b").profile is Profile.SMALL
    assert lt.LM("local/mine.gguf").profile is Profile.SMALL
    assert lt.LM("local/llama-3.1-8b-instruct.gguf").profile is Profile.ABLE


def test_the_profile_can_be_given_and_a_callable_is_able() -> None:
    assert lt.LM(lambda request: "").profile is Profile.ABLE
    assert lt.LM(lambda request: "", profile="small").profile is Profile.SMALL
    assert lt.LM("local/qwen2.5-coder-0.5b", profile="able").profile is Profile.ABLE
    with pytest.raises(ConfigError, match="profile"):
        lt.LM("m", base_url="http://127.0.0.1:1", profile="tiny")  # type: ignore[arg-type]
