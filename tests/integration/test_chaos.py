"""With three of ten calls hit by faults of every kind, a study ends exactly as one that nothing befell."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.report.paid import faults
from tests.integration import world
from tests.integration.test_kill_and_resume import answer
from tests.lm.server import Fault, OpenAIServer

KINDS = (
    Fault(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.05"}),
    Fault(429, {"error": {"message": "slow down"}}),
    Fault(500, {"error": {"message": "oops"}}),
    Fault(502, "<html>bad gateway</html>"),
    Fault(503, ""),
    Fault(200, "no JSON at all"),
    Fault(200, {"choices": []}),
    Fault(cut=True),
    Fault(drop=True),
    Fault(hang=1.5),
)
HIT = 0.3


def tune(directory: Path, server: OpenAIServer) -> lt.Result[Any]:
    return lt.optimize(
        world.describe,
        world.rows(140),
        lt.exact_match("answer"),
        lm=lt.LM("openai/world", base_url=server.url, api_key="key", timeout=0.5),
        optimizer=lt.MIPRO(candidates=4, demo_sizes=(0, 3, 6), instructions=3, trials=8, minibatch=9, closing=2),
        study_dir=directory,
    )


def told(result: lt.Result[Any]) -> list[Any]:
    return [
        (event["event"], event.get("mean"), [(o["example"], o["value"]) for o in event.get("outcomes", ())])
        for event in result.events
        if event["event"] in ("baseline", "tell")
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_faults_of_every_kind_change_nothing_but_the_time(tmp_path: Path) -> None:
    rng = random.Random("chaos")
    plan = [rng.choice(KINDS) if rng.random() < HIT else None for _ in range(20_000)]
    with OpenAIServer(answer) as clean:
        expected = tune(tmp_path / "clean", clean)
    with OpenAIServer(answer, faults=plan) as misbehaving:
        found = tune(tmp_path / "chaos", misbehaving)
        asked = len(misbehaving.requests)
    assert asked > 1.3 * len(clean.requests), "the faults really came"
    assert found.candidate == expected.candidate
    assert found.verdict == expected.verdict
    assert told(found) == told(expected)
    met = faults(tmp_path / "chaos" / "store.sqlite")
    assert {"RateLimited", "ServerFault", "CallTimeout", "Unreachable"} <= set(met)
    assert f"ServerFault {met['ServerFault']}" in found.report.read_text(encoding="utf-8")
