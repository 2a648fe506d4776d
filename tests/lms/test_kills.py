"""Killed and run again, a study on two servers and from saved prompts ends as a whole one, and pays nothing twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from luthier.canonical import canonical_json
from tests.lengths import times
from tests.lms.world import Two, two
from tests.optimizers.studies import journal

KILLS = times(2, 6)
IN_FLIGHT = 8


def run(directory: Path, servers: Two, *, kill_after: int | None = None) -> bool:
    """Run the study in a child; return whether it ended before it was killed, after so many new requests."""
    begin = len(servers.small.requests) + len(servers.strong.requests)
    command = [sys.executable, "-m", "tests.lms.killable", str(directory), servers.small.url, servers.strong.url]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as child:
        while child.poll() is None:
            if (
                kill_after is not None
                and len(servers.small.requests) + len(servers.strong.requests) - begin >= kill_after
            ):
                child.kill()
                child.communicate()
                return False
            time.sleep(0.002)
        _, errors = child.communicate()
    assert child.returncode == 0, errors.decode()
    return True


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_killed_study_of_two_lms_and_a_start_ends_with_the_journal_of_a_whole_one(tmp_path: Path) -> None:
    with two() as servers:
        assert run(tmp_path / "whole", servers)
        bodies = [canonical_json(body) for body in (*servers.small.requests, *servers.strong.requests)]
        servers.small.requests.clear()
        servers.strong.requests.clear()
        rng = random.Random("kills")
        for _ in range(KILLS):
            assert not run(tmp_path / "killed", servers, kill_after=rng.randint(2, len(bodies) // (KILLS + 2)))
        assert run(tmp_path / "killed", servers)
        asked = [canonical_json(body) for body in (*servers.small.requests, *servers.strong.requests)]
    names = [event["event"] for event in journal(tmp_path / "whole")]
    assert {"check", "starts", "verdict"} <= set(names)
    assert journal(tmp_path / "killed") == journal(tmp_path / "whole")
    assert set(asked) == set(bodies)
    # Only what was in flight at a kill may be asked again, and the probes of the two.
    assert len(asked) - len(bodies) <= KILLS * (IN_FLIGHT + 2)
