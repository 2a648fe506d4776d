"""How much each variable mattered, and what each predictor's change brings."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.errors import BudgetExhausted
from luthier.evaluation.evaluator import Evaluator
from luthier.program.candidate import Candidate
from luthier.runner.choice import swap_back
from luthier.runner.config import Setup
from luthier.search.importance import importances, to_json
from luthier.search.trial import Trial
from luthier.study.events import ChoiceEvent, InsightEvent, VerdictEvent


async def insight_event(
    setup: Setup,
    evaluator: Evaluator,
    choice: ChoiceEvent,
    trials: Sequence[Trial],
    verdict: VerdictEvent,
    *,
    learned: bool,
) -> InsightEvent:
    """Return the insight event; predictors are told apart only where there are two or more.

    Args:
        setup: the study.
        evaluator: runs the chosen candidate with one predictor's prompt swapped back.
        choice: the choice event.
        trials: of the search.
        verdict: the verdict event.
        learned: whether variables are settings of the proposer, which the original came about without.
    """
    shown = [trial for trial in trials if not (learned and trial.prior)]
    variables = to_json(importances(shown, seed=setup.config.seed))
    if choice.is_original or len(setup.program.tuned) < 2:
        return InsightEvent(variables=variables, predictors={}, skipped="nothing to tell apart")
    chosen, original = Candidate.from_json(choice.candidate), setup.program.original
    # The choice was made for its scores on validation: on these, whatever changed seems to have helped.
    held_out = verdict.outcomes_after[: len(setup.scoring)]
    scores = {outcome.example: outcome.value or 0.0 for outcome in held_out} or _scores(choice, trials)
    try:
        found = await swap_back(evaluator, chosen, original, scores, seed=setup.config.seed)
    except BudgetExhausted:
        return InsightEvent(variables=variables, predictors={}, skipped="the budget was used up")
    return InsightEvent(variables=variables, on="test" if held_out else "validation", **found)


def _scores(choice: ChoiceEvent, trials: Sequence[Trial]) -> dict[str, float]:
    """Return what the chosen candidate scored on each validation example."""
    number = next(row["trial"] for row in choice.table if row["point"] == choice.point)
    known = next(trial for trial in trials if trial.number == number)
    return {observation.example: observation.value for observation in known.observations}
