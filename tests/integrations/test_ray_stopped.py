"""A study on a cluster that is stopped goes on, there or here, as if it had not been; and the command line knows it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.study.journal import read_journal, without_times
from tests.cli.project import environment, project
from tests.lm.server import OpenAIServer
from tests.studies.test_kill_and_resume import answer

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(answer, latency=0.02) as running:
        yield running


@pytest.fixture
def whole(server: OpenAIServer, tmp_path: Path) -> Any:
    """The journal of the study that nobody stops, made in this process."""
    study(tmp_path / "whole", server, "local").wait(120)
    server.requests.clear()
    return journal(tmp_path / "whole")


def study(directory: Path, server: OpenAIServer, *where: str, address: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.integrations.ray_study", str(directory), server.url, *where]
    return subprocess.Popen(command, env={**os.environ, "RAY_ADDRESS": address}, stderr=subprocess.PIPE, text=True)


def journal(directory: Path) -> Any:
    return without_times(read_journal(directory / "journal.jsonl"))


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_study_goes_on_and_ends_with_the_journal_of_one_that_was_not(
    ray_cluster: Any, server: OpenAIServer, whole: Any, tmp_path: Path, how: signal.Signals
) -> None:
    child = study(tmp_path / "stopped", server, address=ray_cluster.address)
    while len(server.requests) < 150:
        assert child.poll() is None, child.stderr
        time.sleep(0.02)
    child.send_signal(how)
    begun = time.monotonic()
    child.communicate(timeout=60)
    ended = time.monotonic() - begun
    assert child.returncode in (-how, 130)
    assert ended < 15, "a second and a half for what is in flight, then Ray's own end"
    before = len(server.requests)
    time.sleep(1.0)
    assert len(server.requests) == before, "nobody asks for a dead driver"
    again = study(tmp_path / "stopped", server, address=ray_cluster.address)
    assert again.wait(200) == 0
    assert journal(tmp_path / "stopped") == whole


def test_the_command_line_runs_a_users_own_module_on_the_cluster(ray_cluster: Any, tmp_path: Path) -> None:
    folder = project(tmp_path)
    words = "evaluate flowers:classify --data data.jsonl --metric flowers:metric --lm python:flowers:lm --executor ray"
    done = subprocess.run(
        [sys.executable, "-m", "luthier", *words.split(), "--json"],
        cwd=folder,
        env={**environment(), "RAY_ADDRESS": ray_cluster.address},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"n": 120' in done.stdout
