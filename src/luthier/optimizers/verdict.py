"""The verdict: the original against the chosen candidate, paired, on examples nothing else has read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.evaluation.rollout import Rollout, outcome_json
from luthier.evaluation.stats import paired, smallest_detectable
from luthier.types import Shown

_NUMBERS = ("before", "after", "difference", "low", "high", "tokens_before", "tokens_after")

Decision = Literal["adopt", "keep", "undecided", "unmeetable"]
"""``unmeetable``: the baseline showed that no prompt can score, so nothing was searched."""


@dataclass(frozen=True, slots=True)
class Verdict(Shown):
    """What the held-out examples say.

    ``difference`` is after minus before, with its interval ``low`` to ``high`` at ``level``; scores are in [0, 1].
    Where no example was held out (``n`` is 0) they are NaN.
    """

    decision: Decision
    sentence: str
    before: float
    after: float
    difference: float
    low: float
    high: float
    n: int
    level: float
    smallest_detectable: float | None
    fixed: tuple[str, ...]
    """Ids of test examples that score higher now."""
    broken: tuple[str, ...]
    """Ids of test examples that score lower now."""
    tokens_before: float
    """Tokens per LM call."""
    tokens_after: float
    method: str

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Verdict:
        """Read a verdict back from its event."""
        fields = {name: data[name] for name in Verdict.__dataclass_fields__}
        unknown = {name: float("nan") for name in _NUMBERS if data[name] is None}
        return Verdict(**{**fields, **unknown, "fixed": tuple(data["fixed"]), "broken": tuple(data["broken"])})


def verdict_event(  # noqa: PLR0913 - the words of the sentence come on top
    before: Sequence[Rollout],
    after: Sequence[Rollout],
    *,
    look: int,
    groups: Mapping[str, str] | None,
    same: bool,
    rivals: int,
    seed: int,
    today: str = "your original",
) -> dict[str, Any]:
    """Compare test rollouts of the original and of the chosen candidate.

    Args:
        before: rollouts of the original.
        after: rollouts of the chosen candidate (the same ones where ``same``).
        look: the how-manieth study that reads these test examples; the k-th uses level 1 - 0.05 / k.
        groups: by example id, its group; groups are resampled whole.
        same: whether the original is the chosen one.
        rivals: how many candidates were scored in full beside it.
        seed: of the resampling.
        today: what the original is called.
    """
    level = 1 - 0.05 / look
    scores_before = {rollout.job.example: rollout.value for rollout in before}
    scores_after = {rollout.job.example: rollout.value for rollout in after}
    found = paired(scores_before, scores_after, level=level, groups=groups, seed=seed)
    decision: Decision = "undecided"
    if same or found.difference <= 0:
        decision = "keep"
    elif found.low > 0:
        decision = "adopt"
    mean_before, mean_after = _mean(scores_before), _mean(scores_after)
    detectable = smallest_detectable(found.n, level=level)
    event: dict[str, Any] = {
        "decision": decision,
        "before": mean_before,
        "after": mean_after,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "level": level,
        "look": look,
        "smallest_detectable": detectable,
        "fixed": list(found.fixed),
        "broken": list(found.broken),
        "tokens_before": _tokens_per_call(before),
        "tokens_after": _tokens_per_call(after),
        "method": found.method,
        "outcomes_before": [outcome_json(rollout) for rollout in before],
        "outcomes_after": [outcome_json(rollout) for rollout in after],
    }
    return {**event, "sentence": _sentence(event, today, same=same, rivals=rivals)}


def no_verdict_event() -> dict[str, Any]:
    """Return the event of a study with too few examples to hold any out."""
    return {
        **dict.fromkeys(_NUMBERS),
        "decision": "undecided",
        "n": 0,
        "level": 0.95,
        "look": 0,
        "smallest_detectable": None,
        "fixed": [],
        "broken": [],
        "method": "none",
        "outcomes_before": [],
        "outcomes_after": [],
        "sentence": "Fewer than 60 examples: none could be held out, so no gain can be shown. "
        "The best candidate found is kept in the study; judge it on further examples.",
    }


def stopped_event(check: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict of a study that ended with its check, there being nothing to win, or no way to."""
    return {
        **no_verdict_event(),
        "decision": stopped_decision(check),
        "smallest_detectable": check["smallest_detectable"],
        "sentence": check["sentence"],
    }


def stopped_decision(check: Mapping[str, Any]) -> Decision:
    """Return the decision of a study that ended with its check."""
    return "unmeetable" if check.get("unmeetable") else "keep"


def _mean(scores: Mapping[str, float]) -> float:
    return sum(scores.values()) / len(scores)


def _tokens_per_call(rollouts: Sequence[Rollout]) -> float:
    calls = sum(rollout.usage.calls for rollout in rollouts)
    return sum(rollout.usage.tokens for rollout in rollouts) / calls if calls else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _sentence(event: Mapping[str, Any], today: str, *, same: bool, rivals: int) -> str:
    if same:
        reason = "did better on the validation examples" if rivals else "was scored on all validation examples"
        return (
            f"Keep {today}: no other candidate {reason}. "
            f"It scores {_percent(event['before'])} on {event['n']} held-out examples."
        )
    interval = f"{event['low'] * 100:+.1f} to {event['high'] * 100:+.1f}"
    moved = f"from {_percent(event['before'])} to {_percent(event['after'])} on {event['n']} held-out examples"
    points = f"{event['difference'] * 100:+.1f} points, {100 * event['level']:.3g} % interval {interval}"
    if event["decision"] == "adopt":
        return f"Adopt the tuned prompts: {moved} ({points})."
    if event["decision"] == "keep":
        return f"Keep {today}: the tuned prompts go {moved} ({points})."
    return (
        f"Undecided: {moved} ({points}), which could be chance. With {event['n']} test examples a gain below "
        f"{event['smallest_detectable'] * 100:.0f} points can hardly be told from none."
    )
