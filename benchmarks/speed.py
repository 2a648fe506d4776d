"""The engine's speed beside DSPy's and raw aiohttp, in one run: ``speed.py --peer-python PATH``.

CPU is the client process's own; the server is another process. Compare numbers only within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

import luthier as lt

HERE = Path(__file__).parent
RESULTS = HERE / "results"


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", type=Path, default=None, help="a Python that has dspy")
    parser.add_argument("--calls", type=int, default=2000)
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for latency in (0.0, 0.2):
        with server(latency) as url:
            rows: dict[str, Any] = {}
            for width in (16, 64, 256):
                rows[f"raw aiohttp, {width}"] = raw(url, given.calls, width)
                rows[f"luthier, sync program, {width}"] = ours(answer, url, given.calls, width)
                rows[f"luthier, async program, {width}"] = ours(async_program, url, given.calls, width)
                if given.peer_python is not None:
                    rows[f"DSPy Evaluate, {width}"] = peer(given.peer_python, url, given.calls, width)
            found[f"latency {latency} s"] = rows
    for rows in found.values():
        for name, row in rows.items():
            rows[name] = {
                "cpu_ms_per_call": round(1000 * row["cpu"] / given.calls, 3),
                "calls_per_second": round(given.calls / row["wall"]),
            }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "speed.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


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


def peer(python: Path, url: str, calls: int, width: int) -> dict[str, float]:
    """Time DSPy's ``Evaluate`` in its own environment."""
    command = [str(python), str(HERE / "peers" / "dspy_evaluate.py"), url, str(calls), str(width)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


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
