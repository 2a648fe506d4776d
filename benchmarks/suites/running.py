"""Running cases: each is a study that resumes, and leaves one file of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import luthier as lt
from benchmarks.suites.files import STUDIES, write_json
from benchmarks.suites.results import file_of, known_result
from benchmarks.suites.suite import Case
from benchmarks.tasks.registry import task
from luthier.errors import BudgetExhausted, LuthierError, StudyPaused
from luthier.optimizers.registry import optimizer_named
from luthier.program.candidate import Candidate
from luthier.report.model import view
from luthier.report.paid import STORE, answered, paid
from luthier.report.phases import actuals
from luthier.report.spending import Amounts
from luthier.report.summary import unfolded
from luthier.runner.candidates import Choices
from luthier.search.space import Point
from luthier.study.events import (
    AskEvent,
    BaselineEvent,
    BootstrapEvent,
    ChoiceEvent,
    Event,
    InsightEvent,
    SpaceEvent,
    SplitEvent,
    TellEvent,
    VerdictEvent,
    event_of,
    every,
    first,
    read_all,
    to_json,
)
from luthier.types import Role

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
        ConfigError: the folder has a result of another case of that name.
        StudyPaused: infrastructure failed; run again to go on.
    """
    if (known := known_result(case, folder)) is not None:
        return known
    found: dict[str, Any] = {"case": case.to_json()}
    try:
        found |= {"status": "done", **_outcome(_tuned(case, folder, make_lm, budget, on_event))}
    except StudyPaused:
        raise
    except (LuthierError, BudgetExhausted) as error:
        found |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
    write_json(file_of(case, folder), found)
    return found


def _tuned(
    case: Case,
    folder: Path,
    make_lm: MakeLM,
    budget: lt.Budget | None,
    on_event: Callable[[Mapping[str, Any]], None] | None,
) -> lt.Result[Any]:
    of = task(case.task)
    if of.prepare is not None:
        of.prepare()
    own = {"temperature": case.temperature, "endpoint": case.endpoint}
    lm = make_lm(case.lm, of.max_tokens).with_settings(**{name: set_ for name, set_ in own.items() if set_ is not None})
    return lt.optimize(
        of.program,
        of.splits(case.seed, case.sizes),
        of.metric,
        lm=lm,
        proposer_lm=None if case.proposer_lm is None else make_lm(case.proposer_lm, of.max_tokens),
        teacher_lm=None if case.teacher_lm is None else make_lm(case.teacher_lm, of.max_tokens),
        optimizer=_optimizer(case),
        auto=case.evaluations,
        budget=budget,
        inputs=list(of.inputs),
        study_dir=folder / STUDIES / case.slug,
        looks=folder / STUDIES / case.slug / "looks.sqlite",  # a case knows nothing of the others
        seed=case.seed,
        on_event=on_event,
        anyway=True,  # what a search does is measured, worth its price or not
    )


def _optimizer(case: Case) -> Any:
    found: Any = optimizer_named(case.optimizer)
    return found if case.candidates is None else replace(found, candidates=case.candidates)


def _outcome(result: lt.Result[Any]) -> dict[str, Any]:
    """Return what a study came to, as the tables need it."""
    events = unfolded(read_all(result.events))
    baseline, choice, verdict = (
        event_of(events, BaselineEvent),
        event_of(events, ChoiceEvent),
        event_of(events, VerdictEvent),
    )
    return {
        "decision": verdict.decision,
        "scoring": {"n": baseline.n, "before": baseline.mean, "after": choice.mean},
        "test": {
            "examples": list(event_of(events, SplitEvent).test),
            "before": [outcome.value for outcome in verdict.outcomes_before],
            "after": [outcome.value for outcome in verdict.outcomes_after],
        },
        "prompts": {
            name: {"instruction": prompt.instruction, "demos": len(prompt.demos)}
            for name, prompt in result.best.prompts.items()
        },
        "curve": curve(events),
        "counts": counts(events, result.study_dir / STORE),
        "insight": _insight(events),
    }


