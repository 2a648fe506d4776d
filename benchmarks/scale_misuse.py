"""Scenes of ``scale.py`` in which user code misbehaves, or luthier is used for long in one process."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import luthier as lt
from luthier.lm.doubles import ScriptedLM
from tests.evaluation import misbehaving

ROOT = Path(__file__).parent.parent
_MODULE = "tests.evaluation.misbehaving"
_IN_THE_LOOP = 90
"""So many rollouts behave well before: then baseline and demos are done, and trials have begun."""
_PATIENCE = 8.0


def interruptions(folder: Path) -> dict[str, Any]:
    """Ctrl-C under every misbehaviour, from Python and from the command line, and the study's end afterwards."""
    # A process begun in the background of a script ignores Ctrl-C, and hands that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    data = folder / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, misbehaving.rows())))
    found: dict[str, Any] = {}
    for number, how in enumerate((*misbehaving.SYNC, *misbehaving.ASYNC)):
        kind = "async" if how in misbehaving.ASYNC else "sync"
        study = folder / f"cli-{number}"
        function = "program" if kind == "sync" else "async_program"
        optimize = ["-m", "luthier", "optimize", f"{_MODULE}:{function}", "--data", str(data), "--yes"]
        optimize += ["--metric", f"{_MODULE}:metric", "--lm", f"python:{_MODULE}:answer", "--study-dir", str(study)]
        script = ["-m", _MODULE, "optimize", kind, str(folder / f"script-{number}")]
        resume = ["-m", "luthier", "resume", str(study), "--yes", "--quiet"]
        found[how] = {
            "evaluate": _interrupt(["-m", _MODULE, "evaluate", kind], how, 20, None, None),
            "optimize": _interrupt(script, how, _IN_THE_LOOP, script, folder / f"script-{number}"),
            "command line": _interrupt(optimize, how, _IN_THE_LOOP, resume, study),
        }
    return found


def _interrupt(command: list[str], how: str, after: int, again: list[str] | None, study: Path | None) -> dict[str, Any]:
    environment = _environment()
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**environment, "HOW": how, "AFTER": str(after)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        try:
            if child.stdout is None or child.stdout.readline() != "running\n":
                return {"seconds": None, "note": "ended before it misbehaved"}
            time.sleep(0.3)
            child.send_signal(signal.SIGINT)
            found = _ending(child)
        finally:
            child.kill()
    if again is not None and study is not None:
        lines = (study / "journal.jsonl").read_bytes().split(b"\n")
        found["last_event"] = json.loads(lines[-2])["event"]
        found["journal_is_whole"] = lines[-1] == b""
        done = subprocess.run([sys.executable, *again], cwd=ROOT, env=environment, capture_output=True, timeout=120)
        found["resumed_code"] = done.returncode
    return found


def _environment() -> dict[str, str]:
    """Return an environment in which this checkout is what is measured, wherever luthier is installed from."""
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}


def _ending(child: subprocess.Popen[str]) -> dict[str, Any]:
    """Time a script's return from the call, where it says so, and the process's end."""
    began = time.perf_counter()
    late = threading.Timer(_PATIENCE, child.kill)
    late.start()
    found: dict[str, Any] = {}
    if child.stdout is not None and child.stdout.readline() == "returned\n":
        found["returned_seconds"] = round(time.perf_counter() - began, 2)
    child.wait()
    took = time.perf_counter() - began
    late.cancel()
    ended = took < _PATIENCE
    return {**found, "seconds": round(took, 2) if ended else None, "code": child.returncode if ended else None}


def repeated(folder: Path) -> dict[str, Any]:
    """100 evaluations and 20 studies in one process, and 1,000 rollouts of each misbehaviour that ends."""
    found: dict[str, Any] = {}
    rows = misbehaving.rows(1000)
    for how in ("", "uses its own threads", "uses its own loop", "leaks threads"):
        misbehaving.HOW = how
        _evaluate(misbehaving.program, rows[:100])
        before = _census()
        _evaluate(misbehaving.program, rows)
        found[f"1,000 rollouts: {how or 'well-behaved'}"] = {"before": before, "after": _census()}
    misbehaving.HOW = ""
    _evaluate(misbehaving.async_program, rows[:20])
    before = _census()
    for _ in range(50):
        _evaluate(misbehaving.program, rows[:20])
        asyncio.run(_aevaluate(rows[:20]))
    found["100 evaluations"] = {"before": before, "after": _census()}
    for number in range(30):
        if number == 10:
            before = _census()
        settings = lt.MIPRO(candidates=3, trials=4, minibatch=6, closing=1, demo_sizes=(0, 2))
        lt.optimize(
            misbehaving.program,
            misbehaving.rows(),
            misbehaving.metric,
            lm=_lm(),
            optimizer=settings,
            study_dir=folder / str(number),
            anyway=True,
        )
    found["20 studies, after 10 others"] = {"before": before, "after": _census()}
    return found


