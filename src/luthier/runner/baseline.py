"""The baseline event: what the original's rollouts came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.evaluation.rollout import Rollout, by_outcome, outcome_json
from luthier.lm.request import Usage, total_usage
from luthier.study.events import BaselineEvent, outcome_of


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
    n, mean = len(values), sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (n - 1) if n > 1 else 0.0
    return BaselineEvent(
        mean=mean,
        stderr=(variance / n) ** 0.5,
        n=n,
        outcomes=tuple(outcome_of(outcome_json(rollout)) for rollout in rollouts),
        counts=by_outcome(rollouts),
        usage=_usage_json(total_usage([rollout.usage for rollout in rollouts])),
        judge=_usage_json(judge or Usage()),
        predictors=predictors or {},
        warnings=warnings,
        **found,
    )


def _usage_json(usage: Usage) -> dict[str, int]:
    return {
        "lm_calls": usage.calls,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
    }
