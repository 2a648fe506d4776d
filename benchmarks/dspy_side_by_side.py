"""DSPy's MIPROv2 and luthier in its place, on the same programs, server, and number of calls.

``PYTHONPATH=src:. python -m benchmarks.dspy_side_by_side`` with a Python that has DSPy and optuna. MIPROv2 runs first,
``auto="light"``; luthier gets as many calls as the server counted for it (in calm weather, where it crashed), and pays
for its verdict out of them.
Programs are scored on examples that neither tool has seen, on a healthy server.

Three weathers: ``calm``; ``storm``, where one answer in ten is a status of 500; ``outage``, where after 150 answers
the server fails for 15 seconds. ``--embedded`` asks the small model on disk instead of the scripted one (calm only).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import random
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import dspy

import luthier as lt
from benchmarks.dspy_tutorials import ScriptedLM, Tutorial, tutorials
from luthier.integrations.dspy import Luthier
from tests.integrations.recording import RecordingServer

RESULTS = Path(__file__).parent / "results"
WEATHERS = ("calm", "storm", "outage")
HEALTHY, OUTAGE = 150, 15.0
_THREADS = 16
_HEAD = """# DSPy's MIPROv2, and luthier in its place

Written by `benchmarks/dspy_side_by_side.py`: four programs in the shape of DSPy's tutorials, on a scripted LM on
loopback whose accuracy grows with the instruction's care and the number of demos. luthier may make as many LM calls as
the server counted for MIPROv2 (`light`) in the same weather (in calm, where it crashed), its verdict included. Scores
are means over seeds, in percent, on 140 examples that neither has seen. `storm`: one answer in ten is a 500.
`outage`: after 150 answers, 15 seconds of 503. Columns with M are MIPROv2's, with l luthier's; time is l's over M's.

| program | weather | before | M | l | calls M | calls l | time | crashes M : l | luthier decides |
|---|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Run both tools and write down what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tutorials", nargs="*", default=list(tutorials()), choices=list(tutorials()))
    parser.add_argument("--weathers", nargs="*", default=list(WEATHERS), choices=WEATHERS)
    parser.add_argument("--done", type=Path, default=None, help="rows that an earlier run printed; not run again")
    parser.add_argument("--embedded", metavar="MODEL", default=None, help="e.g. qwen2.5-coder-0.5b")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    answering = embedded(given.embedded) if given.embedded else contextlib.nullcontext(ScriptedLM)
    rows = [] if given.done is None else [json.loads(line) for line in given.done.read_text().splitlines()]
    threads = 1 if given.embedded else _THREADS
    with answering as make_lm:
        for name in given.tutorials:
            for weather in given.weathers if given.embedded is None else ["calm"]:
                for seed in range(1, given.seeds + 1):
                    rows += pair(tutorials()[name], weather, seed, make_lm, threads, rows)
    name = "dspy-embedded" if given.embedded else "dspy"
    (RESULTS / f"{name}.json").write_text(
        json.dumps({"model": given.embedded or "scripted", "rows": rows}, indent=1) + "\n"
    )
    (RESULTS / f"{name}.md").write_text(page(rows))
    print(page(rows))


