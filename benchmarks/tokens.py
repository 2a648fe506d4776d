"""Tokens not paid for, on the embedded model: ``tokens.py [--llama-bench PATH]``; writes ``results/tokens.json``.

With and without each saving, in one run, taken in turns: prefixes that stay warm, choices known by their beginning, and
candidates run one after the other. Nothing else may run beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import luthier as lt
from luthier.demo import iris
from luthier.lm.local import LocalServer, model_path
from luthier.lm.local import server as server_module
from luthier.program.program import discover

ROOT = Path(__file__).parent.parent
MODEL = "qwen2.5-coder-0.5b"
FLOWERS = 24
DEMOS = 12
COMMAND = "python -m benchmarks.tokens --llama-bench PATH"
SETTINGS: dict[str, dict[str, Any]] = {
    "as it is (4 slots, one pool)": {},
    "one pool a slot": {"kv_unified": False},
    "16 slots": {"slots": 16},
    "micro-batch 128": {"n_ubatch": 128},
    "micro-batch 1024": {"n_ubatch": 1024},
    "one thread": {"threads": 1},
    "as it is, again": {},
}


def main() -> None:
    """Measure and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-bench", type=Path, default=None, help="llama.cpp's own benchmark")
    given = parser.parse_args()
    settings = {name: engine(how) for name, how in SETTINGS.items()}
    native = None if given.llama_bench is None else llama_bench(given.llama_bench)
    demo(short=False)  # what is read cold and what is read warm may differ in their last digits, and so in an answer
    rounds = [{"whole": demo(short=False), "short": demo(short=True)} for _ in range(3)]
    found = {
        "rows": rows(settings, native, rounds),
        "settings": settings,
        "llama-bench": native,
        "demo program": rounds,
    }
    file = ROOT / "benchmarks" / "results" / "tokens.json"
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def rows(
    settings: dict[str, dict[str, float]], native: dict[str, float] | None, rounds: list[dict[str, Any]]
) -> list[dict[str, str]]:
    """Return the rows of the table."""
    line = "5. tokens not paid for"
    own = settings["as it is (4 slots, one pool)"]
    best = max(settings, key=lambda name: settings[name]["warm_calls_per_second"])
    whole, short = ([one[name] for one in rounds] for name in ("whole", "short"))
    seconds = [statistics.median(one["seconds_a_run"] for one in runs) for runs in (whole, short)]
    out = [statistics.median(one["written_a_call"] for one in runs) for runs in (whole, short)]
    forms = otherwise(zip(whole, short, strict=True))
    again = otherwise(pair for runs in (whole, short) for pair in pairwise(runs))
    told = "not given" if native is None else f"{native['read']:.0f} read, {native['written']:.0f} written"
    measured = [
        (
            "tokens a second, cold prompt read and text written",
            "near llama.cpp's own benchmark",
            f"{own['read_per_second']:.0f} read, {own['written_per_second']:.0f} written",
            f"llama-bench: {told}",
        ),
        (
            "warm calls a second by setting of slots, pool, micro-batch, threads",
            "the best setting is the default",
            "; ".join(f"{name} {one['warm_calls_per_second']:.2f}" for name, one in settings.items())
            + f"; best: {best}{_beyond_noise(settings)}",
            "",
        ),
        (
            f"tokens written a call, the demo's program with {DEMOS} demos",
            "no more than they must",
            f"{out[1]:.2f}; written to the end {out[0]:.2f}; answers that differ between the two: {forms}, "
            f"between two rounds of one form: {again}",
            "",
        ),
        (
            "seconds a program run with and without choices known by their beginning, in turns",
            "faster",
            f"{seconds[1]:.2f} against {seconds[0]:.2f}, {100 * (1 - seconds[1] / seconds[0]):.0f} % less",
            "",
        ),
        (
            "prompt tokens that came from a warm prefix, as llama.cpp reports them",
            "most",
            f"{100 * statistics.median(one['cached_share'] for one in short):.0f} %",
            "",
        ),
    ]
    names = ("measure", "target", "ours", "peers")
    return [{"line": line, **dict(zip(names, row, strict=True)), "command": COMMAND} for row in measured]


def _beyond_noise(settings: Mapping[str, Mapping[str, float]]) -> str:
    """Say whether the best setting beats the default by more than the default, measured twice, differs from itself."""
    speeds = {name: one["warm_calls_per_second"] for name, one in settings.items()}
    default = [speed for name, speed in speeds.items() if name.startswith("as it is")]
    if max(speeds.values()) in default:
        return ""
    beyond = max(speeds.values()) - max(default) > max(default) - min(default)
    return ": missed" if beyond else ", within what the default differs from itself"


