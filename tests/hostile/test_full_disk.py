"""A disk that fills up in the middle of a study: said so, nothing is lost, and the study goes on with space."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lm.server import OpenAIServer
from tests.studies.test_kill_and_resume import answer, journal

ROOT = Path(__file__).parents[2]
LIMITED = """
import resource, runpy, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.argv = sys.argv[1:]
runpy.run_module("tests.studies.killable", run_name="__main__")
"""


def run(directory: Path, url: str, largest_file: int | None) -> subprocess.CompletedProcess[str]:
    head = ["-m", "tests.studies.killable"] if largest_file is None else ["-c", LIMITED, str(largest_file)]
    command = [sys.executable, *head, str(directory), url]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(answer) as running:
        yield running


@pytest.fixture(scope="module")
def whole(server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The journal of a study that had all the space it wanted."""
    directory = tmp_path_factory.mktemp("whole") / "study"
    done = run(directory, server.url, None)
    assert done.returncode == 0, done.stderr
    return journal(directory)


@pytest.mark.skipif(os.name != "posix", reason="limits on the size of files are POSIX's")
@pytest.mark.parametrize("largest_file", [30_000, 70_000, 150_000])
def test_a_full_disk_is_said_and_the_study_goes_on_with_space(
    tmp_path: Path, server: OpenAIServer, whole: list[dict[str, Any]], largest_file: int
) -> None:
    full = run(tmp_path / "study", server.url, largest_file)
    assert full.returncode != 0
    last = full.stderr.strip().splitlines()[-1]
    assert "Error" in last and ("large" in last or "full" in last or "disk" in last), full.stderr[-600:]
    before = journal(tmp_path / "study") if (tmp_path / "study" / "journal.jsonl").exists() else []
    done = run(tmp_path / "study", server.url, None)
    assert done.returncode == 0, done.stderr
    assert journal(tmp_path / "study")[: len(before)] == before
    assert journal(tmp_path / "study") == whole
