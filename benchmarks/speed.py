"""The engine's speed beside DSPy's, gepa's, and raw aiohttp, in one run: ``speed.py --peer-python PATH``.

CPU is the client process's own; the server is another process. Compare numbers only within one run: each is the
least of some rounds, because another process can only add to it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

import luthier as lt

HERE = Path(__file__).parent
RESULTS = HERE / "results"
WIDTHS = (16, 64, 256)
_LATENCY = 0.2
_WAVES = 20  # at a server with latency, every slot is used so many times


@lt.predictor
def answer(question: str) -> str:
    """Answer the question."""
    return lt.predict()


async def async_program(question: str) -> str:
    """Answer, on an event loop."""
    return await async_answer(question=question)


@lt.predictor
async def async_answer(question: str) -> str:
    """Answer the question."""
    return await lt.predict()


def main() -> None:
    """Measure and write down."""
    # These two import from here what they add to.
    from benchmarks import footprint
    from benchmarks.speed_rows import rows_of, text_of

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", type=existing_path, default=None, help="a Python that has dspy and gepa")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-installs", action="store_true", help="do not install anything into fresh environments")
    given = parser.parse_args()
    peer: Path | None = given.peer_python
    found: dict[str, Any] = {}
    with server(0.0) as url:
        found["latency 0.0 s"] = evaluations(url, peer, dict.fromkeys(WIDTHS, given.calls), given.rounds)
        found["whole study"] = studies(url, peer, given.rounds)
        found["layers"] = script(Path(sys.executable), "layers.py", url, given.calls)
    with server(_LATENCY) as url:
        found[f"latency {_LATENCY} s"] = evaluations(url, peer, {width: _WAVES * width for width in WIDTHS}, 1)
    found["imports"] = footprint.imports(peer)
    found["installs"] = {} if given.no_installs else footprint.installs(peer)
    found = {"rows": rows_of(found), **found}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "speed.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "speed.md").write_text(text_of(found), encoding="utf-8")
    print(json.dumps(found, indent=1))


def existing_path(text: str) -> Path | None:
    """Return the path that a text names, None for an empty one."""
    return Path(text) if text else None


def evaluations(url: str, peer: Path | None, calls: dict[int, int], rounds: int) -> dict[str, Any]:
    """Return CPU and calls a second of evaluations with so many in flight: raw, ours, and DSPy's."""
    rows: dict[str, Any] = {}
    for width, n in calls.items():
        measures: dict[str, Callable[[], dict[str, float]]] = {
            f"raw aiohttp, {width}": lambda n=n, width=width: raw(url, n, width),  # type: ignore[misc]
            f"luthier, sync program, {width}": lambda n=n, width=width: ours(answer, url, n, width),  # type: ignore[misc]
            f"luthier, async program, {width}": lambda n=n, width=width: ours(async_program, url, n, width),  # type: ignore[misc]
        }
        if peer is not None:
            measures[f"DSPy Evaluate, {width}"] = lambda n=n, width=width: script(  # type: ignore[misc]
                peer, "peers/dspy_evaluate.py", url, n, width
            )
        for name, measure in measures.items():
            spent = [measure() for _ in range(rounds)]
            rows[name] = {
                "cpu_ms_per_call": round(1000 * min(one["cpu"] for one in spent) / n, 3),
                "calls_per_second": round(n / min(one["wall"] for one in spent)),
            }
    return rows


def studies(url: str, peer: Path | None, rounds: int) -> dict[str, Any]:
    """Return CPU and wall of whole studies; a call is what reached the server, so a stored answer counts for none."""
    scripts = {"luthier MIPRO": (Path(sys.executable), "ours_study.py")}
    if peer is not None:
        scripts["DSPy MIPROv2"] = (peer, "peers/dspy_study.py")
        scripts["gepa.optimize"] = (peer, "peers/gepa_study.py")
    rows: dict[str, Any] = {}
    for name, (python, path) in scripts.items():
        best: dict[str, Any] | None = None
        for _ in range(rounds):
            before = calls_so_far(url)
            spent = script(python, path, url)
            calls = calls_so_far(url) - before
            if best is None or spent["cpu"] / calls < best["cpu_seconds"] / best["calls"]:
                best = {"calls": calls, "cpu_seconds": round(spent["cpu"], 3), "wall_seconds": round(spent["wall"], 3)}
        assert best is not None
        per_call = {
            "cpu_ms_per_call": round(1000 * best["cpu_seconds"] / best["calls"], 3),
            "calls_per_second": round(best["calls"] / best["wall_seconds"]),
        }
        rows[name] = {**best, **per_call}
    return rows


def ours(program: Any, url: str, calls: int, width: int) -> dict[str, float]:
    """Time ``lt.evaluate`` with a store on disk, as a study has it."""
    with tempfile.TemporaryDirectory() as folder:
        lm = lt.LM("any", base_url=url, api_key="key", max_tokens=64)

        def run(n: int, start: int) -> None:
            rows = [{"question": f"question {start + i}", "answer": "yes"} for i in range(n)]
            store = Path(folder) / "store.sqlite"
            lt.evaluate(program, rows, lt.exact_match("answer"), lm=lm, concurrency=width, store=store)

        run(50, 10_000_000)
        cpu, wall = time.process_time(), time.perf_counter()
        run(calls, 0)
        return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def raw(url: str, calls: int, width: int) -> dict[str, float]:
    """Time the least that can be done: one session, JSON out, JSON in."""

    async def run() -> None:
        waiting = iter(range(calls))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=width)) as session:

            async def work() -> None:
                for i in waiting:
                    body = {
                        "model": "any",
                        "messages": [{"role": "user", "content": f"question {i}"}],
                        "max_tokens": 64,
                    }
                    async with session.post(f"{url}/chat/completions", json=body) as reply:
                        (await reply.json())["choices"][0]["message"]["content"]

            async with asyncio.TaskGroup() as group:
                for _ in range(width):
                    group.create_task(work())

    cpu, wall = time.process_time(), time.perf_counter()
    asyncio.run(run())
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def script(python: Path, path: str, *arguments: object) -> Any:
    """Return the JSON that a script prints last, run in its own environment."""
    command = [str(python), str(HERE / path), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}  # where it finds the other benchmarks
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def calls_so_far(url: str) -> int:
    """Return how many calls have reached the server."""
    body = json.dumps({"model": "count", "messages": []}).encode()
    asked = urllib.request.Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked) as reply:
        return int(json.load(reply)["choices"][0]["message"]["content"])


@contextmanager
def server(latency: float) -> Iterator[str]:
    """Run the loopback server and yield its base URL."""
    command = [sys.executable, str(HERE / "loopback.py"), str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


if __name__ == "__main__":
    main()
