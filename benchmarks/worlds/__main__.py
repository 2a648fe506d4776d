"""``python -m benchmarks.worlds run | table | plot | serve | show``."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.worlds import page, show
from benchmarks.worlds.case import Case
from benchmarks.worlds.kinds import KINDS
from benchmarks.worlds.runner import PEERS, is_peer, run
from benchmarks.worlds.server import serve

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
CURVE = ("mipro", "labeled-few-shot", "bootstrap-random-search")
"""Those of which curves over many budgets are drawn."""
QUICK_KINDS = ("reasons", "harsh", "blind", "null-nothing")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worlds", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="run the cases that have no result yet")
    running.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), metavar="KIND")
    running.add_argument("--optimizers", nargs="+", default=[*OURS, *PEERS], metavar="NAME")
    running.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12, 13, 14], metavar="N")
    running.add_argument("--budgets", type=int, nargs="+", default=[300, 600], metavar="RUNS")
    running.add_argument("--ability", type=float, default=1.0, help="of the proposer, from 0 to 1")
    running.add_argument("--peer-python", default="", help="a Python that has dspy, gepa, optuna, and numpy")
    running.add_argument("--jobs", type=int, default=1, help="cases at a time")
    running.add_argument("--quick", action="store_true", help="four kinds, two seeds, one budget: under 20 minutes")
    commands.add_parser("table", help="write results/worlds.md from the results there are")
    commands.add_parser("plot", help="write results/worlds.html, the curves, from the results there are")
    commands.add_parser("serve", help="serve the worlds until killed; prints the address")
    shown = commands.add_parser("show", help="print one world, with a request and its answer")
    shown.add_argument("kind", nargs="?", default="reasons", choices=list(KINDS))
    shown.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.command == "run":
        run_cases(given)
    elif given.command == "serve":
        asyncio.run(serve())
    elif given.command == "show":
        print(show.described(given.kind, given.seed))
    else:
        print({"table": page.write_table, "plot": page.write_plot}[given.command]())


def run_cases(given: argparse.Namespace) -> None:
    """Run what the options name, and tell each case as it ends."""
    if given.quick:
        given.kinds, given.seeds, given.budgets = list(QUICK_KINDS), [10, 11], [300]
    optimizers = [name for name in given.optimizers if given.peer_python or not is_peer(name)]
    for name in sorted(set(given.optimizers) - set(optimizers)):
        print(f"{name}: not run, as --peer-python is not given")
    cases = ordered(given.kinds, optimizers, given.seeds, given.budgets, given.ability)
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

    run(cases, jobs=given.jobs, peer_python=given.peer_python, report=report)


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
