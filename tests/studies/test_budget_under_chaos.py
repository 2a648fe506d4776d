"""A study with tight limits, 64 calls at once, faults, and interruptions: the server's own count stays within them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import BudgetExhausted
from luthier.lm import gateway
from luthier.lm.middleware.retry import RetryPolicy
from tests.lm.server import Fault, OpenAIServer, reply
from tests.optimizers.studies import Interrupted, stop_after
from tests.studies import world
from tests.studies.test_kill_and_resume import answer

PRICE = lt.Price(input=1.0, output=4.0)
FAULTS = (
    Fault(500, {"error": {"message": "oops"}}),
    Fault(200, "no JSON at all"),
    Fault(drop=True),
    Fault(unbilled=True),
)


def quick_retries() -> RetryPolicy:
    return RetryPolicy(first=0.02, longest=0.2)


def true_spending(server: OpenAIServer) -> dict[str, float]:
    """Count what the server did, attempts that it then failed included, as if each had been answered."""
    read = written = 0
    for body in server.requests:
        usage = reply(body, answer(body))["usage"]
        read, written = read + usage["prompt_tokens"], written + usage["completion_tokens"]
    return {"lm_calls": len(server.requests), "tokens": read + written, "usd": PRICE.usd(read, written)}


@pytest.mark.parametrize(
    "budget", [lt.Budget(lm_calls=1500), lt.Budget(usd=0.35), lt.Budget(usd=2.0, lm_calls=1800, tokens=300_000)]
)
@pytest.mark.timeout(120)
def test_no_limit_is_exceeded_by_the_servers_own_count(
    tmp_path: Path, budget: lt.Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "RetryPolicy", quick_retries)
    rng = random.Random(repr(budget))
    plan = [rng.choice(FAULTS) if rng.random() < 0.15 else None for _ in range(20_000)]
    ended = ""
    with OpenAIServer(answer, faults=plan) as server:
        lm = lt.LM("openai/world", base_url=server.url, api_key="key", price=PRICE, max_tokens=20, timeout=5)
        given: dict[str, Any] = {
            "lm": lm, "study_dir": tmp_path / "study", "budget": budget, "concurrency": 64, "auto": None,
        }  # fmt: skip
        for events in (9, 18, None):
            listener = None if events is None else stop_after(events)
            try:
                result = lt.optimize(
                    world.describe, world.rows(110), lt.exact_match("answer"), on_event=listener, **given
                )
                ended = result.decision
            except (Interrupted, BudgetExhausted) as error:
                ended = type(error).__name__
            spent = true_spending(server)
            for name, limit in budget.limits.items():
                assert spent[name] <= limit * (1 + 1e-9), name
    assert ended in ("adopt", "keep", "undecided"), "the verdict was paid for"
