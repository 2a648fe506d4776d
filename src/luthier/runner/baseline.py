"""The baseline: the original on the rows that candidates are compared on, and what its runs show of the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from luthier.budget import Ledger
from luthier.errors import LuthierError, ProgramFailed
from luthier.evaluation.evaluator import Evaluator, scored_rollouts
from luthier.evaluation.rollout import Evaluation, Job, Outcome, Rollout, by_outcome, cost_json, outcome_json
from luthier.evaluation.stats import standard_error
from luthier.evaluation.unmetered import unmetered_sentence
from luthier.lm.gateway import Gateway
from luthier.lm.refusals import Refusals
from luthier.lm.request import Usage, total_usage
from luthier.lm.store import Store
from luthier.program.program import Program
from luthier.runner.config import Setup
from luthier.runner.own_calls import own_lms
from luthier.runner.unmeetable import examples_text, zero_baseline
from luthier.study.events import BaselineEvent, outcome_of
from luthier.types import Role

MOST_ERRORS_OF_THE_ORIGINAL = 0.05
"""Above this share of program errors the original itself is broken, and no prompt can mend it."""


async def measure_original(setup: Setup, evaluator: Evaluator, limits: Sequence[str]) -> tuple[BaselineEvent, str]:
    """Run the original, and return its event; and, where it scores 0 throughout, a few of its predictions.

    Args:
        setup: the study.
        evaluator: runs the program.
        limits: names of what the budget limits.

    Raises:
        ProgramFailed: the program raises on more than 5 % of the rows, or uses nothing that is to be tuned.
        LuthierError: as ``lt.optimize``.
    """
    program, gateway = setup.program, evaluator.gateway
    rollouts = await scored_rollouts(evaluator, [Job(program.original, row.id) for row in setup.scoring])
    errors = [rollout for rollout in rollouts if rollout.outcome is Outcome.ERROR]
    if len(errors) > MOST_ERRORS_OF_THE_ORIGINAL * len(rollouts):
        raise ProgramFailed(
            f"the original program raised on {len(errors)} of {len(rollouts)} examples "
            f"(the first: example {errors[0].job.example}):\n{errors[0].traceback}"
        )
    judge = gateway.requested.get(Role.JUDGE.value, Usage())
    found = _predictors_met(program, rollouts, given=setup.predictors_given)
    found["warnings"] += setup.labels.warnings
    if unmetered := Evaluation(program.original, tuple(rollouts)).unmetered:
        found["warnings"].append(unmetered_sentence(unmetered, limits=limits))
        found["unmetered"] = unmetered
    if own := own_lms(rollouts, gateway.lms, setup.task, program):
        found["own_lms"] = own
    zero = zero_baseline(program, setup.metric, rollouts, setup.split.rows)
    shown = "" if zero is None else _shown(setup, rollouts, zero["examples"])
    return baseline_event(rollouts, judge=judge, zero=zero, **found), shown


async def tuned_program(program: Program, evaluator: Evaluator, found: Mapping[str, Any]) -> Program:
    """Return the program with the predictors that the baseline met, and without those it never called.

    A predictor that only a run can show is met again by running an example that showed it; the store has the
    answers.

    Args:
        program: as it was read.
        evaluator: runs it.
        found: what the baseline event says of predictors.

    Raises:
        ProgramFailed: it is not met again.
    """
    missing = found["met"].keys() - {component.name for component in evaluator.met}
    if missing:
        examples = sorted({found["met"][name] for name in missing})
        await scored_rollouts(evaluator, [Job(program.original, example) for example in examples])
    met = {component.name: component for component in evaluator.met}
    if missing - met.keys():
        raise ProgramFailed(f"{', '.join(sorted(missing - met.keys()))}: called in the baseline, but not any more")
    used = [component for component in program.components if component.name not in found["never_called"]]
    return replace(program, components=tuple(used)).with_components(met[name] for name in found["met"])


async def shown_again(setup: Setup, store: Store, refusals: Refusals, baseline: BaselineEvent) -> str:
    """Return what an earlier session showed, from the answers in the store; nothing where a call would be needed."""
    if baseline.unmetered or baseline.zero is None:
        return ""
    examples = baseline.zero["examples"]
    gateway = Gateway(store=store, ledger=Ledger({"lm_calls": 0.0}), refusals=refusals)
    evaluator = Evaluator(
        setup.program, setup.metric, setup.split.rows, setup.task, gateway, concurrency=setup.concurrency
    )
    evaluator.proven = evaluator.closed = True
    try:
        rollouts = await scored_rollouts(evaluator, [Job(setup.program.original, id) for id in examples])
    except LuthierError:
        return ""
    finally:
        gateway.close()
    return _shown(setup, rollouts, examples)


def _shown(setup: Setup, rollouts: Sequence[Rollout], examples: Sequence[str]) -> str:
    return examples_text(setup.program, setup.metric, rollouts, setup.split.rows, examples)


def _predictors_met(program: Program, rollouts: Sequence[Rollout], *, given: bool) -> dict[str, Any]:
    """Return which components are the program's: those known beforehand that ran, and those met in a run.

    Args:
        program: as it was read.
        rollouts: the original's.
        given: whether the user named the components to tune; then no other is.
    """
    showed: dict[str, str] = {}
    for rollout in rollouts:
        for name in rollout.trace.met:
            showed.setdefault(name, rollout.job.example)
    known = {component.name for component in program.components}
    words = {text.name: ("text", "read") for text in program.texts}
    # Where no run came to its end, those behind the call that failed were not passed over: they stay (ADR 0022).
    ended = any(rollout.outcome is Outcome.SCORED for rollout in rollouts)
    never, others = sorted(known - showed.keys() if ended else ()), sorted(showed.keys() - known)
    notes = [
        f"{what} {name!r} was never {done} on {len(rollouts)} examples: not tuned"
        for name in never
        for what, done in [words.get(name, ("predictor", "called"))]
    ]
    if given:
        notes += [f"{name!r} is not among those to tune: it stays as it is" for name in others]
        others = []
    if {component.name for component in program.tuned} <= set(never) and not others:
        raise ProgramFailed(f"the program used nothing that is to be tuned on any of {len(rollouts)} examples")
    found = {"never_called": never, "met": {name: showed[name] for name in others}}
    return {"predictors": found, "warnings": notes}


def baseline_event(
    rollouts: Sequence[Rollout],
    *,
    judge: Usage | None = None,
    predictors: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    **found: Any,
) -> BaselineEvent:
    """Return the event of these rollouts; ``found`` are its optional fields."""
    values = [rollout.value for rollout in rollouts]
    return BaselineEvent(
        mean=sum(values) / len(values),
        stderr=standard_error(values) or 0.0,
        n=len(values),
        outcomes=tuple(outcome_of(outcome_json(rollout)) for rollout in rollouts),
        counts=by_outcome(rollouts),
        usage=_bill(total_usage([rollout.usage for rollout in rollouts])),
        judge=_bill(judge or Usage()),
        predictors=predictors or {},
        warnings=warnings,
        **found,
    )


def _bill(usage: Usage) -> dict[str, int]:
    return {**cost_json(usage), "cached_tokens": usage.cached_tokens}
