"""The long proofs with a real LM: ``make proof``. Every run is a study, so an interrupted proof goes on.

Usage: proof.py [demo | kill | iris | all] [--seeds 1 2 3] [--peer-python PATH]
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal

import luthier as lt
from luthier.demo import iris
from luthier.demo.run import run_demo
from luthier.evaluation.stats import wilson
from luthier.lm.local import local_server
from luthier.optimizers.joint_random_search import JointRandomSearch
from luthier.optimizers.labeled_few_shot import LabeledFewShot

RESULTS = Path(__file__).parent / "results"
RUNS = Path("runs/proof")
MODEL = "qwen2.5-coder-0.5b"
IRIS_SIZES = (30, 45, 75)
DEMOS = 16
EVALUATIONS = 250
SIZES_OF_SETS = (0, 8, 12, 16, 16, 16)
METHODS: dict[str, Callable[[], Any]] = {
    "labelled few-shot, K = 16, no search": lambda: LabeledFewShot(demos=DEMOS),
    "joint random search": lambda: JointRandomSearch(
        instructions=3, demo_sizes=SIZES_OF_SETS, trials=12, minibatch=9, closing=3
    ),
    "bootstrap random search": lambda: lt.BootstrapRandomSearch(candidates=6, demo_sizes=SIZES_OF_SETS),
    "MIPRO": lambda: lt.MIPRO(instructions=3, demo_sizes=SIZES_OF_SETS, trials=12, minibatch=9, closing=3),
    "chat: MIPRO": lambda: lt.MIPRO(instructions=3, demo_sizes=SIZES_OF_SETS, trials=12, minibatch=9, closing=3),
}
PEERS: dict[str, dict[str, int]] = {
    "DSPy MIPROv2, same K": {"max_bootstrapped_demos": 4, "max_labeled_demos": 16},
    "DSPy MIPROv2, defaults": {},
}


def main() -> None:
    """Run the proofs asked for and write their results down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="all", choices=("demo", "kill", "iris", "all"))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--demo-seeds", nargs="*", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--typo-seeds", nargs="*", type=int, default=[1])
    parser.add_argument("--peer-python", type=Path, default=None, help="a Python that has dspy")
    parser.add_argument("--only", nargs="*", default=[""], help="methods whose file name starts with one of these")
    given = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    if given.what in ("demo", "all"):
        prove_demo(given.demo_seeds)
    if given.what in ("kill", "all"):
        prove_kills()
    if given.what in ("iris", "all"):
        prove_iris("iris", given.seeds, given.peer_python, given.only)
        prove_iris("iris_typo", given.typo_seeds, given.peer_python, given.only)


def prove_demo(seeds: Sequence[int]) -> None:
    """Run the demo once on each fresh split seed and write all of them down, whatever they say."""
    for seed in seeds:
        file = RESULTS / "demo" / f"split-{seed}.json"
        if file.exists():
            continue
        started = time.monotonic()
        shown = run_demo(RUNS / "demo" / f"split-{seed}", split_seed=seed)
        verdict = shown.result.verdict
        write(
            file,
            {
                "split_seed": seed,
                "decision": verdict.decision,
                "before": verdict.before,
                "after": verdict.after,
                "difference": verdict.difference,
                "interval": [verdict.low, verdict.high],
                "n": verdict.n,
                "control": shown.control.mean,
                "control_demos": shown.control_demos,
                "tuned_minus_control": shown.against_control.difference,
                "tuned_minus_control_interval": [shown.against_control.low, shown.against_control.high],
                "minutes": round((time.monotonic() - started) / 60, 1),
            },
        )
        say(f"demo, split seed {seed}: {verdict.sentence}  control {shown.control.mean:.1%}")


def prove_kills(kills: int = 10) -> None:
    """Kill a study on the embedded LM again and again: what it had recorded must all be there afterwards."""
    file = RESULTS / "kill-embedded.json"
    if file.exists():
        return
    directory, rng, rows = RUNS / "killed", random.Random("embedded"), []
    command = [sys.executable, str(Path(__file__).parent / "embedded_study.py"), str(directory)]
    for kill in range(kills + 1):
        before = recorded(directory)
        with subprocess.Popen(command) as child:
            if kill < kills:
                time.sleep(rng.uniform(4, 12))
                child.kill()
        after = recorded(directory)
        lost_answers = sum(after["answers"].get(key) != answer for key, answer in before["answers"].items())
        rows.append(
            {
                "killed": kill < kills,
                "exit": child.returncode,
                "events": len(after["events"]),
                "answers": len(after["answers"]),
                "events_lost": 0 if after["events"][: len(before["events"])] == before["events"] else 1,
                "answers_lost": lost_answers,
            }
        )
        say(f"kill {kill}: {rows[-1]}")
    write(file, {"model": MODEL, "runs": rows})


def recorded(directory: Path) -> dict[str, Any]:
    """Return the whole lines of a study's journal, and its stored answers by key."""
    journal, store = directory / "journal.jsonl", directory / "store.sqlite"
    events = journal.read_text(encoding="utf-8").split("\n")[:-1] if journal.exists() else []
    answers: dict[str, str] = {}
    if store.exists():
        with closing(sqlite3.connect(store)) as database:
            answers = dict(database.execute("SELECT key, answer FROM answers"))
    return {"events": events, "answers": answers}


def prove_iris(task: str, seeds: Sequence[int], peer_python: Path | None, only: Sequence[str]) -> None:
    """Run every method and peer on the same splits of one task."""
    runs: list[tuple[str, int, Callable[[], dict[str, Any]]]] = []
    for seed in seeds:
        runs += [(method, seed, partial(ours, task, method, make, seed)) for method, make in METHODS.items()]
        if peer_python is not None:
            runs += [(name, seed, partial(peer, task, name, how, seed, peer_python)) for name, how in PEERS.items()]
    for method, seed, run in runs:
        if slug(method).startswith(tuple(only)):
            once(RESULTS / task / f"{slug(method)}-{seed}.json", run)


