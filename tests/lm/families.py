"""Servers that behave like providers' families: what they refuse, how they word it, where thoughts go, how they bill.

Each wording is one that somebody got and published; the source stands beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.lm.server import Body, Fault, reply

Refuse = Callable[[Body], Fault | None]
Shape = Callable[[dict[str, Any]], dict[str, Any]]


def _error(message: str, **more: Any) -> Fault:
    return Fault(400, {"error": {"message": message, "type": "invalid_request_error", **more}})


def openai(body: Body) -> Fault | None:
    if "max_tokens" in body:  # https://github.com/musistudio/claude-code-router/issues/173
        said = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return _error(said, param="max_tokens", code="unsupported_parameter")
    if body.get("temperature", 1) != 1:  # https://github.com/gabrii/Cursor-Azure-GPT-5/issues/33
        said = (
            f"Unsupported value: 'temperature' does not support {body['temperature']} with this model. "
            "Only the default (1) value is supported."
        )
        return _error(said, param="temperature", code="unsupported_value")
    return None


def azure(body: Body) -> Fault | None:
    if (body.get("response_format") or {}).get("type") == "json_schema":
        # https://github.com/dotnet/extensions/issues/6130
        said = "response_format value as json_schema is enabled only for api versions 2024-08-01-preview and later"
        return Fault(400, {"error": {"code": "BadRequest", "message": said}})
    return openai(body)  # https://github.com/holoviz/lumen/pull/1087: its deployments speak as OpenAI does


def anthropic(body: Body) -> Fault | None:
    if "temperature" in body and "top_p" in body:  # https://github.com/anomalyco/opencode/issues/28930
        said = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        error = {"type": "invalid_request_error", "message": said}
        return Fault(400, {"type": "error", "error": error, "request_id": "req_1"})
    return None


def gemini(body: Body) -> Fault | None:
    # https://github.com/MinLL/SkyrimNet-GamePlugin/issues/77: a list, one line for each field
    unknown = [name for name in ("seed", "logprobs") if name in body]
    lines = [f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.' for name in unknown]
    details = [{"fieldViolations": [{"description": line} for line in lines]}]
    error = {"code": 400, "message": "\n".join(lines), "status": "INVALID_ARGUMENT", "details": details}
    return Fault(400, [{"error": error}]) if unknown else None


def bedrock(body: Body) -> Fault | None:
    if "max_tokens" in body:  # https://github.com/logancyang/obsidian-copilot/issues/2145
        said = "#: extraneous key [max_tokens] is not permitted, please reformat your input and try again."
        return Fault(400, {"message": f"Malformed input request: {said}"})
    return None


def openrouter(body: Body) -> Fault | None:
    inner = openai({name: value for name, value in body.items() if name != "max_tokens"})
    if inner is None:
        return None
    # https://github.com/reVrost/go-openrouter/pull/21: the provider's own words are a text inside
    raw = json.dumps(inner.body, indent=2)
    error = {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw, "provider_name": "OpenAI"}}
    return Fault(400, {"error": error, "user_id": "org_1"})


def groq(body: Body) -> Fault | None:
    # https://github.com/groq/groq-python/issues/25
    return _error("`logprobs` is not supported with this model") if "logprobs" in body else None


def mistral(body: Body) -> Fault | None:
    if "seed" not in body:
        return None
    # https://github.com/mistralai/platform-docs-public/issues/7: 422, and JSON inside a text
    found = [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 7}]
    said = {"object": "error", "message": json.dumps({"detail": found}), "param": None, "code": "1000"}
    return Fault(422, {**said, "type": "internal_error_proxy"})


def deepseek(body: Body) -> Fault | None:
    if (body.get("response_format") or {}).get("type") == "json_schema":
        # https://github.com/llm-exe/llm-exe/issues/662
        return _error("This response_format type is unavailable now", param=None, code="invalid_request_error")
    return None


# --- how they bill, and where thoughts go --------------------------------------------------------------------------

THOUGHT = 50
"""Tokens of hidden reasoning that every answer takes."""


def _inside(whole: dict[str, Any]) -> dict[str, Any]:
    # OpenAI: a part of completion_tokens (https://platform.openai.com/docs/guides/reasoning)
    usage = whole["usage"]
    usage["completion_tokens"] += THOUGHT
    usage["total_tokens"] += THOUGHT
    usage["completion_tokens_details"] = {"reasoning_tokens": THOUGHT}
    return whole


def _beside(whole: dict[str, Any]) -> dict[str, Any]:
    # Gemini: only in the total (https://github.com/router-for-me/CLIProxyAPI/issues/5733)
    whole["usage"]["total_tokens"] += THOUGHT
    return whole


def _in_a_field(name: str) -> Shape:
    # https://api-docs.deepseek.com/zh-cn/guides/reasoning_model; Groq and OpenRouter name it "reasoning"
    def shape(whole: dict[str, Any]) -> dict[str, Any]:
        whole["choices"][0]["message"][name] = "It is about money, so: delivery? No, billing."
        return _inside(whole)

    return shape


def _in_parts(whole: dict[str, Any]) -> dict[str, Any]:
    # https://github.com/spring-projects/spring-ai/pull/5020: content is a list, thoughts a part of their own
    message = whole["choices"][0]["message"]
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Delivery? No."}]}
    message["content"] = [thought, {"type": "text", "text": message["content"]}]
    return whole


def _before_an_orphan_tag(whole: dict[str, Any]) -> dict[str, Any]:
    # https://github.com/deepseek-ai/DeepSeek-R1/issues/352: the template opens the tag, and the model closes it
    message = whole["choices"][0]["message"]
    message["content"] = f"It is about delivery? No.\n</think>\n\n{message['content']}"
    return whole


@dataclass(frozen=True)
class Family:
    """One family of providers."""

    name: str
    model: str
    """As users name it."""
    refuse: Refuse
    learned: frozenset[str]
    """What a study learns that it refuses, with the settings below."""
    shape: Shape = _inside
    settings: Mapping[str, Any] = field(default_factory=dict)

    def answer(self, body: Body, text: str) -> Fault | dict[str, Any]:
        """Return what the server answers whose model says ``text``."""
        refused = self.refuse(body)
        return self.shape(reply(body, text)) if refused is None else refused


FAMILIES = (
    Family("openai", "openai/gpt-5-mini", openai, frozenset()),
    Family("azure", "azure/prod-1", azure, frozenset({"temperature", "max_tokens", "response_format"})),
    Family("anthropic", "anthropic/claude-sonnet-4-5", anthropic, frozenset({"temperature"}), settings={"top_p": 0.9}),
    Family("gemini", "gemini/gemini-2.5-flash", gemini, frozenset({"seed"}), _beside, {"extra": {"seed": 7}}),
    Family("bedrock", "bedrock/openai.gpt-oss-20b-1:0", bedrock, frozenset({"max_tokens"}), _before_an_orphan_tag),
    Family("openrouter", "openrouter/vendor/m", openrouter, frozenset({"temperature"}), _in_a_field("reasoning")),
    Family(
        "groq", "groq/qwen3-32b", groq, frozenset({"logprobs"}), _in_a_field("reasoning"), {"extra": {"logprobs": True}}
    ),
    Family("mistral", "mistral/magistral-small", mistral, frozenset({"seed"}), _in_parts, {"extra": {"seed": 7}}),
    Family("deepseek", "deepseek/deepseek-chat", deepseek, frozenset(), _in_a_field("reasoning_content")),
)
