"""Running cases: each is a study that resumes, and leaves one file of results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import luthier as lt
from luthier.bench.suite import Case
from luthier.errors import BudgetExhausted, LuthierError, StudyPaused
from luthier.optimizers.registry import optimizer_named
from luthier.report.paid import STORE, answered, paid
from luthier.report.phases import actuals
from luthier.report.summary import unfolded
from luthier.tasks.registry import task

RESULTS = "results"
STUDIES = "studies"

MakeLM = Callable[[str, int], lt.LM]
"""From an LM's name and the longest answer to the LM."""


def run_case(
    case: Case,
    folder: Path,
    make_lm: MakeLM,
    *,
    budget: lt.Budget | None = None,
    on_event: Callable[[Mapping[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Run a case, or read what it came to; a case that failed is tried again.

    What the program, the data, or a budget did wrong is a result too; an outage is not.

    Raises:
        StudyPaused: infrastructure failed; run again to go on.
    """
    file = folder / RESULTS / f"{case.slug}.json"
    if file.exists() and (known := json.loads(file.read_text(encoding="utf-8")))["status"] == "done":
        return dict(known)
    found: dict[str, Any] = {"case": _case_json(case)}
    try:
        found |= {"status": "done", **_outcome(_tuned(case, folder, make_lm, budget, on_event))}
    except StudyPaused:
        raise
    except (LuthierError, BudgetExhausted) as error:
        found |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def read_results(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the results of all cases in folders of runs, or in folders that hold results alone."""
    files = [
        file
        for folder in folders
        for file in sorted((folder / RESULTS if (folder / RESULTS).is_dir() else folder).glob("*.json"))
    ]
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return [result for result in found if isinstance(result, dict) and "case" in result]


def _tuned(
    case: Case,
    folder: Path,
    make_lm: MakeLM,
    budget: lt.Budget | None,
    on_event: Callable[[Mapping[str, Any]], None] | None,
) -> lt.Result[Any]:
    of = task(case.task)
    lm = make_lm(case.lm, of.max_tokens)
    return lt.optimize(
        of.program,
        of.splits(case.seed, case.sizes),
        of.metric,
        lm=lm if case.temperature is None else lm.with_settings(temperature=case.temperature),
        proposer_lm=None if case.proposer_lm is None else make_lm(case.proposer_lm, of.max_tokens),
        teacher_lm=None if case.teacher_lm is None else make_lm(case.teacher_lm, of.max_tokens),
        optimizer=_optimizer(case),
        auto=case.evaluations,
        budget=budget,
        inputs=list(of.inputs),
        study_dir=folder / STUDIES / case.slug,
        seed=case.seed,
        on_event=on_event,
        anyway=True,  # what a search does is measured, worth its price or not
    )


def _optimizer(case: Case) -> Any:
    found: Any = optimizer_named(case.optimizer)
    return found if case.candidates is None else replace(found, candidates=case.candidates)


def _outcome(result: lt.Result[Any]) -> dict[str, Any]:
    """Return what a study came to, as the tables need it."""
    events = unfolded(result.events)
    event = {name: next(e for e in events if e["event"] == name) for name in ("baseline", "choice", "verdict", "split")}
    verdict, choice = event["verdict"], event["choice"]
    return {
        "decision": verdict["decision"],
        "scoring": {"n": event["baseline"]["n"], "before": event["baseline"]["mean"], "after": choice["mean"]},
        "test": {
            "examples": list(event["split"]["test"]),
            "before": [outcome["value"] for outcome in verdict["outcomes_before"]],
            "after": [outcome["value"] for outcome in verdict["outcomes_after"]],
        },
        "prompts": {
            name: {"instruction": prompt.instruction, "demos": len(prompt.demos)}
            for name, prompt in result.best.prompts.items()
        },
        "curve": curve(events),
        "counts": counts(events, result.study_dir / STORE),
        "insight": next((e for e in events if e["event"] == "insight"), {}),
    }


def curve(events: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Return (program runs of the search so far, best full score so far), from the original's score on."""
    spent, best = 0, 0.0
    points: list[tuple[int, float]] = []
    purposes: dict[int, str] = {}
    for event in events:
        if event["event"] == "baseline":
            best = float(event["mean"])
            points.append((0, best))
        elif event["event"] == "ask":
            purposes[event["trial"]] = event["purpose"]
        elif event["event"] == "tell":
            values = [outcome["value"] for outcome in event["outcomes"]]
            spent += len(values)
            if purposes.get(event["trial"]) == "full":
                best = max(best, sum(values) / len(values))
                points.append((spent, best))
    return [*points, (spent, best)]


def counts(events: Sequence[Mapping[str, Any]], store: Path) -> dict[str, Any]:
    """Return the four counts of what a study took, whole and by phase.

    ``rollouts``: program runs asked for, the paper's unit. ``new_rollouts``: those of a program on an example that had
    not met before, which take at least one new call. ``calls_paid``, and the tokens, are what was charged.
    """
    phases = {
        name: {"rollouts": took.rollouts, "calls_asked": took.amounts.calls, "tokens_asked": took.amounts.tokens}
        for name, took in actuals(events).items()
        if took.rollouts or took.amounts.calls
    }
    seen: set[tuple[str, str]] = set()
    space = next(event for event in events if event["event"] == "space")
    original = {variable["name"]: variable["levels"][0] for variable in space["variables"]}
    points: dict[int, Any] = {}
    new = 0
    for event in events:
        if event["event"] == "ask":
            points[event["trial"]] = event["point"]
        if event["event"] in ("baseline", "tell"):
            point = json.dumps(_prompts(points.get(event.get("trial", -1), original)), sort_keys=True)
            cells = {(point, outcome["example"]) for outcome in event["outcomes"]}
            new += len(cells - seen)
            seen |= cells
    charged, billed = paid(store), answered(store)
    bootstrapped = sum(took["rollouts"] for name, took in phases.items() if name == "bootstrap")
    tested = sum(took["rollouts"] for name, took in phases.items() if name in ("verdict", "insight"))
    search = sum(took["rollouts"] for name, took in phases.items() if name in ("search", "closing"))
    return {
        "search_rollouts": search,
        "rollouts": sum(took["rollouts"] for took in phases.values()),
        "new_rollouts": new + bootstrapped + tested,
        "calls_paid": sum(amounts.calls for amounts in charged.values()),
        "tokens_cached": billed.cached_tokens,
        "tokens_uncached": billed.prompt_tokens - billed.cached_tokens,
        "tokens_out": billed.completion_tokens,
        "phases": phases,
    }


def _prompts(point: Mapping[str, str]) -> dict[str, str]:
    return {name: level for name, level in point.items() if not name.startswith("proposer.")}


def _case_json(case: Case) -> dict[str, Any]:
    return {
        "task": case.task,
        "optimizer": case.optimizer,
        "lm": case.lm,
        "seed": case.seed,
        "evaluations": case.evaluations,
        "sizes": None if case.sizes is None else list(case.sizes),
        "candidates": case.candidates,
        "temperature": case.temperature,
    }