def ours(task: str, method: str, make: Callable[[], Any], seed: int) -> dict[str, Any]:
    """Tune with one of our optimizers; test values are by example, for pairing."""
    program = {"iris": iris.iris, "iris_typo": iris.iris_typo}[task]
    started = time.monotonic()
    # The completion form is the embedded LM's own; by chat it is asked as the peers ask it.
    endpoint: Literal["chat"] | None = "chat" if method.startswith("chat") else None
    lm = lt.LM(f"local/{MODEL}", max_tokens=64, endpoint=endpoint)
    result = lt.optimize(
        program,
        iris.measurements(),
        lt.exact_match("species"),
        lm=lm,
        optimizer=make(),
        study_dir=RUNS / task / f"{slug(method)}-{seed}",
        seed=seed,
        split_seed=seed,
        sizes=IRIS_SIZES,
        auto="light",
    )
    event = {name: find(result.events, name) for name in ("verdict", "split")}
    verdict = event["verdict"]
    told = [e for e in result.events if e["event"] == "tell"]
    return {
        "task": task,
        "method": method,
        "seed": seed,
        "decision": verdict["decision"],
        "test": event["split"]["test"],
        "before": [outcome["value"] for outcome in verdict["outcomes_before"]],
        "after": [outcome["value"] for outcome in verdict["outcomes_after"]],
        "unreadable_before": sum(o["outcome"] == "unparseable" for o in verdict["outcomes_before"]),
        "unreadable_after": sum(o["outcome"] == "unparseable" for o in verdict["outcomes_after"]),
        "evaluations": sum(len(e["outcomes"]) for e in told),
        "paid": paid(result.study_dir),
        "seconds": round(time.monotonic() - started, 1),
    }


def peer(task: str, method: str, settings: dict[str, int], seed: int, python: Path) -> dict[str, Any]:
    """Run DSPy's MIPROv2 on the same split against the same server."""
    from luthier.evaluation.splits import split
    from luthier.program.program import discover

    program = {"iris": iris.iris, "iris_typo": iris.iris_typo}[task]
    parts = split(iris.measurements(), discover(program), split_seed=seed, sizes=IRIS_SIZES)
    server = local_server(MODEL, slots=2)
    job = {
        "seed": seed,
        "model": MODEL,
        "base_url": server.base_url,
        "api_key": server.api_key,
        "max_tokens": 64,
        "instruction": "Given the petal and sepal dimensions in cm, predict the iris species.",
        "classes": f"setosa, {'versicolour' if task == 'iris_typo' else 'versicolor'}, or virginica",
        "optimizer": settings,
        **{part: [dict(row.example) for row in getattr(parts, part)] for part in ("train", "val", "test")},
    }
    script = Path(__file__).parent / "peers" / "dspy_iris.py"
    done = subprocess.run(
        [str(python), str(script)], input=json.dumps(job), capture_output=True, text=True, check=False
    )
    raw = RUNS / task / f"{slug(method)}-{seed}.out"
    raw.parent.mkdir(parents=True, exist_ok=True)
    raw.write_text(done.stdout + "\n--- stderr ---\n" + done.stderr, encoding="utf-8")
    if done.returncode != 0:
        # A tuner that stops with a traceback leaves its user with the original program.
        return {"task": task, "method": method, "seed": seed, "crashed": done.stderr.strip().splitlines()[-1:]}
    found = json.loads(done.stdout[done.stdout.index('{"before"') :])
    return {
        "task": task,
        "method": method,
        "seed": seed,
        "test": [row.id for row in parts.test],
        "before": found["before"]["values"],
        "after": found["after"]["values"],
        "unreadable_before": found["before"]["unreadable"],
        "unreadable_after": found["after"]["unreadable"],
        "paid": {name: found[name] for name in ("lm_calls", "tokens_cached", "tokens_uncached", "tokens_out")},
        **{name: found[name] for name in ("demos", "instruction", "seconds", "dspy")},
    }


def paid(study_dir: Path) -> dict[str, int]:
    """Return what a study's stored answers were billed: calls, and tokens cached, uncached, and out."""
    with closing(sqlite3.connect(study_dir / "store.sqlite")) as database:
        bills = [json.loads(usage) for (usage,) in database.execute("SELECT usage FROM answers WHERE usage NOT NULL")]
    # A bill is kept as prompt, completion, and cached tokens, and calls.
    cached = sum(bill[2] for bill in bills)
    return {
        "lm_calls": len(bills),
        "tokens_cached": cached,
        "tokens_uncached": sum(bill[0] for bill in bills) - cached,
        "tokens_out": sum(bill[1] for bill in bills),
    }


def once(file: Path, run: Callable[[], dict[str, Any]]) -> None:
    """Run and write down, unless that was done before."""
    if file.exists():
        return
    found = run()
    write(file, found)
    after = found.get("after")
    if after is None:
        say(f"{file.parent.name} {file.stem}: {found['crashed']}")
        return
    low, high = wilson(sum(after), len(after))
    say(f"{file.parent.name} {file.stem}: {sum(after) / len(after):.1%} [{low:.1%}, {high:.1%}]")


def write(file: Path, found: dict[str, Any]) -> None:
    """Write a result as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def find(events: Sequence[Any], name: str) -> dict[str, Any]:
    """Return the event of that name."""
    return dict(next(event for event in events if event["event"] == name))


def slug(text: str) -> str:
    """Return a text as a file name."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def say(text: str) -> None:
    """Tell the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
