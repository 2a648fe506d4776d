"""A prompt that a server refuses is told from a caller, a setting, and a moment that it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from luthier.errors import AccessDenied, LMError, RateLimited, RequestRejected
from luthier.lm.refused import refused_prompt
from luthier.lm.reply import answered_refusal, error_of


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


# By provider: the status, and the body as its documentation, its source, or reports of its users have it; such as
# aws-samples/bedrock-chat#95, aaif-goose/goose#7504, evalstate/fast-agent#621, charmbracelet/crush#946, Azure's
# content filter in stanford-crfm/helm#3327, and the wordings that LiteLLM's exception mapping knows.
TOO_LONG: dict[str, tuple[int, Any]] = {
    "OpenAI": (
        400,
        error(
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
            code="context_length_exceeded",
        ),
    ),
    "OpenAI, responses": (400, error("Your input exceeds the context window of this model.", code="invalid_request")),
    "OpenAI, limit of the account": (
        429,
        error("Request too large for gpt-4.1 on tokens per min (TPM): Limit 30000, Requested 41000.", code="tokens"),
    ),
    "OpenAI, limit of a deployment": (
        400,
        error("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 509178 tokens."),
    ),
    "OpenAI, one text": (
        400,
        error("Invalid 'messages[1].content': string too long. Expected a string with maximum length 1048576."),
    ),
    "Anthropic": (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "prompt is too long: 210094 tokens > 200000 maximum"},
        },
    ),
    "Anthropic, with the answer": (
        400,
        error("input length and `max_tokens` exceed context limit: 197202 + 21333 > 200000, decrease input length"),
    ),
    "Anthropic, bytes": (413, error("Request exceeds the maximum size", type="request_too_large")),
    "Gemini": (
        400,
        [error("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", code=400)],
    ),
    "Vertex AI": (400, error("The input token count is 1100000 but model only supports up to 1048576.", code=400)),
    "Azure": (400, error("This model's maximum context length is 8192 tokens.", code="context_length_exceeded")),
    "Bedrock": (400, {"message": "Input is too long for requested model."}),
    "Bedrock, Claude": (
        400,
        {"message": "The model returned the following errors: prompt is too long: 227255 tokens > 200000 maximum"},
    ),
    "Bedrock, Llama": (
        400,
        {"message": "Too many input tokens. Max input tokens: 8192, request input token count: 9999"},
    ),
    "Mistral": (
        400,
        {
            "object": "error",
            "message": "Prompt contains 40960 tokens, too large for model with 32768 maximum context length",
            "code": "3051",
        },
    ),
    "DeepSeek": (
        400,
        error(
            "This model's maximum context length is 65536 tokens. However, you requested 69648 tokens (69648 in the "
            "messages, 0 in the completion). Please reduce the length of the messages or completion."
        ),
    ),
    "xAI": (400, {"error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."}),
    "Groq": (400, error("Please reduce the length of the messages or completion.", code="context_length_exceeded")),
    "Groq, limit of the account": (
        413,
        error(
            "Request too large for model `llama-3.3-70b-versatile` on tokens per minute (TPM): Limit 12000, Requested "
            "15000, please reduce your message size and try again.",
            code="rate_limit_exceeded",
        ),
    ),
    "Cerebras": (
        400,
        {
            "message": "Please reduce the length of the messages. Current length is 8195 while limit is 8192",
            "code": "context_length_exceeded",
        },
    ),
    "Together": (
        422,
        error("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 and 200"),
    ),
    "Fireworks": (400, error("The prompt is too long: 140000, model maximum context length: 131071")),
    "Cohere": (
        400,
        {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000"},
    ),
    "DashScope": (400, error("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]")),
    "Moonshot": (400, error("Invalid request: Your request exceeded model token limit: 131072 (requested: 140000)")),
    "MiniMax": (400, error("invalid params, context window exceeds limit (2013)")),
    "Z.ai": (400, error("Prompt exceeds max length", code="model_context_window_exceeded")),
    "watsonx": (
        400,
        {"errors": [{"message": "the number of input tokens 5000 cannot exceed the total tokens limit 4096"}]},
    ),
    "GitHub": (
        413,
        error("Request body too large for gpt-4o model. Max size: 8000 tokens.", code="tokens_limit_reached"),
    ),
    "OpenRouter": (
        400,
        error(
            "Provider returned error",
            code=400,
            metadata={"raw": json.dumps(error("prompt is too long: 210094 tokens > 200000 maximum"))},
        ),
    ),
    "vLLM": (
        400,
        {
            "object": "error",
            "message": "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
            "type": "BadRequestError",
        },
    ),
    "SGLang": (400, {"message": "The input (9000 tokens) is longer than the model's context length (8192 tokens)."}),
    "llama.cpp": (
        400,
        error(
            "the request exceeds the available context size, try increasing it",
            type="exceed_context_size_error",
            n_prompt_tokens=9000,
            n_ctx=4096,
        ),
    ),
    "llama.cpp, older": (500, error("request (9000 tokens) exceeds the available context size (4096 tokens)")),
    "Ollama": (400, {"error": "prompt too long; exceeded max context length by 4096 tokens"}),
    "Ollama, embeddings": (500, {"error": "the input length exceeds the context length"}),
    "LM Studio": (400, {"error": "Trying to keep the first 9000 tokens when context length is only 4096 tokens"}),
    "TGI": (422, {"error": "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000"}),
    "LiteLLM": (400, error("litellm.ContextWindowExceededError: the model's maximum context limit was exceeded")),
    "a proxy": (413, "<html><body>413 Request Entity Too Large</body></html>"),
}
FLAGGED: dict[str, tuple[int, Any]] = {
    "OpenAI": (
        400,
        error(
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.", code="invalid_prompt"
        ),
    ),
    "OpenAI, images": (400, error("Your request was rejected as a result of our safety system.", code="moderation")),
    "OpenAI, policy": (400, error("Your request was rejected.", code="content_policy_violation")),
    "Azure": (
        400,
        error(
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            code="content_filter",
            innererror={"code": "ResponsibleAIPolicyViolation"},
        ),
    ),
    "Anthropic": (400, error("Output blocked by content filtering policy", type="invalid_request_error")),
    "Gemini": (400, error("The prompt was blocked due to safety: PROHIBITED_CONTENT", code=400)),
    "Bedrock": (400, {"message": "The guardrail intervened: input blocked."}),
    "DeepSeek": (400, error("Content Exists Risk", type="invalid_request_error")),
    "DashScope": (400, error("Input data may contain inappropriate content.", code="data_inspection_failed")),
    "Moonshot": (400, error("The request was rejected because it was considered high risk", type="content_filter")),
    "MiniMax": (400, error("input new_sensitive (1026)")),
    "Zhipu": (
        400,
        {"contentFilter": [{"level": 1}], "error": {"code": "1301", "message": "unsafe or sensitive content"}},
    ),
    "xAI": (403, {"code": "The caller does not have permission", "error": "Content violates usage guidelines."}),
    "OpenRouter": (
        403,
        error(
            'openai/gpt-4o requires moderation on OpenAI. Your input was flagged for "violence".',
            code=403,
            metadata={"reasons": ["violence"], "flagged_input": "..."},
        ),
    ),
    "LiteLLM": (400, error("litellm.ContentPolicyViolationError: AzureException")),
}
NO_PROMPT: dict[str, tuple[int, Any, type[LMError]]] = {
    "a parameter": (
        400,
        error("Unsupported parameter: 'max_tokens' is not supported with this model.", param="max_tokens"),
        RequestRejected,
    ),
    "a long answer, OpenAI": (
        400,
        error("max_tokens is too large: 100000. This model supports at most 16384 completion tokens."),
        RequestRejected,
    ),
    "a long answer, Anthropic": (
        400,
        error("max_tokens: 64000 > 8192, which is the maximum allowed number of output tokens for claude-3-5"),
        RequestRejected,
    ),
    "a long answer, Groq": (
        400,
        error(
            "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the "
            "`context_window` for this model"
        ),
        RequestRejected,
    ),
    "a long answer, Bedrock": (
        400,
        {"message": "The maximum tokens you requested exceeds the model limit of 8192. Try again with a lower value."},
        RequestRejected,
    ),
    "a schema": (400, error("Invalid schema for response_format 'queue': 'type' is missing."), RequestRejected),
    "a model": (404, error("The model `gpt-9` with a longer context window does not exist"), RequestRejected),
    "a key": (401, error("Incorrect API key provided.", code="content_filter"), AccessDenied),
    "a key without rights": (403, error("Your key has no access to models with this content policy."), AccessDenied),
    "a firewall": (403, "<html>Sorry, you have been blocked for safety by the content filter</html>", AccessDenied),
    "a spending limit": (403, error("Key limit exceeded (total limit)"), AccessDenied),
    "the pace": (429, error("Rate limit reached: too many tokens per minute (TPM)"), RateLimited),
    "the pace, with another status": (400, error("Too many input tokens per day, please wait."), RequestRejected),
    "what it repeats of a prompt": (
        400,
        {"detail": [{"loc": ["body", "seed"], "msg": "value is not an integer", "input": "The prompt is too long."}]},
        RequestRejected,
    ),
}


def body(said: Any) -> bytes:
    return said.encode() if isinstance(said, str) else json.dumps(said).encode()


@pytest.mark.parametrize("provider", TOO_LONG)
def test_a_prompt_that_is_too_long_is_an_answer_that_is_cut(provider: str) -> None:
    status, said = TOO_LONG[provider]
    assert refused_prompt(status, body(said)) == "length"
    completion = answered_refusal(status, body(said))
    assert completion is not None and completion.refusal and completion.text == ""


@pytest.mark.parametrize("provider", FLAGGED)
def test_a_prompt_that_is_flagged_is_an_answer_that_a_filter_stopped(provider: str) -> None:
    status, said = FLAGGED[provider]
    assert refused_prompt(status, body(said)) == "content_filter"


@pytest.mark.parametrize("what", NO_PROMPT)
def test_what_is_no_fault_of_the_prompt_stays_an_error(what: str) -> None:
    status, said, kind = NO_PROMPT[what]
    assert refused_prompt(status, body(said)) is None
    assert type(error_of(status, body(said), {}, "where")) is kind
