"""With three of ten calls hit by faults of every kind, a study ends exactly as one that nothing befell."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.lm import gateway
from luthier.lm.middleware.retry import RetryPolicy
from luthier.report.paid import faults, unbilled
from luthier.runner.verdict import Verdict
from tests.lm.server import Fault, OpenAIServer
from tests.studies import world
from tests.studies.test_kill_and_resume import answer

SAID = {"error": {"message": "no"}}
KINDS = (
    ("RateLimited", 1, Fault(429, SAID, {"Retry-After": "0.05"})),
    ("RateLimited", 1, Fault(429, SAID)),
    ("ServerFault", 2, Fault(500, SAID)),
    ("ServerFault", 2, Fault(502, "<html>bad gateway</html>")),
    ("ServerFault", 2, Fault(503, "")),
    ("BadAnswer", 2, Fault(200, "no JSON at all")),
    ("BadAnswer", 2, Fault(200, {"choices": []})),
    ("BadAnswer", 2, Fault(cut=True)),
    ("Unreachable", 2, Fault(drop=True)),
    ("Unreachable", 2, Fault(reset=True)),
    ("Unreachable", 1, Fault(away=0.1)),
    ("CallTimeout", 0.4, Fault(hang=2.0)),
    ("CallTimeout", 0.4, Fault(drip=2.0)),
    ("unbilled", 2, Fault(unbilled=True)),
)
"""As what an attempt is counted, how often it comes, and what the server does."""
HIT = 0.3
CHARGED_IN_FULL = ("ServerFault", "BadAnswer", "Unreachable", "CallTimeout", "unbilled")
"""What the server may have worked for."""


def tune(directory: Path, server: OpenAIServer) -> lt.Result[Any]:
    return lt.optimize(
        world.describe,
        world.rows(110),
        lt.exact_match("answer"),
        lm=lt.LM("openai/world", base_url=server.url, api_key="key", timeout=1.0),
        optimizer=lt.MIPRO(candidates=4, demo_sizes=(0, 3, 6), instructions=3, trials=6, minibatch=9, closing=2),
        study_dir=directory,
        looks=directory.with_name(f"{directory.name}-looks.sqlite"),  # each is the first
    )


def told(result: lt.Result[Any]) -> list[Any]:
    return [
        (event["event"], event.get("mean"), [(o["example"], o["value"]) for o in event.get("outcomes", ())])
        for event in result.events
        if event["event"] in ("baseline", "tell")
    ]


def without_tokens(verdict: Verdict) -> Verdict:
    """Return the verdict without tokens per call, of which answers without a bill tell nothing."""
    return replace(verdict, tokens_before=0.0, tokens_after=0.0)


@pytest.mark.timeout(300)
def test_faults_of_every_kind_change_nothing_but_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "RetryPolicy", lambda: RetryPolicy(first=0.01, longest=0.1))
    rng = random.Random("chaos")
    weights = [weight for _, weight, _ in KINDS]
    plan = [rng.choices(KINDS, weights)[0][2] if rng.random() < HIT else None for _ in range(5_000)]
    with OpenAIServer(answer) as clean:
        expected = tune(tmp_path / "clean", clean)
    with OpenAIServer(answer, faults=plan) as misbehaving:
        found = tune(tmp_path / "chaos", misbehaving)
        asked = len(misbehaving.requests)
    assert asked > 1.3 * len(clean.requests), "the faults really came"
    assert found.candidate == expected.candidate
    assert without_tokens(found.verdict) == without_tokens(expected.verdict)
    assert told(found) == told(expected)
    store = tmp_path / "chaos" / "store.sqlite"
    served = Counter(kind for fault in misbehaving.met for kind, _, known in KINDS if fault is known)
    assert len(served) == len({kind for kind, _, _ in KINDS}) and min(served.values()) > 2
    met = faults(store)
    met.pop("NeverSent", None)  # refused connections, which only the caller can count
    charged = sum(served[kind] for kind in CHARGED_IN_FULL)
    late = met.pop("CallTimeout") - served.pop("CallTimeout")
    assert late >= 0, "a busy machine may be late by itself"
    waiting = met.pop("Unreachable") - served.pop("Unreachable")
    assert waiting >= 0, "a server that goes away resets those that wait to be accepted, too"
    assert met == {kind: n for kind, n in served.items() if kind != "unbilled"}
    assert unbilled(store) == charged + late + waiting
    report = found.report.read_text(encoding="utf-8")
    assert f"rate limit (429) {met['RateLimited']}," in report
    assert f"{unbilled(store)} attempts without a bill" in report