def pair(
    tutorial: Tutorial, weather: str, seed: int, make_lm: Callable[[], Any], threads: int, done: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Run MIPROv2, then luthier with as many calls; return the rows that are new."""
    named = {"tutorial": tutorial.name, "weather": weather, "seed": seed}
    if find(done, {**named, "tool": "luthier"}) is not None:
        return []
    theirs = find(done, {**named, "tool": "MIPROv2"})
    rows = []
    if theirs is None:
        found = run(tutorial, weather, seed, make_lm, threads, lambda lm: mipro_v2(tutorial, lm, seed, threads))
        theirs = {**named, "tool": "MIPROv2", **found}
        rows.append(theirs)
    whole = theirs if not theirs["crashed"] else find(done, {**named, "weather": "calm", "tool": "MIPROv2"})
    calls = (whole or theirs)["lm_calls"]
    ours = run(tutorial, weather, seed, make_lm, threads, lambda lm: luthier(tutorial, lm, seed, threads, calls))
    rows.append({**named, "tool": "luthier", **ours})
    for row in rows:
        print(json.dumps(row), flush=True)
    return rows


def find(rows: list[dict[str, Any]], named: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the row of a run, None where it has not been made."""
    return next((row for row in rows if named.items() <= row.items()), None)


def mipro_v2(tutorial: Tutorial, lm: Any, seed: int, threads: int) -> tuple[Any, str]:
    """Return the program MIPROv2 returns, and what it says of it."""
    optimizer = dspy.MIPROv2(
        metric=tutorial.metric, prompt_model=lm, task_model=lm, auto="light", num_threads=threads, seed=seed
    )
    return optimizer.compile(tutorial.program(), trainset=tutorial.train, valset=tutorial.val), ""


def luthier(tutorial: Tutorial, lm: Any, seed: int, threads: int, calls: int) -> tuple[Any, str]:
    """Return the program luthier returns, and its decision."""
    with tempfile.TemporaryDirectory() as directory:
        optimizer = Luthier(
            metric=tutorial.metric,
            prompt_model=lm,
            task_model=lm,
            auto=None,
            num_threads=threads,
            seed=seed,
            log_dir=Path(directory) / "study",
            budget=lt.Budget(lm_calls=calls),
        )
        tuned = optimizer.compile(
            tutorial.program(), trainset=tutorial.train, valset=tutorial.val, testset=tutorial.test
        )
        return tuned, tuned.luthier_result.decision


def run(
    tutorial: Tutorial,
    weather: str,
    seed: int,
    make_lm: Callable[[], Any],
    threads: int,
    compiled: Callable[[Any], tuple[Any, str]],
) -> dict[str, Any]:
    """Compile under a weather, score what came back on a healthy server, and count what the server saw."""
    answer = make_lm()
    with RecordingServer(answer, fail=failing(weather, seed)) as server:
        # DSPy's own cache off, its retries as they come (three).
        lm = dspy.LM("openai/toy", api_base=server.url, api_key="none", temperature=0.0, max_tokens=400, cache=False)
        began, crashed, said = time.perf_counter(), "", ""
        program = tutorial.program()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                program, said = compiled(lm)
            except Exception as error:  # noqa: BLE001 - a crash is a result
                crashed = f"{type(error).__name__}: {error}".split("\n")[0][:200]
        seconds, calls = time.perf_counter() - began, len(server.bodies)
        server.fail = lambda number: 0
        return {
            "before": scored(tutorial, tutorial.program(), lm, threads),
            "after": scored(tutorial, program, lm, threads),
            "lm_calls": calls,
            "seconds": round(seconds, 2),
            "decision": said,
            "crashed": crashed,
        }


def failing(weather: str, seed: int) -> Callable[[int], int]:
    """Return which requests fail, by their number."""
    began: list[float] = []

    def storm(number: int) -> int:
        return 500 if random.Random(f"{seed}/{number}").random() < 0.1 else 0

    def outage(number: int) -> int:
        if number <= HEALTHY:
            return 0
        began.append(time.monotonic())
        return 503 if time.monotonic() - began[0] < OUTAGE else 0

    return {"calm": lambda number: 0, "storm": storm, "outage": outage}[weather]


def scored(tutorial: Tutorial, program: Any, lm: Any, threads: int) -> float:
    """Return a program's mean on the examples that no tool has seen."""

    def one(example: Any) -> float:
        with dspy.context(lm=lm):
            return float(tutorial.metric(example, program(**example.inputs())))

    with ThreadPoolExecutor(threads) as pool:
        return round(fmean(pool.map(one, tutorial.held)), 4)


@contextlib.contextmanager
def embedded(model: str) -> Iterator[Callable[[], Any]]:
    """Start the small model once; its answers are passed on."""
    from luthier.lm.local import local_server

    server = local_server(model, slots=2)

    def answer(body: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{server.base_url}/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {server.api_key}"},
        )
        with urllib.request.urlopen(request, timeout=600) as reply:
            return json.load(reply)

    try:
        yield lambda: answer
    finally:
        server.close()


def page(rows: list[dict[str, Any]]) -> str:
    """Return the results as a page."""
    lines = [_HEAD]
    groups: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        groups.setdefault((row["tutorial"], row["weather"]), {}).setdefault(row["tool"], []).append(row)
    for (name, weather), tools in groups.items():
        theirs, ours = tools["MIPROv2"], tools["luthier"]
        ratio = fmean(row["seconds"] for row in ours) / fmean(row["seconds"] for row in theirs)
        decided = ", ".join(row["decision"] or "–" for row in ours)
        cells = [
            name,
            weather,
            *(
                f"{100 * mean(group, value):.1f}"
                for group, value in ((ours, "before"), (theirs, "after"), (ours, "after"))
            ),
            f"{mean(theirs, 'lm_calls'):.0f}",
            f"{mean(ours, 'lm_calls'):.0f}",
            f"{ratio:.2f}",
            f"{sum(bool(row['crashed']) for row in theirs)} : {sum(bool(row['crashed']) for row in ours)}",
            decided,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def mean(rows: list[dict[str, Any]], name: str) -> float:
    """Return the mean of a column."""
    return fmean(row[name] for row in rows)


if __name__ == "__main__":
    main()