def _lm() -> lt.LM:
    return lt.LM(ScriptedLM(lambda request: "word"))


def _evaluate(program: Any, rows: Any) -> None:
    lt.evaluate(program, rows, misbehaving.metric, lm=_lm(), concurrency=16)


async def _aevaluate(rows: Any) -> None:
    await lt.aevaluate(misbehaving.async_program, rows, misbehaving.metric, lm=_lm(), concurrency=16)


def _census() -> dict[str, Any]:
    """Count what could grow."""
    from luthier.lm.engine import engine

    gc.collect()
    kinds = Counter(type(thing).__name__ for thing in gc.get_objects())
    names = [thread.name for thread in threading.enumerate()]
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "open_files": len(os.listdir("/proc/self/fd")),
        "our_threads": sum(name.startswith("luthier") for name in names),
        "other_threads": sum(not name.startswith("luthier") for name in names),
        "tasks": sum(len(asyncio.all_tasks(engine(name).loop)) for name in ("engine", "user-loop")),
        "objects": {name: kinds[name] for name in ("Run", "Rollout", "Gateway", "Store", "Trial", "Future", "Task")},
        "memory_mb": round(pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20), 1),
    }


def slow_rollouts(folder: Path) -> dict[str, Any]:
    """Rollouts far longer than an LM call may take: no timeout, no call made twice, and signs of life meanwhile."""
    timeout, length = 1.0, 20.0
    lm = ScriptedLM(lambda request: "word", latency=0.2)

    def program(number: str) -> str:
        for part in range(4):
            misbehaving.word(number=f"{number}/{part}")
            time.sleep(length / 4)
        return misbehaving.word(number=number)

    started = time.perf_counter()
    done = lt.evaluate(program, misbehaving.rows(16), misbehaving.metric, lm=lt.LM(lm, timeout=timeout), concurrency=16)
    return {
        "lm_timeout_seconds": timeout,
        "rollout_seconds": round(max(rollout.seconds for rollout in done.rollouts), 1),
        "wall_seconds": round(time.perf_counter() - started, 1),
        "scored": done.n,
        "unscored": done.unscored,
        "lm_calls": lm.calls,
        "lm_calls_needed": 16 * 5,
    }


_LEAVES = """
import threading, time, sys
import luthier as lt
from tests.evaluation import misbehaving

class Never:
    identity = "never"
    async def complete(self, request):
        import asyncio
        await asyncio.sleep(3600)

bound = lt.bind(misbehaving.program, lm=lt.LM(Never()))
def evaluate():
    lt.evaluate(misbehaving.program, misbehaving.rows(), misbehaving.metric, lm=lt.LM(Never()))
def serve():
    bound(number="1")
threading.Thread(target={"evaluate": evaluate, "bind": serve}[sys.argv[1]], daemon=True).start()
time.sleep(1.0)
"""
_FORKS = """
import multiprocessing, sys
import luthier as lt
from luthier.lm.doubles import ScriptedLM
from tests.evaluation import misbehaving

def score():
    lm = lt.LM(ScriptedLM(lambda request: "word"))
    return lt.evaluate(misbehaving.program, misbehaving.rows(40), misbehaving.metric, lm=lm).n

if __name__ == "__main__":
    score()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = [pool.apply_async(score) for _ in range(2)]
        assert [one.get(30) for one in found] == [40, 40]
    assert score() == 40
"""


def endings(folder: Path) -> dict[str, Any]:
    """An interpreter that ends with calls in flight, and evaluations in forked workers: no hang, no noise."""
    found = {}
    for name, code, argument in (
        ("evaluate in a thread", _LEAVES, "evaluate"),
        ("bind in a thread", _LEAVES, "bind"),
        ("evaluate in forked workers", _FORKS, ""),
    ):
        script = folder / "script.py"
        script.write_text(code)
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-W", "error", str(script), argument],
            env=_environment(),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        took = round(time.perf_counter() - began, 2)
        found[name] = {"code": done.returncode, "said": done.stderr[-500:], "seconds": took}
    return found
