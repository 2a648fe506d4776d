"""Runs cases in worker processes, some at a time; those that have a result are not run again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock, Timer
from typing import Any

from benchmarks.worlds.case import Case
from benchmarks.worlds.server import serving
from benchmarks.worlds.world import world

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
PEERS = ("dspy-miprov2", "dspy-miprov2-16", "dspy-gepa", "dspy-simba", "dspy-random-search", "gepa")
CASE_SECONDS = 900.0
"""After which a case is given up, as an error."""
Report = Callable[[Case, dict[str, Any]], None]


def run(cases: Sequence[Case], *, jobs: int, peer_python: str, report: Report, source: Path = SOURCE) -> None:
    """Run those cases that have no result yet, ``jobs`` at a time, and report each as it ends.

    ``source`` is the folder that luthier is imported from.

    A case whose process died is reported, but not kept: it is run again next time. An interruption ends the cases
    that are running.

    Raises:
        SystemExit: a peer is asked for, and no Python that has it.
    """
    names = dict.fromkeys(case.optimizer for case in cases)
    versions = {name: version_of(name, peer_python, source) for name in names}
    todo = deque(case for case in cases if case.result(versions[case.optimizer]) is None)
    saving = Lock()

    def save(case: Case, found: dict[str, Any]) -> None:
        with saving:
            if "accuracy" in found:
                case.save(versions[case.optimizer], found)
            report(case, found)

    crews = [Crew(peer_python, source) for _ in range(jobs)]
    with serving() as server, ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(drain, todo, server, crew, save) for crew in crews]
        try:
            for job in running:
                job.result()
        except BaseException:  # an interruption, too: the pool would wait until no case is left
            todo.clear()
            for crew in crews:
                crew.stop()
            raise


def drain(todo: deque[Case], server: str, crew: Crew, save: Report) -> None:
    """Run cases until none is left, or the crew is stopped."""
    try:
        while todo:
            case = todo.popleft()
            found = crew.run(case, server)
            if found is not None:
                save(case, found)
    except IndexError:  # another thread was faster
        return
    finally:
        crew.close()


class Crew:
    """At most one process a tool, that runs one case after another: importing a tool takes longer than many a case."""

    def __init__(self, peer_python: str, source: Path) -> None:
        self._peer_python = peer_python
        self._source = source
        self._workers: dict[bool, subprocess.Popen[str]] = {}
        self._stopped = False

    def run(self, case: Case, server: str) -> dict[str, Any] | None:
        """Return what came of a case: an error where its process died or took too long, None after ``stop``."""
        worker = self._worker(peer=is_peer(case.optimizer))
        if self._stopped:  # asked once ``stop`` would find the process
            return None
        assert worker.stdin is not None and worker.stdout is not None
        line, late = "", Event()

        def give_up() -> None:
            late.set()
            worker.kill()

        timer = Timer(CASE_SECONDS, give_up)
        timer.start()
        with contextlib.suppress(BrokenPipeError):  # it died before it could read
            worker.stdin.write(json.dumps({"case": case.to_json(), "server": server}) + "\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
        timer.cancel()
        if line:
            return dict(json.loads(line))
        if self._stopped:
            return None
        if late.is_set():
            original = world(case.kind, case.seed).original()
            return {"error": f"it took more than {CASE_SECONDS:.0f} seconds", "accuracy": original}
        return {"error": f"its process ended with code {worker.wait()}; it will be run again"}

    def stop(self) -> None:
        """End the processes, whatever they are doing; to be called from any thread."""
        self._stopped = True
        for worker in list(self._workers.values()):
            worker.kill()

    def close(self) -> None:
        """End the processes, and close their pipes."""
        for worker in self._workers.values():
            worker.kill()
            with contextlib.suppress(BrokenPipeError), worker:
                pass

    def _worker(self, *, peer: bool) -> subprocess.Popen[str]:
        known = self._workers.get(peer)
        if known is None or known.poll() is not None:
            module = "benchmarks.worlds.peers" if peer else "benchmarks.worlds.ours"
            self._workers[peer] = subprocess.Popen(
                [self._peer_python if peer else sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(self._source)))},
            )
        return self._workers[peer]


def is_peer(optimizer: str) -> bool:
    """Return whether an optimizer is another tool's."""
    return optimizer in PEERS


def release(source: Path) -> str:
    """Return the version that a source folder's luthier gives itself.

    Raises:
        SystemExit: there is no luthier in it.
    """
    file = source / "luthier" / "_version.py"
    found = re.search(r'__version__ = "(.+)"', file.read_text(encoding="utf-8")) if file.is_file() else None
    if found is None:
        raise SystemExit(f"{source} is no folder that luthier can be imported from, such as src")
    return found[1]


def source_hash(source: Path) -> str:
    """Return a hash of luthier's source: what it finds is measured again when that has changed."""
    package = source / "luthier"
    digest = hashlib.blake2b(digest_size=4)
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def version_of(optimizer: str, peer_python: str, source: Path) -> str:
    """Return the version that an optimizer's results are kept by.

    Raises:
        SystemExit: a peer is asked for, and no Python that has it.
    """
    needed = "--peer-python must be the path of a Python that has dspy, gepa, optuna, and numpy"
    if not is_peer(optimizer):
        return f"luthier {release(source)}, source {source_hash(source)}"
    if not peer_python:
        raise SystemExit(needed)
    code = "from importlib.metadata import version as v; v('optuna'), v('numpy')"
    code += "; print(f\"dspy {v('dspy')}, gepa {v('gepa')}\")"
    try:
        told = subprocess.run([peer_python, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    except OSError as error:
        raise SystemExit(f"{needed}: {error}") from error
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{needed}: {error.stderr.strip().splitlines()[-1]}") from error
    return told.stdout.strip()
