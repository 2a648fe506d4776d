from __future__ import annotations

import copy
import pickle  # noqa: TID251 - what other libraries do with an LM
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from luthier.errors import ConfigError
from luthier.lm.lm import LM, Price
from luthier.lm.providers import is_loopback
from luthier.lm.redact import redact
from luthier.lm.request import Completion, Request
from luthier.types import Endpoint


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def test_making_an_lm_loads_no_heavy_library() -> None:
    heavy = "{'aiohttp', 'numpy', 'pydantic', 'optuna', 'sqlite3', 'genai_prices'}"
    code = f"import sys, luthier; luthier.LM('openai/gpt-4.1-mini', api_key='k'); print({heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_a_known_prefix_says_where_and_is_taken_off() -> None:
    lm = LM("openai/gpt-4.1-mini", api_key="k")
    assert lm.name == "openai/gpt-4.1-mini"
    assert lm.identity == "gpt-4.1-mini at https://api.openai.com/v1"
    assert lm.leaves_machine == "api.openai.com"
    assert LM("ollama/qwen3:4b").identity == "qwen3:4b at http://localhost:11434/v1"
    assert LM("ollama/qwen3:4b").leaves_machine is None


def test_any_name_works_with_a_base_url() -> None:
    lm = LM("Qwen/Qwen3-4B", base_url="http://user:secretpass@gpu.example:8000/v1/?token=abc")
    assert lm.identity == "Qwen/Qwen3-4B at http://gpu.example:8000/v1"
    assert lm.leaves_machine == "gpu.example"
    assert LM("m", base_url="http://127.0.0.1:9/v1").leaves_machine is None


def test_a_users_own_object_says_who_reads_the_requests() -> None:
    class Far(Near):
        leaves_machine = "api.example"

    assert LM(Far()).leaves_machine == "api.example"
    assert LM(Near()).leaves_machine is None


class Near:
    """An LM in the user's own code."""

    async def complete(self, request: Request) -> Completion:
        return Completion("ok")


def test_openai_base_url_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:5/v1")
    assert LM("openai/m").identity == "m at http://localhost:5/v1"
    LM("openai/m").check()


@pytest.mark.parametrize("host", ["localhost.evil.example", "127.evil.example", "api.openai.com", "10.0.0.1"])
def test_a_host_that_only_looks_local_leaves_the_machine(host: str) -> None:
    assert not is_loopback(f"http://{host}/v1")


