"""A quota, a wrong key, a dead server in the middle of a study: paused at once or after the stated time, resumable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import StudyPaused
from luthier.lm import gateway
from luthier.lm.middleware.retry import RetryPolicy
from tests.lm.server import Fault, OpenAIServer
from tests.optimizers.studies import journal
from tests.studies import world
from tests.studies.test_kill_and_resume import answer

HEALTHY = 150
"""Requests before the trouble begins: in the middle of the search."""
SHORT = RetryPolicy(first=0.05, longest=0.2, give_up_after=1.5, breaker_failures=5, breaker_seconds=1.0)
QUOTA = {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota"}}


def tune(directory: Path, server: OpenAIServer) -> lt.Result[Any]:
    return lt.optimize(
        world.describe,
        world.rows(120),
        lt.exact_match("answer"),
        lm=lt.LM("openai/world", base_url=server.url, api_key="key", timeout=0.5, max_in_flight=8),
        optimizer=lt.MIPRO(candidates=3, demo_sizes=(0, 3, 6), instructions=2, trials=8, minibatch=9, closing=2),
        study_dir=directory,
        concurrency=8,
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, list[dict[str, Any]]]:
    """The port that all servers of this module have, for the journal names it, and the journal without trouble."""
    directory = tmp_path_factory.mktemp("clean") / "study"
    with OpenAIServer(answer) as server:
        tune(directory, server)
    return server.port, journal(directory)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(429, QUOTA), "quota"),
        (Fault(402, {"error": {"message": "Insufficient credits"}}), "credits"),
        (Fault(401, {"error": {"message": "Incorrect API key provided"}}), "key"),
        (Fault(403, {"error": {"message": "Your account is suspended"}}), "suspended"),
    ],
)
def test_a_quota_or_a_key_refused_pauses_at_once_and_resumes_to_the_same_end(
    tmp_path: Path, uninterrupted: tuple[int, list[dict[str, Any]]], fault: Fault, says: str
) -> None:
    study, (port, expected) = tmp_path / "study", uninterrupted
    with OpenAIServer(answer, faults=[None] * HEALTHY + [fault] * 1000, port=port) as server:
        begun = time.monotonic()
        with pytest.raises(StudyPaused, match=says) as stopped:
            tune(study, server)
        assert "run again" in str(stopped.value)
        refused = len(server.met)
        server.faults.clear()
        tune(study, server)
    assert time.monotonic() - begun < 60
    assert refused <= 8, "no more than what was in flight"
    assert journal(study) == expected


@pytest.mark.parametrize(
    "fault", [Fault(away=1000.0), Fault(hang=1000.0)], ids=["refuses connections", "never answers"]
)
def test_a_dead_server_is_given_up_after_the_stated_time_and_the_study_resumes_to_the_same_end(
    tmp_path: Path, uninterrupted: tuple[int, list[dict[str, Any]]], fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, (port, expected) = tmp_path / "study", uninterrupted
    with (
        OpenAIServer(answer, faults=[None] * HEALTHY + [fault] * 1000, port=port) as dead,
        monkeypatch.context() as patch,
    ):
        patch.setattr(gateway, "RetryPolicy", _short)
        begun = time.monotonic()
        with pytest.raises(StudyPaused, match="has not answered for"):
            tune(study, dead)
        assert time.monotonic() - begun < 30, "twice the stated time, and the healthy part"
    before = (study / "journal.jsonl").read_text(encoding="utf-8")
    told = [json.loads(line) for line in before.splitlines() if '"tell"' in line]
    assert all(outcome["outcome"] == "scored" for tell in told for outcome in tell["outcomes"]), "an outage is no score"
    with OpenAIServer(answer, port=port) as alive:
        tune(study, alive)
    assert (study / "journal.jsonl").read_text(encoding="utf-8").startswith(before)
    assert journal(study) == expected


def test_the_command_line_says_what_to_do_and_ends_with_4(tmp_path: Path) -> None:
    data = tmp_path / "numbers.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in world.rows(100)), encoding="utf-8")
    troubles = [*[None] * 20, *[Fault(500)] * 3, *[None] * 40, *[Fault(429, QUOTA)] * 1000]
    with OpenAIServer(answer, faults=troubles) as server:
        command = [
            sys.executable, "-m", "luthier", "optimize", "tests.studies.world:describe", "--data", str(data),
            "--metric", "exact_match:answer", "--lm", "openai/world", "--base-url", server.url, "--yes",
            "--study-dir", str(tmp_path / "study"),
        ]  # fmt: skip
        done = _run(command)
        assert done.returncode == 4, done.stderr
        assert "quota" in done.stderr
        assert "luthier resume" in done.stderr
        server.faults.clear()
        resumed = _run([sys.executable, "-m", "luthier", "resume", str(tmp_path / "study"), "--yes"])
        assert resumed.returncode in (0, 10, 11), resumed.stderr
        met = "Attempts that failed on the way and were made again: server error (5xx) 3"
        assert met in resumed.stderr and met in _run([*command[:3], "show", str(tmp_path / "study")]).stderr


def _short() -> RetryPolicy:
    return SHORT


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OPENAI_API_KEY": "key", "COLUMNS": "200"}
    root = Path(__file__).parents[2]
    return subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment, timeout=60, check=False)