def _insight(events: Sequence[Event]) -> dict[str, Any]:
    """Return the insight, with a readable label beside each best level, which the journal has by its hash."""
    insight = first(events, InsightEvent)
    if insight is None:
        return {"variables": {}}
    labels = {row.name: row.best for row in view(events).variables}
    variables = {name: {**found, "label": labels[name]} for name, found in insight.variables.items()}
    return {**to_json(insight), "variables": variables}


def curve(events: Sequence[Event]) -> list[tuple[int, float]]:
    """Return (program runs of the search so far, best full score so far), from the original's score on."""
    spent, best = 0, 0.0
    points: list[tuple[int, float]] = []
    purposes: dict[int, str] = {}
    for event in events:
        if isinstance(event, BaselineEvent):
            best = event.mean
            points.append((0, best))
        elif isinstance(event, AskEvent):
            purposes[event.trial] = event.purpose
        elif isinstance(event, TellEvent):
            values = [outcome.value or 0.0 for outcome in event.outcomes]
            spent += len(values)
            if purposes.get(event.trial) == "full":
                best = max(best, sum(values) / len(values))
                points.append((spent, best))
    return [*points, (spent, best)]


def counts(events: Sequence[Event], store: Path) -> dict[str, Any]:
    """Return the four counts of what a study took, whole and by phase.

    ``rollouts``: program runs asked for, the paper's unit. ``new_rollouts``: those of a program on an example that had
    not met before; where the program has one predictor, each takes a new call. ``calls_paid``, and the tokens, are what
    was charged.
    """
    phases = {
        name: {"rollouts": took.rollouts, "calls_asked": took.amounts.calls, "tokens_asked": took.amounts.tokens}
        for name, took in actuals(events).items()
        if took.rollouts or took.amounts.calls
    }
    charged, billed = paid(store), answered(store)
    # Demos come from runs of which the journal has the number alone. One that had been made before, be it in the
    # baseline or for another teacher, pays for no call.
    bootstrapped = sum(sum(event.attempts.values()) for event in every(events, BootstrapEvent))
    bootstrapped = min(bootstrapped, charged.get(Role.TEACHER.value, Amounts()).calls)
    return {
        "search_rollouts": sum(took["rollouts"] for name, took in phases.items() if name in ("search", "closing")),
        "rollouts": sum(took["rollouts"] for took in phases.values()),
        "new_rollouts": len(_cells(events)) + bootstrapped,
        "calls_paid": sum(amounts.calls for amounts in charged.values()),
        "tokens_cached": billed.cached_tokens,
        "tokens_uncached": billed.prompt_tokens - billed.cached_tokens,
        "tokens_out": billed.completion_tokens,
        "phases": phases,
    }


def _cells(events: Sequence[Event]) -> set[tuple[str, str]]:
    """Return (candidate, inputs) of all runs but the teacher's, each once."""
    choices = Choices.of(event_of(events, SpaceEvent))
    chosen = Candidate.from_json(event_of(events, ChoiceEvent).candidate)
    # What the space does not name, the chosen candidate has as the original has it.
    original = choices.candidate(choices.space.original, chosen)
    scored, verdict = event_of(events, BaselineEvent).outcomes, event_of(events, VerdictEvent)
    runs = [(original, scored), (original, verdict.outcomes_before), (chosen, verdict.outcomes_after)]
    insight = first(events, InsightEvent)
    swapped_on = verdict.outcomes_after[: insight.n] if insight is not None and insight.on == "test" else scored
    for name in () if insight is None else insight.predictors:
        runs.append((chosen.with_prompt(name, original.prompts[name]), swapped_on))
    points: dict[int, Point] = {}
    for e in events:
        if isinstance(e, AskEvent):
            points[e.trial] = Point(e.point)
        elif isinstance(e, TellEvent):
            runs.append((choices.candidate(points[e.trial], original), e.outcomes))
    keyed = [(candidate.key, outcomes) for candidate, outcomes in runs]
    # Rows with the same inputs, which are numbered, make the same calls.
    return {(key, outcome.example.partition("#")[0]) for key, outcomes in keyed for outcome in outcomes}