def otherwise(pairs: Iterable[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """Return how many answers of how many differ between the two runs of each pair."""
    differ = [a != b for one, other in pairs for a, b in zip(one["answers"], other["answers"], strict=True)]
    return f"{sum(differ)} of {len(differ)}"


def demo(*, short: bool) -> dict[str, Any]:
    """Run the demo's program on some flowers with a fresh store; ``short``: choices known by their beginning."""
    flowers = iris.petals()
    train, test = flowers[:: len(flowers) // DEMOS][:DEMOS], flowers[1 :: len(flowers) // FLOWERS][:FLOWERS]
    program = discover(iris.classify)
    demos = [lt.Demo({"size": "medium", "petal": one["petal"]}, {"species": one["species"]}) for one in train]
    candidate = program.original.with_demos("species", demos)
    lm = lt.LM(f"local/{MODEL}", max_tokens=200)
    quiet = contextlib.nullcontext() if short else mock.patch("luthier.lm.body.beginnings", return_value=())
    with tempfile.TemporaryDirectory() as folder, quiet:

        def run(rows: list[dict[str, Any]]) -> lt.Evaluation:
            store = Path(folder) / "store.sqlite"
            metric = lt.exact_match("species")
            return lt.evaluate(iris.classify, rows, metric, lm=lm, candidate=candidate, store=store)

        run(test[:2])  # reads the prefixes
        begun = time.monotonic()
        result = run(test[2:])
        seconds = time.monotonic() - begun
    usage = result.usage
    return {
        "seconds_a_run": round(seconds / len(test[2:]), 4),
        "written_a_call": round(usage.completion_tokens / usage.calls, 3),
        "cached_share": round(usage.cached_tokens / usage.prompt_tokens, 4),
        "answers": [str(rollout.prediction) for rollout in result.rollouts],
    }


def engine(how: dict[str, Any]) -> dict[str, float]:
    """Measure the server itself with other settings."""
    with started(how) as server:
        post(server, {"prompt": "hello", "max_tokens": 2})
        cold = post(server, asking(1, 0))
        warm = []
        for n in range(1, 13):
            begun = time.monotonic()
            post(server, asking(1, n))
            warm.append(time.monotonic() - begun)
        story = {"prompt": "A long story of flowers:", "max_tokens": 48, "temperature": 0, "ignore_eos": True}
        text = post(server, story)
    return {
        "read_per_second": round(1000 * cold["prompt_n"] / cold["prompt_ms"], 1),
        "written_per_second": round(1000 * text["predicted_n"] / text["predicted_ms"], 1),
        "warm_calls_per_second": round(1 / statistics.median(warm), 3),
    }


def asking(prefix: int, n: int) -> dict[str, Any]:
    """Return a request with eighteen demos and a grammar; equal prefixes share all but the last lines."""
    blocks = [f"Say which species of iris has such a petal ({prefix})."]
    blocks += [f"size: medium\npetal: {i + 10}.{i} x 1.{i}\nspecies: versicolor" for i in range(18)]
    blocks.append(f"size: medium\npetal: {n}.{n} x 1.{n % 10}\nspecies:")
    grammar = 'root ::= (" setosa" | " versicolor" | " virginica")'
    return {"prompt": "\n\n".join(blocks), "temperature": 0, "max_tokens": 14, "grammar": grammar, "cache_prompt": True}


@contextlib.contextmanager
def started(how: dict[str, Any]) -> Iterator[LocalServer]:
    """Start a server with other settings."""
    own = server_module._settings
    direct = {"slots": how.get("slots", 4), "threads": how.get("threads")}

    def patched(*args: Any, **named: Any) -> dict[str, Any]:
        made = own(*args, **named)
        made["params"].update({name: value for name, value in how.items() if name not in direct})
        return made

    with mock.patch.object(server_module, "_settings", patched):
        server = LocalServer.start(weights(), context=16384, **direct)
    try:
        yield server
    finally:
        server.close()


def post(server: LocalServer, body: dict[str, Any]) -> dict[str, float]:
    """Ask for a completion and return the server's own timings."""
    import urllib.request

    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.api_key}"}
    request = urllib.request.Request(f"{server.base_url}/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as response:
        timings: dict[str, float] = json.load(response)["timings"]
    return timings


def weights() -> Path:
    """Return the model's file."""
    path = model_path(MODEL)
    if path is None:
        raise SystemExit(f"fetch the model first: luthier models pull {MODEL}")
    return path


def llama_bench(path: Path) -> dict[str, float]:
    """Return tokens a second of llama.cpp's own benchmark, reading 512 and writing 48."""
    command = [str(path), "-m", str(weights()), "-p", "512", "-n", "48", "-t", "2", "-r", "2", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    runs = json.loads(done.stdout)
    read = next(run["avg_ts"] for run in runs if run["n_prompt"] and not run["n_gen"])
    written = next(run["avg_ts"] for run in runs if run["n_gen"] and not run["n_prompt"])
    return {"read": round(read, 1), "written": round(written, 1)}


if __name__ == "__main__":
    main()
