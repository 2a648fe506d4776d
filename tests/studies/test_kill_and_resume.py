"""Kill a study anywhere and run it again: the journal of an uninterrupted one, no stored answer asked for twice."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from luthier.canonical import canonical_json
from luthier.lm.request import Message, Request
from luthier.types import Endpoint
from tests.lengths import times
from tests.lm.server import Body, OpenAIServer
from tests.studies import world

KILLS = times(2, 20)
IN_FLIGHT = 8


def answer(body: Body) -> str:
    messages = tuple(Message(m["role"], m["content"]) for m in body["messages"])
    stop = body.get("stop") or ()
    return world.answer(Request(endpoint=Endpoint.CHAT, messages=messages, stop=tuple(stop)))


def run(directory: Path, server: OpenAIServer, *, kill_after: int | None = None) -> bool:
    """Run the study in a child; return whether it came to its end before it was killed.

    It is killed after so many new requests, which come while others are in flight and events are being written.
    """
    begin = len(server.requests)
    command = [sys.executable, "-m", "tests.studies.killable", str(directory), server.url]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as child:
        while child.poll() is None:
            if kill_after is not None and len(server.requests) - begin >= kill_after:
                child.kill()
                child.communicate()
                return False
            time.sleep(0.002)
        _, errors = child.communicate()
    assert child.returncode == 0, errors.decode()
    return True


def journal(directory: Path) -> list[dict[str, Any]]:
    lines = (directory / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    return [without_times(json.loads(line)) for line in lines]


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in ("time", "seconds", "sum")}
    return [without_times(item) for item in value] if isinstance(value, list) else value


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_study_killed_again_and_again_ends_with_the_journal_of_an_uninterrupted_one(tmp_path: Path) -> None:
    with OpenAIServer(answer, latency=0.01) as server:
        assert run(tmp_path / "whole", server)
        bodies = [canonical_json(body) for body in server.requests]
        asked_once, repeated = set(bodies), len(bodies) - len(set(bodies))
        server.requests.clear()
        rng = random.Random("kills")
        for _ in range(KILLS):
            moment = rng.randint(2, 2 * len(bodies) // (KILLS + 4))
            assert not run(tmp_path / "killed", server, kill_after=moment), "it ended before all kills were made"
        assert run(tmp_path / "killed", server)
        asked = [canonical_json(body) for body in server.requests]
    assert journal(tmp_path / "killed") == journal(tmp_path / "whole")
    assert set(asked) == asked_once
    # Only what was in flight at a kill may be asked again, and the probe.
    again = len(asked) - len(set(asked)) - repeated
    assert again <= KILLS * (IN_FLIGHT + 1)
