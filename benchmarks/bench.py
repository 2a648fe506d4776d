"""Measure the strategies and the engine: ``make bench``. Writes ``benchmarks/results/bench.json``.

Strategies are run on additive tables with known truth, so a result is the true quality of the chosen point;
"paired" is the mean difference to random search on the same tables, with its standard error.
The engine is timed in CPU per call, which other load disturbs least; compare such numbers only within one run.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import luthier as lt  # noqa: E402 - the tests' worlds are found from the repository's root
from luthier.lm.doubles import ScriptedLM  # noqa: E402
from luthier.lm.gateway import Gateway  # noqa: E402
from luthier.lm.request import Message, Request  # noqa: E402
from luthier.lm.store import Store  # noqa: E402
from luthier.search.halving import SuccessiveHalving  # noqa: E402
from luthier.search.random import RandomSearch  # noqa: E402
from luthier.search.schedule import MinibatchSchedule  # noqa: E402
from luthier.search.space import Point, Space, Variable  # noqa: E402
from luthier.search.tpe import TPE, startup_trials  # noqa: E402
from luthier.search.trial import Ask, Observation, Purpose, Strategy, Trial  # noqa: E402
from luthier.types import Role  # noqa: E402
from tests.search.worlds import World, run, world  # noqa: E402
from tests.studies import world as numbers  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "bench.json"
SEEDS = 60
SETTINGS = {
    "4 variables x 4 levels, 12 trials of 9 (the demo)": (4, 4, 12, 9, 3),
    "2 variables x 6 levels, 20 trials of 8": (2, 6, 20, 8, 3),
    "4 variables x 6 levels, 30 trials of 10": (4, 6, 30, 10, 3),
}


def main() -> None:
    """Run all benchmarks and write them down."""
    found = {
        "strategies": {name: strategies(*numbers) for name, numbers in SETTINGS.items()},
        "ask at 1,000 trials and 40 variables": ask_time(),
        "engine": engine(),
    }
    found = {"rows": rows_of(found), **found}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def rows_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the engine's numbers as the rows of the table of measures."""
    asked, engine_found = found["ask at 1,000 trials and 40 variables"], found["engine"]
    gateway, rollouts = engine_found["replay, gateway alone"], engine_found["replayed from the store"]
    told = {
        "CPU seconds of one ask, the median of five": (f"at most {asked['target']}", f"{asked['cpu_seconds']:.3f}"),
        "calls a second through the gateway": ("at least 3,000", f"{gateway['calls_per_second']:,}"),
        "calls a second through whole rollouts": ("at least 3,000", f"{rollouts['calls_per_second']:,}"),
    }
    lines = ("cost of an ask at 1,000 trials and 40 variables", "replay from the store", "replay from the store")
    return [
        {"line": line, "measure": measure, "target": target, "ours": ours, "peers": "", "command": "make bench"}
        for line, (measure, (target, ours)) in zip(lines, told.items(), strict=True)
    ]


