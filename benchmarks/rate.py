"""How much of a server's allowed rate is used, and how often it refuses: ``rate.py [--peer-python PATH]``.

In virtual time over servers of many kinds, through limiter and retries; and on the wall clock through ``lt.evaluate``,
beside DSPy's ``Evaluate`` on the same server. Writes ``benchmarks/results/rate.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import luthier as lt  # noqa: E402 - the tests' servers are found from the repository's root
from tests.lm.limited import Allowance, LimitedServer, work  # noqa: E402
from tests.lm.virtual import run_virtually  # noqa: E402

WARM_UP, SECONDS = 8.0, 25.0
LATENCIES: tuple[Any, ...] = (0.005, 0.05, 0.5, (0.2, 2.0))
WALL = ((50, 0.05, "sliding"), (50, 0.05, "fixed"))
"""Requests a second, latency, and window of the servers on the wall clock."""
COMMAND = "python -m benchmarks.rate --peer-python PATH"


@lt.predictor
def answer(question: str) -> str:
    """Answer the question."""
    return lt.predict()


def main() -> None:
    """Measure and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", type=Path, default=None, help="a Python that has dspy")
    given = parser.parse_args()
    cells = [cell(*kind) for kind in product(("bucket", "fixed", "sliding"), (20, 100, 400), LATENCIES, (64, 256))]
    good = [one for one in cells if one["used"] >= 0.9 and one["refused"] < 0.05]
    walls = [wall(*kind, given.peer_python) for kind in WALL]
    rows = [
        {
            "line": "3. rate",
            "measure": f"{len(cells)} servers in virtual time: 20, 100, 400 a second; token bucket, fixed and sliding "
            "second; 5 ms to 2 s; 64 and 256 callers; the worse of with and without Retry-After",
            "target": "90 % of the rate used, under 5 % refused",
            "ours": f"{len(good)} of {len(cells)}; the least used {100 * min(c['used'] for c in cells):.1f} %, "
            f"the most refused {100 * max(c['refused'] for c in cells):.1f} %",
            "peers": "",
            "command": COMMAND,
        }
    ]
    for (n, latency, window), one in zip(WALL, walls, strict=True):
        peer = one.get("dspy")
        rows.append(
            {
                "line": "3. rate",
                "measure": f"wall clock, {n} a second by a {window} second, {1000 * latency:.0f} ms, 64 at once, "
                f"after {WARM_UP:.0f} s",
                "target": "90 % of the rate used, under 5 % refused",
                "ours": said(one["luthier"], n),
                "peers": "" if peer is None else f"DSPy Evaluate, 64 threads: {said(peer, n)}",
                "command": COMMAND,
            }
        )
    found = {"rows": rows, "virtual": cells, "wall": walls}
    (ROOT / "benchmarks" / "results" / "rate.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(row["measure"], "|", row["ours"], "|", row["peers"])


def said(one: dict[str, float], n: int) -> str:
    """Return a wall-clock measurement in words."""
    if one.get("exit"):
        return f"stopped with a traceback (exit code {one['exit']:.0f})"
    return f"{100 * one['rate'] / n:.0f} % used, {100 * one['refused']:.1f} % refused"


def cell(window: Any, n: int, latency: Any, callers: int) -> dict[str, Any]:
    """Measure one kind of server in virtual time; the worse of with and without ``Retry-After``."""
    mean = latency if isinstance(latency, float) else sum(latency) / 2
    runs = [
        run_virtually(
            work(LimitedServer(Allowance(window, n), latency, hint), callers=callers, warm_up=WARM_UP, seconds=SECONDS)
        )
        for hint in ("none", "whole")
    ]
    return {
        "window": window,
        "allowed": n,
        "latency": latency,
        "callers": callers,
        "used": round(min(run.rate for run in runs) / min(n, callers / mean), 4),
        "refused": round(max(run.refused for run in runs), 4),
    }


def wall(n: int, latency: float, window: str, python: Path | None) -> dict[str, Any]:
    """Measure one server on the wall clock, ours and DSPy's ``Evaluate`` after each other."""
    calls = int(n * (WARM_UP + SECONDS))
    found: dict[str, Any] = {"allowed": n, "latency": latency, "window": window}
    with served(n, latency, window) as url, tempfile.TemporaryDirectory() as folder:
        lm = lt.LM("any", base_url=url, api_key="key", max_tokens=64)
        rows = [{"question": f"question {i}", "answer": "yes"} for i in range(calls)]
        result = lt.evaluate(
            answer, rows, lt.exact_match("answer"), lm=lm, concurrency=64, store=Path(folder) / "store.sqlite"
        )
        found["luthier"] = {**counted(url), "unscored": result.unscored}
    if python is not None:
        with served(n, latency, window) as url:
            command = [str(python), str(ROOT / "benchmarks" / "peers" / "dspy_evaluate.py"), url, str(calls), "64"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found["dspy"] = {**counted(url), "exit": done.returncode}
    return found


def counted(url: str) -> dict[str, float]:
    """Return answers a second and the share refused, as the server saw them, after the warm-up."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/counts", timeout=10) as response:
        times = json.load(response)
    begun = min(times["answered"] + times["refused"]) + WARM_UP
    ended = max(times["answered"])
    answered = sum(begun <= at for at in times["answered"])
    refused = sum(begun <= at for at in times["refused"])
    return {
        "rate": round(answered / max(1e-9, ended - begun), 2),
        "refused": round(refused / max(1, answered + refused), 4),
    }


@contextmanager
def served(n: int, latency: float, window: str) -> Iterator[str]:
    """Run the limited server and yield its base URL."""
    command = [sys.executable, str(ROOT / "benchmarks" / "limited_server.py"), str(n), str(latency), window]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


if __name__ == "__main__":
    main()
