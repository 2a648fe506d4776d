"""Which of the fully scored candidates to put to the test, and what each predictor's change brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.evaluation.evaluator import Evaluator, scored_rollouts
from luthier.evaluation.rollout import Job, Rollout, cost_json
from luthier.evaluation.stats import paired, standard_error
from luthier.lm.request import Usage, total_usage
from luthier.program.candidate import Candidate
from luthier.runner.candidates import Choices
from luthier.runner.steps import MET, Steps
from luthier.search.space import Point
from luthier.search.standing import dropped
from luthier.search.trial import Trial
from luthier.study.events import ChoiceEvent


def choose(steps: Steps, choices: Choices, trials: Sequence[Trial]) -> ChoiceEvent:
    """Return the choice event: the best mean among fully scored points; ties go to the original, then to the first.

    Scores of the winner are optimistic, being the best of several on the same examples; the verdict is not.
    """
    original = choices.space.original
    full = {trial.ask.point: trial for trial in trials if set(trial.ask.examples) == set(steps.scoring_ids)}
    broken = dropped(trials)
    ranked = sorted(full, key=lambda point: (-full[point].mean, point != original, full[point].number))
    chosen = next(point for point in ranked if point == original or point not in broken)
    candidate = choices.candidate(chosen, steps.original)
    return ChoiceEvent(
        point=dict(chosen),
        candidate=candidate.to_json(),
        mean=full[chosen].mean,
        is_original=chosen == original,
        table=[_row(point, full[point], is_original=point == original) for point in ranked],
        leaked_cells=leaked_cells(choices, full, steps.original),
        warnings=[
            f"{name!r} was met after the baseline: it ran as it is and is not tuned"
            for name in sorted({name for trial in trials for o in trial.observations for name in o.detail.get(MET, ())})
        ],
    )


def leaked_cells(choices: Choices, full: dict[Point, Trial], original: Candidate) -> int:
    """Count (candidate, example) pairs scored although the example is among the candidate's demos (paper presets)."""
    leaked = 0
    for point, trial in full.items():
        prompts = choices.candidate(point, original).prompts.values()
        shown = {d.provenance.example for prompt in prompts for d in prompt.demos if d.provenance is not None}
        leaked += sum(o.example in shown for o in trial.observations)
    return leaked


async def swap_back(
    evaluator: Evaluator, chosen: Candidate, original: Candidate, scores: Mapping[str, float], *, seed: int
) -> dict[str, Any]:
    """Score the chosen candidate with each predictor's prompt swapped back to its original (leave one out).

    Args:
        evaluator: runs the programs.
        chosen: the chosen candidate.
        original: the program as it was.
        scores: the chosen candidate's own, by example; of examples that had no part in the choice, else what is told
            of each change is optimistic.
        seed: of the resampling, where metrics are graded.

    Returns:
        By predictor: the mean without its change, and what the change brings, with a 95 % interval; and the bill.
    """
    gains: dict[str, Any] = {}
    made: list[Rollout] = []
    changed = [name for name, prompt in chosen.prompts.items() if prompt != original.prompts[name]]
    for name in changed:
        without = chosen.with_prompt(name, original.prompts[name])
        rollouts = await scored_rollouts(evaluator, [Job(without, example) for example in scores])
        made += rollouts
        found = paired(_values(rollouts), scores, seed=seed)
        gains[name] = {
            "mean_without": sum(rollout.value for rollout in rollouts) / len(rollouts),
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
        }
    return {"predictors": gains, "mean": sum(scores.values()) / len(scores), "n": len(scores), **_bill(made)}


def _bill(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    by_lm: dict[str, Usage] = {}
    for rollout in rollouts:
        for identity, usage in rollout.trace.usage_by_lm.items() if rollout.mixed else ():
            by_lm[identity] = by_lm.get(identity, Usage()) + usage
    return {
        "rollouts": len(rollouts),
        "usage": cost_json(total_usage([rollout.usage for rollout in rollouts])),
        **({"usage_by_lm": {identity: cost_json(usage) for identity, usage in by_lm.items()}} if by_lm else {}),
    }


def _values(rollouts: Sequence[Rollout]) -> dict[str, float]:
    return {rollout.job.example: rollout.value for rollout in rollouts}


def _row(point: Point, trial: Trial, *, is_original: bool) -> dict[str, Any]:
    values = [observation.value for observation in trial.observations]
    return {
        "point": dict(point),
        "trial": trial.number,
        "mean": trial.mean,
        "stderr": standard_error(values),
        "n": len(values),
        "is_original": is_original,
    }
