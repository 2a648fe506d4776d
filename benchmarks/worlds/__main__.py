"""``python -m benchmarks.worlds run | table | plot | serve | show``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.worlds import page, show
from benchmarks.worlds.case import Case
from benchmarks.worlds.kinds import KINDS
from benchmarks.worlds.runner import PEERS, SOURCE, is_peer, release, run
from benchmarks.worlds.server import serve
from luthier.optimizers.registry import OPTIMIZERS

OURS = (
    "mipro",
    "labeled-few-shot",
    "bootstrap-random-search",
    "joint-random-search",
    "bayesian-bootstrap",
    "mipro0",
    "mipro++",
    "mipro0++",
    "opro",
    "opro-g",
    "program-opro",
    "ca-opro",
    "random-search-opro",
)
"""luthier's optimizers; the paper's presets, which need thousands of program runs, are left out."""
QUICK_KINDS = ("reasons", "harsh", "blind", "null-nothing")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worlds", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="run the cases that have no result yet")
    running.add_argument("--kinds", nargs="+", choices=list(KINDS), metavar="KIND", help=f"of {', '.join(KINDS)}")
    running.add_argument(
        "--optimizers", nargs="+", type=optimizer, default=[*OURS, *PEERS], metavar="NAME", help="luthier's, and peers"
    )
    running.add_argument("--seeds", type=int, nargs="+", metavar="N", help="results are told from 10 to 19 only")
    running.add_argument("--budgets", type=at_least(30), nargs="+", metavar="RUNS", help="program runs of a search")
    running.add_argument("--ability", type=ability, default=1.0, help="of the proposer, from 0 to 1")
    running.add_argument("--peer-python", default="", help="a Python that has dspy, gepa, optuna, and numpy")
    running.add_argument(
        "--source", type=Path, help="src of another luthier; its results are kept as NAME@VERSION beside today's"
    )
    running.add_argument("--jobs", type=at_least(1), default=1, help="cases at a time")
    running.add_argument("--quick", action="store_true", help="four kinds, two seeds, one budget: under 20 minutes")
    commands.add_parser("table", help="write results/worlds.md from the results there are")
    commands.add_parser("plot", help="write results/worlds.html, the curves, from the results there are")
    commands.add_parser("serve", help="serve the worlds until killed; prints the address")
    shown = commands.add_parser("show", help="print one world, with a request and its answer")
    shown.add_argument("kind", nargs="?", default="reasons", choices=list(KINDS))
    shown.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    try:
        follow(given)
    except KeyboardInterrupt:
        sys.exit(130)


def follow(given: argparse.Namespace) -> None:
    """Do what was asked for."""
    if given.command == "run":
        run_cases(given)
    elif given.command == "serve":
        asyncio.run(serve())
    elif given.command == "show":
        print(show.described(given.kind, given.seed))
    else:
        print({"table": page.write_table, "plot": page.write_plot}[given.command]())


def optimizer(name: str) -> str:
    """Return the name of an optimizer, where there is one of that name."""
    known = [*OPTIMIZERS, *PEERS]
    if name not in known:
        raise argparse.ArgumentTypeError(f"no optimizer is called {name!r}; there are {', '.join(known)}")
    return name


def at_least(least: int) -> Callable[[str], int]:
    """Return what reads a whole number that is not smaller."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return int(text)

    return number


def ability(text: str) -> float:
    """Return a number from 0 to 1."""
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return float(text)


def run_cases(given: argparse.Namespace) -> None:
    """Run what the options name, and tell each case as it ends."""
    kinds = given.kinds or (QUICK_KINDS if given.quick else list(KINDS))
    seeds = given.seeds or ([10, 11] if given.quick else [10, 11, 12, 13, 14])
    budgets = given.budgets or ([300] if given.quick else [300, 600])
    optimizers = [name for name in given.optimizers if given.peer_python or not is_peer(name)]
    for name in sorted(set(given.optimizers) - set(optimizers)):
        print(f"{name}: not run, as --peer-python is not given")
    source = given.source or SOURCE
    if given.source:
        optimizers = [name if is_peer(name) else f"{name}@{release(source)}" for name in optimizers]
    cases = ordered(kinds, optimizers, seeds, budgets, given.ability)
    started = time.monotonic()
    done = 0

    def report(case: Case, found: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        worth = f"{found['accuracy']:.2f} at {found.get('runs', 0):.0f} runs" if "accuracy" in found else ""
        error = f"  {found['error'][:90]}" if "error" in found else ""
        minutes = (time.monotonic() - started) / 60
        print(
            f"{minutes:6.1f} min {done:5} {case.optimizer} {case.kind} {case.seed} {case.budget}: {worth}{error}",
            flush=True,
        )

    run(cases, jobs=given.jobs, peer_python=given.peer_python, report=report, source=source)
    print(f"{done} of {len(cases)} cases run; the others had a result")


def ordered(
    kinds: Sequence[str], optimizers: Sequence[str], seeds: Sequence[int], budgets: Sequence[int], ability: float
) -> list[Case]:
    """Return the cases, so that whatever is done when time ends is a whole table: seed by seed."""
    return [
        Case(optimizer, kind, seed, budget, ability)
        for seed in seeds
        for budget in sorted(budgets, reverse=True)
        for kind in kinds
        for optimizer in optimizers
    ]


if __name__ == "__main__":
    main()
