"""A disk that fills up in the middle of a study: said so, nothing is lost, and the study goes on with space."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_kill_and_resume import answer, journal
from tests.lm.server import OpenAIServer

ROOT = Path(__file__).parents[2]
LIMITED = """
import resource, runpy, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.argv = sys.argv[1:]
runpy.run_module("tests.integration.killable", run_name="__main__")
"""


def run(directory: Path, url: str, largest_file: int | None) -> subprocess.CompletedProcess[str]:
    head = ["-m", "tests.integration.killable"] if largest_file is None else ["-c", LIMITED, str(largest_file)]
    command = [sys.executable, *head, str(directory), url]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)


@pytest.mark.skipif(os.name != "posix", reason="limits on the size of files are POSIX's")
@pytest.mark.parametrize("largest_file", [30_000, 70_000, 150_000])
def test_a_full_disk_is_said_and_the_study_goes_on_with_space(tmp_path: Path, largest_file: int) -> None:
    with OpenAIServer(answer) as server:
        whole = run(tmp_path / "whole", server.url, None)
        assert whole.returncode == 0, whole.stderr
        full = run(tmp_path / "study", server.url, largest_file)
        assert full.returncode != 0
        last = full.stderr.strip().splitlines()[-1]
        assert "Error" in last and ("large" in last or "full" in last or "disk" in last), full.stderr[-600:]
        before = journal(tmp_path / "study") if (tmp_path / "study" / "journal.jsonl").exists() else []
        done = run(tmp_path / "study", server.url, None)
        assert done.returncode == 0, done.stderr
    assert journal(tmp_path / "study")[: len(before)] == before
    assert journal(tmp_path / "study") == journal(tmp_path / "whole")
