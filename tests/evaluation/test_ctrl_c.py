"""Ctrl-C ends a process within two seconds, whatever sync user code is doing in its threads."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = '''
import sys, time
import luthier as lt

how, what, where = sys.argv[1:]
begun = 0

def answer(request):
    time.sleep(60 if how == "slow answers" else 0.05)
    return "word"

@lt.predictor
def word(number: str) -> str:
    """Say a word."""
    return lt.predict()

def program(number: str) -> str:
    global begun
    begun += 1
    if begun == 8:
        print("running", flush=True)
    if how == "sleeps":
        time.sleep(60)
    while how == "swallows exceptions":
        try:
            word(number=number)
        except BaseException:
            pass
    return word(number=number)

data = [{"number": str(i), "answer": "word"} for i in range(120)]
common = dict(lm=lt.LM(answer), concurrency=8)
if what == "evaluate":
    lt.evaluate(program, data, lt.exact_match, **common)
else:
    lt.optimize(program, data, lt.exact_match, study_dir=where, auto="light", **common)
'''


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("evaluate", "slow answers"),
        ("evaluate", "sleeps"),
        ("evaluate", "swallows exceptions"),
        ("optimize", "swallows exceptions"),
    ],
)
def test_ctrl_c_ends_the_process_within_two_seconds(what: str, how: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), how, what, str(tmp_path / "study")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == "running\n"
            time.sleep(0.1)
            child.send_signal(signal.SIGINT)
            began = time.monotonic()
            _, told = child.communicate(timeout=20)
            assert time.monotonic() - began < 2.0 + 0.5, "half a second for a busy machine's interpreter to end"
        finally:
            child.kill()
    assert child.returncode in (-signal.SIGINT, 130, 1)
    assert told.rstrip().endswith("KeyboardInterrupt"), told
