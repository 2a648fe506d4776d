"""Runs cases in worker processes, some at a time; those that have a result are not run again."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock, Timer
from typing import Any

import luthier
from benchmarks.worlds.case import Case
from benchmarks.worlds.server import serving

ROOT = Path(__file__).parents[2]
PEERS = ("dspy-miprov2", "dspy-miprov2-16", "dspy-gepa", "dspy-simba", "dspy-random-search", "gepa")
CASE_SECONDS = 900.0
"""After which a case is given up, as an error."""
Report = Callable[[Case, dict[str, Any]], None]


def run(cases: Sequence[Case], *, jobs: int, peer_python: str, report: Report) -> None:
    """Run those cases that have no result yet, ``jobs`` at a time, and report each as it ends.

    Raises:
        SystemExit: a peer is asked for, and no Python that has it.
    """
    versions = {name: version_of(name, peer_python) for name in dict.fromkeys(case.optimizer for case in cases)}
    todo = deque(case for case in cases if case.result(versions[case.optimizer]) is None)
    saving = Lock()

    def save(case: Case, found: dict[str, Any]) -> None:
        with saving:
            case.save(versions[case.optimizer], found)
            report(case, found)

    with serving() as server, ThreadPoolExecutor(jobs) as pool:
        for job in [pool.submit(drain, todo, server, peer_python, save) for _ in range(jobs)]:
            job.result()


def drain(todo: deque[Case], server: str, peer_python: str, save: Report) -> None:
    """Run cases until none is left, in at most one process a tool: importing one takes longer than many a case."""
    workers: dict[bool, Worker] = {}
    try:
        while todo:
            try:
                case = todo.popleft()
            except IndexError:  # another thread was faster
                return
            peer = is_peer(case.optimizer)
            if peer not in workers:
                module = "benchmarks.worlds.peers" if peer else "benchmarks.worlds.ours"
                workers[peer] = Worker([peer_python if peer else sys.executable, "-m", module])
            save(case, workers[peer].run(case, server))
    finally:
        for worker in workers.values():
            worker.close()


class Worker:
    """A process that runs one case after another; started again where one ended it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process = self._start()

    def run(self, case: Case, server: str) -> dict[str, Any]:
        """Return what came of a case; an error where the process died or took too long."""
        if self._process.poll() is not None:
            self.close()
            self._process = self._start()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"case": case.to_json(), "server": server}) + "\n")
        self._process.stdin.flush()
        late = Timer(CASE_SECONDS, self._process.kill)
        late.start()
        line = self._process.stdout.readline()
        late.cancel()
        return dict(json.loads(line)) if line else {"error": f"the worker died, or took {CASE_SECONDS:.0f} seconds"}

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        with self._process:  # closes its pipes, and waits for it
            pass

    def _start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src")))}
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env=environment,
        )


def is_peer(optimizer: str) -> bool:
    """Return whether an optimizer is another tool's."""
    return optimizer in PEERS


def source_hash() -> str:
    """Return a hash of luthier's source: what it finds is measured again when that has changed."""
    package = Path(luthier.__file__).parent
    digest = hashlib.blake2b(digest_size=4)
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def version_of(optimizer: str, peer_python: str) -> str:
    """Return the version that an optimizer's results are kept by.

    Raises:
        SystemExit: a peer is asked for, and no Python that has it.
    """
    if not is_peer(optimizer):
        return f"luthier {luthier.__version__}, source {source_hash()}"
    if not peer_python:
        raise SystemExit("peers need --peer-python PATH, of a Python with dspy, gepa, optuna, and numpy")
    code = "from importlib.metadata import version as v; print(f\"dspy {v('dspy')}, gepa {v('gepa')}\")"
    return subprocess.run([peer_python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