def strategies(variables: int, levels: int, trials: int, minibatch: int, closing: int) -> dict[str, Any]:
    """Return the true quality of what each strategy chooses, over seeds."""

    def schedule(suggest: Any, problem: World) -> Strategy:
        return MinibatchSchedule(suggest, problem.examples, problem.blocks(minibatch), trials, closing=closing)

    def paper(problem: World) -> Strategy:
        parts = problem.blocks(minibatch)
        suggest = TPE(startup=10, adjust=False, explore_only=True)
        # As many rollouts in all: a full evaluation every S trials in place of the closing ones.
        every = max(1, trials // closing)
        return MinibatchSchedule(suggest, problem.examples, parts, trials, full_every=every, first_full=True)

    def halving(problem: World) -> Strategy:
        return SuccessiveHalving(
            RandomSearch(),
            examples=problem.examples,
            blocks=problem.blocks(minibatch),
            budget=trials * minibatch,
            closing=closing,
        )

    makers: dict[str, Callable[[World], Strategy]] = {
        "random": lambda problem: schedule(RandomSearch(), problem),
        "TPE, the paper's schedule": paper,
        "TPE, ours": lambda problem: schedule(TPE(startup=startup_trials(trials)), problem),
        "successive halving": halving,
    }
    quality = {
        name: [chosen_quality(make, seed, variables, levels) for seed in range(SEEDS)] for name, make in makers.items()
    }
    base = quality["random"]
    return {
        name: {
            "quality": summary(values),
            "paired": summary([a - b for a, b in zip(values, base, strict=True)]),
        }
        for name, values in quality.items()
    }


def chosen_quality(make: Callable[[World], Strategy], seed: int, variables: int, levels: int) -> float:
    """Return the true quality of the best of the fully evaluated points."""
    problem = world(seed, variables=variables, levels=levels)
    history = run(make(problem), problem, seed=seed, prior=[problem.baseline()])
    full = [trial for trial in history if trial.ask.purpose is Purpose.FULL]
    best = max(full, key=lambda trial: (trial.mean, trial.ask.point == problem.space.original))
    return problem.truth(best.ask.point)


def ask_time(trials: int = 1000, variables: int = 40, levels: int = 6, observations: int = 10) -> dict[str, float]:
    """Return CPU seconds of one ask with a long history."""
    rng = random.Random("ask")
    space = Space(tuple(Variable(f"v{i}", tuple(f"l{j}" for j in range(levels))) for i in range(variables)))
    history = []
    for number in range(trials):
        point = Point({variable.name: rng.choice(variable.levels) for variable in space.variables})
        examples = tuple(f"e{(number + i) % 100}" for i in range(observations))
        seen = tuple(Observation(point, example, 0, float(rng.random() < 0.5), "scored") for example in examples)
        history.append(Trial(number, Ask(point, examples, Purpose.EXPLORE), seen))
    suggest = TPE(startup=10)
    suggest.suggest(space, history, [], random.Random(0))
    times = []
    for n in range(5):
        started = time.process_time()
        suggest.suggest(space, history, [], random.Random(n))
        times.append(time.process_time() - started)
    return {"cpu_seconds": round(statistics.median(times), 4), "target": 0.15}


def engine(calls: int = 4000) -> dict[str, Any]:
    """Return CPU per call through the whole engine on an LM without latency, and from the store."""
    rows = numbers.rows(calls // 2)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store.sqlite"
        lm = lt.LM(ScriptedLM(numbers.answer))
        measured = {}
        for name in ("first time", "replayed from the store"):
            started, wall = time.process_time(), time.perf_counter()
            lt.evaluate(numbers.describe, rows, lt.exact_match("answer"), lm=lm, store=store, concurrency=64)
            measured[name] = {
                "cpu_ms_per_call": round(1000 * (time.process_time() - started) / calls, 3),
                "calls_per_second": round(calls / (time.perf_counter() - wall)),
            }
    measured["replay, gateway alone"] = replay(calls)
    return measured


def replay(calls: int) -> dict[str, float]:
    """Return what one stored answer costs, without program, metric, and threads."""
    store = Store(":memory:")
    lm = lt.LM(ScriptedLM(lambda request: "yes"))
    gateway = Gateway(store=store)
    requests = [Request(messages=(Message("user", f"question {i}"),), temperature=0.0) for i in range(200)]

    async def ask(total: int) -> None:
        for i in range(total):
            await gateway.complete(lm, requests[i % len(requests)], Role.TASK)

    asyncio.run(ask(len(requests)))
    started, wall = time.process_time(), time.perf_counter()
    asyncio.run(ask(calls))
    cpu, seconds = time.process_time() - started, time.perf_counter() - wall
    gateway.close()
    store.close()
    return {"cpu_ms_per_call": round(1000 * cpu / calls, 3), "calls_per_second": round(calls / seconds)}


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return mean and standard error."""
    return {
        "mean": round(statistics.mean(values), 4),
        "stderr": round(statistics.stdev(values) / math.sqrt(len(values)), 4),
    }


if __name__ == "__main__":
    main()