@pytest.mark.parametrize(
    "make",
    [
        lambda: LM("gpt-4.1"),
        lambda: LM("nowhere/gpt"),
        lambda: LM("local/"),
        lambda: LM(7),  # type: ignore[arg-type]
        lambda: LM("m", base_url="ftp://x/v1"),
        lambda: LM("openai/m", temperature=-1),
        lambda: LM("openai/m", max_tokens=0),
        lambda: LM("openai/m", top_p=2.0),
        lambda: LM("openai/m", endpoint="talk"),  # type: ignore[arg-type]
        lambda: LM("openai/m", slots=2),
        lambda: LM("openai/m", extra={"x": object()}),
        lambda: LM("openai/m").with_settings(heat=1),
        lambda: Price(-1, 2),
        lambda: Price(float("nan"), 2),
    ],
)
def test_a_wrong_setting_is_an_error_at_once(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        make()


def test_a_missing_key_is_named_before_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = LM("openai/gpt-4.1-mini")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        lm.check()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    LM("openai/gpt-4.1-mini").check()


def test_prices_are_known_for_the_providers_own_address_only() -> None:
    assert LM("openai/gpt-4.1-mini", api_key="k").price == Price(0.4, 1.6, 0.1)
    assert LM("openai/gpt-4.1-mini", base_url="http://localhost:1/v1").price is None
    assert LM("openai/no-such-model", api_key="k").price is None
    assert LM(lambda request: "x").price is None
    assert LM("m", base_url="http://localhost:1/v1", price=Price(1, 2)).price == Price(1, 2)
    assert Price(1, 2, 0.5).usd(1_000_000, 1_000_000, 500_000) == pytest.approx(2.75)


def test_settings_change_into_a_new_lm() -> None:
    lm = LM("openai/m", api_key="k", temperature=0.2)
    warm = lm.with_settings(temperature=1.0)
    assert (lm.temperature, warm.temperature, warm.identity) == (0.2, 1.0, lm.identity)
    assert warm != lm and warm.with_settings(temperature=0.2) == lm
    assert hash(warm.with_settings(temperature=0.2)) == hash(lm)
    assert warm.line == lm.line and lm.with_settings(rpm=3).line != lm.line


def test_endpoint_and_limits_follow_the_kind_of_model() -> None:
    assert LM("openai/m").endpoint is Endpoint.CHAT and LM("openai/m").max_in_flight == 256
    assert LM("openai/m").supports_schema and not LM("openai/m").supports_grammar
    assert not LM("deepseek/m").supports_schema
    local = LM("local/qwen2.5-coder-0.5b", slots=3)
    assert local.endpoint is Endpoint.COMPLETIONS and local.max_in_flight == 1
    assert local.with_settings(max_in_flight=2).max_in_flight == 2
    assert local.is_local and local.supports_grammar and local.leaves_machine is None
    assert local.price == Price(0, 0)
    function = LM(lambda request: "x")
    assert not function.supports_schema and function.leaves_machine is None


def test_an_embedded_model_is_its_weights() -> None:
    lm = LM("local/qwen2.5-coder-0.5b")
    assert lm.identity == "local:1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"


def test_a_budget_in_dollars_needs_a_price_but_not_of_an_engine_on_this_machine() -> None:
    proxy = LM("m", base_url="http://localhost:4000/v1")  # LiteLLM's, say: what it passes on is paid for
    for lm in (LM("m", base_url="https://lm.invalid/v1"), LM(lambda request: "x"), proxy):
        with pytest.raises(ConfigError, match="needs a price"):
            lm.check(dollars=True)
        lm.with_settings(price=Price(0, 0)).check(dollars=True)
    LM("ollama/qwen3:4b").check(dollars=True)
    LM("local/smollm2-135m").check(dollars=True)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Incorrect key: sk-proj-abcDEF123456789", "abcDEF"),
        ("Authorization: Bearer abcdef.123456-xyz", "abcdef"),
        ("https://ada:hunter2@host/v1 broke", "hunter2"),
        ("GET /v1?api_key=abcdef123 failed", "abcdef123"),
        ('{"api_key": "abcdef123"}', "abcdef123"),
        ("gsk_abcdefgh12345678 and AIzaSyA-1234567890abcdefgh", "1234567890"),
        ("sk-abc***************xyz9 is wrong", "xyz9"),
    ],
)
def test_the_redactor_knows_the_usual_forms_of_secrets(text: str, secret: str) -> None:
    assert secret not in redact(text)
    assert "redacted" in redact(text)


def test_the_redactor_leaves_plain_text_alone() -> None:
    for text in ("the token count is 5", "https://host/v1/chat answered 500", "keys: a, b", "a secret garden"):
        assert redact(text) == text


def test_a_key_in_no_usual_form_is_known_from_its_lm(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[Any] = ["strangekey0", "another one"]
    LM("m", base_url="http://localhost:1/v1", api_key=keys[0])
    monkeypatch.setenv("OPENAI_API_KEY", keys[1])
    LM("openai/m")
    assert redact(f"<{keys[0]}|{keys[1]}>") == "<[redacted]|[redacted]>"


def test_an_lm_travels_to_another_process_without_its_key() -> None:
    lm = LM("openai/world", base_url="http://user:hidden-word@127.0.0.1:9/v1", api_key="secret-key", max_tokens=7)
    moved = pickle.dumps(lm)
    assert b"secret-key" not in moved
    assert b"hidden-word" not in moved
    there = pickle.loads(moved)
    assert there.identity == lm.identity
    assert there.max_tokens == 7


def test_a_copy_of_an_lm_is_the_lm() -> None:
    lm = LM("openai/world", base_url="http://127.0.0.1:9/v1", api_key="secret-key")
    assert copy.deepcopy([lm])[0] is lm
