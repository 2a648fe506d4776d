"""What both workers do: read cases from standard input, one JSON a line, and answer each with a line of JSON."""

from __future__ import annotations

import json
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable
from typing import Any

from benchmarks.worlds.case import Case
from benchmarks.worlds.world import world

RunCase = Callable[[Case, str], dict[str, Any]]


def work(run_case: RunCase) -> None:
    """Answer each case with what ``run_case(case, base URL)`` returns, or with the error it ended with."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what optimizers print is no answer
    for line in sys.stdin:
        asked = json.loads(line)
        case, url = Case(**asked["case"]), asked["server"]
        url += case.base_url
        call(url, "DELETE")
        started = time.perf_counter()
        try:
            found = run_case(case, url)
        except Exception as error:  # noqa: BLE001 - an optimizer that ends with an error is a result
            made = world(case.kind, case.seed)
            where = traceback.format_exc(limit=-3)
            found = {
                "error": f"{type(error).__name__}: {error}"[:400],
                "trace": where[-1500:],
                "accuracy": made.original(),
            }
            found |= costs(case, spent(url))
        found["seconds"] = round(time.perf_counter() - started, 2)
        call(url, "DELETE")
        print(json.dumps(found), file=answers, flush=True)


def costs(case: Case, spending: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Return a search's cost in program runs, proposer calls, and tokens."""
    nothing = {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0}
    task, teacher, proposer = (spending.get(role, nothing) for role in ("task", "teacher", "proposer"))
    runs = (task["calls"] + teacher["calls"]) / world(case.kind, case.seed).calls_per_run
    return {
        "runs": round(runs, 1),
        "task_tokens": sum(role[name] for role in (task, teacher) for name in ("prompt_tokens", "completion_tokens")),
        "proposer_calls": proposer["calls"],
        "proposer_tokens": proposer["prompt_tokens"] + proposer["completion_tokens"],
    }


def spent(url: str) -> dict[str, dict[str, int]]:
    """Return calls and tokens by role so far."""
    return dict(call(url + "/spent"))


def accuracy(url: str) -> dict[str, Any]:
    """Return what the prompts are worth that the program was run with on the model ``probe``."""
    return dict(call(url + "/accuracy"))


def call(url: str, method: str = "GET") -> Any:
    """Ask the server for something besides completions."""
    request = urllib.request.Request(url, method=method)
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)
