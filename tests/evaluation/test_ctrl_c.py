"""Ctrl-C ends a process within two seconds, whatever user code is doing; the study it interrupts goes on afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.evaluation.misbehaving import ASYNC, rows

ROOT = Path(__file__).parents[2]
MODULE = "tests.evaluation.misbehaving"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.mark.parametrize(
    "how",
    ["slow answers", "swallows all", "blocks in the metric", "awaits and swallows", "never yields"],
)
def test_ctrl_c_ends_an_evaluation_within_two_seconds(how: str) -> None:
    code, told = interrupted(["-m", MODULE, "evaluate", kind(how)], how, after=20)
    assert code in (-signal.SIGINT, 130, 1)
    assert told.rstrip().endswith("KeyboardInterrupt"), told


def test_a_study_that_was_interrupted_under_a_program_that_swallows_everything_goes_on(tmp_path: Path) -> None:
    command = ["-m", MODULE, "optimize", "sync", str(tmp_path / "study")]
    _, told = interrupted(command, "swallows all", after=90)
    assert told.rstrip().endswith("KeyboardInterrupt"), told
    lines = (tmp_path / "study" / "journal.jsonl").read_bytes().split(b"\n")
    assert lines[-1] == b"" and all(json.loads(line) for line in lines[:-1])
    again = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert again.stdout.strip() in ("adopt", "keep", "undecided"), again.stderr


def test_the_command_line_ends_although_user_code_left_threads_that_python_would_wait_for(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows())), encoding="utf-8")
    command = ["-m", "luthier", "optimize", f"{MODULE}:program", "--data", str(tmp_path / "rows.jsonl")]
    command += ["--metric", f"{MODULE}:metric", "--lm", f"python:{MODULE}:answer", "--yes"]
    command += ["--study-dir", str(tmp_path / "study")]
    code, told = interrupted(command, "threads of its own sleep", after=0)
    assert code == 130
    assert "interrupted; everything recorded is kept" in told
    assert "luthier resume" in told


def kind(how: str) -> str:
    return "async" if how in ASYNC else "sync"


def interrupted(arguments: Sequence[str], how: str, after: int) -> tuple[int, str]:
    """Start a process, interrupt it when it misbehaves, and return its code and what it said on standard error."""
    environment = {**os.environ, "HOW": how, "AFTER": str(after), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == "running\n"
            time.sleep(0.1)
            child.send_signal(signal.SIGINT)
            began = time.monotonic()
            _, told = child.communicate(timeout=20)
            assert time.monotonic() - began < 2.0 + 0.5, "half a second for a busy machine's interpreter to end"
        finally:
            child.kill()
    return child.returncode, told
