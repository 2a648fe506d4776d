"""The verdict: the original against the chosen candidate, paired, on examples nothing else has read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from luthier.evaluation.rollout import Rollout, outcome_json
from luthier.evaluation.splits import LEAST_FOR_VERDICT
from luthier.evaluation.stats import (
    DISAGREEMENT,
    PairedDifference,
    fewest_detecting,
    look_level,
    paired,
    smallest_detectable,
)
from luthier.study.events import CheckEvent, VerdictEvent, fields_of, outcome_of
from luthier.types import Shown

_NUMBERS = ("before", "after", "difference", "low", "high", "tokens_before", "tokens_after")
_ORDER_WITHOUT_VERDICT = tuple(
    dict.fromkeys([*_NUMBERS, *(field.name for field in fields_of(VerdictEvent) if field.is_required)])
)
"""Where none are held out, the numbers that are not known come first in the journal."""

NONE_HELD_OUT = (
    f"No examples are held out (that takes {LEAST_FOR_VERDICT} or more, or a test part that you cut off yourself)"
)

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
    """Of the interval: 0.95 at the first look at these examples, more at each further one."""
    smallest_detectable: float | None
    """What so many examples were expected to detect, if programs differ on 20 % of them; None: no gain."""
    fixed: tuple[str, ...]
    """Ids of test examples that score higher now."""
    broken: tuple[str, ...]
    """Ids of test examples that score lower now."""
    tokens_before: float
    """Tokens per LM call."""
    tokens_after: float
    method: str

    @staticmethod
    def of(event: VerdictEvent) -> Verdict:
        """Read a verdict back from its event."""
        fields: dict[str, Any] = {name: getattr(event, name) for name in Verdict.__dataclass_fields__}
        unknown = {name: float("nan") for name in _NUMBERS if fields[name] is None}
        return Verdict(**{**fields, **unknown, "fixed": tuple(event.fixed), "broken": tuple(event.broken)})


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
) -> VerdictEvent:
    """Compare test rollouts of the original and of the chosen candidate.

    Args:
        before: rollouts of the original.
        after: rollouts of the chosen candidate (the same ones where ``same``).
        look: which look at these test examples it is, from 1; it decides the level of the interval.
        groups: by example id, its group; groups are resampled whole.
        same: whether the original is the chosen one.
        rivals: how many candidates were scored in full beside it.
        seed: of the resampling.
        today: what the original is called.
    """
    level = look_level(look)
    scores_before = {rollout.job.example: rollout.value for rollout in before}
    scores_after = {rollout.job.example: rollout.value for rollout in after}
    found = paired(scores_before, scores_after, level=level, groups=groups, seed=seed)
    mean_before, mean_after = _mean(scores_before), _mean(scores_after)
    event = VerdictEvent(
        decision="keep" if same else decided(found),
        before=mean_before,
        after=mean_after,
        difference=found.difference,
        low=found.low,
        high=found.high,
        n=found.n,
        level=level,
        look=look,
        smallest_detectable=smallest_detectable(found.n, level=level),
        fixed=found.fixed,
        broken=found.broken,
        tokens_before=_tokens_per_call(before),
        tokens_after=_tokens_per_call(after),
        method=found.method,
        outcomes_before=tuple(outcome_of(outcome_json(rollout)) for rollout in before),
        outcomes_after=tuple(outcome_of(outcome_json(rollout)) for rollout in after),
        sentence="",
    )
    return replace(event, sentence=_sentence(Verdict.of(event), look, today, same=same, rivals=rivals))


def decided(found: PairedDifference) -> Decision:
    """Return what a paired difference decides: a tie keeps the original, an interval above zero adopts."""
    if found.difference <= 0:
        return "keep"
    return "adopt" if found.low > 0 else "undecided"


def no_verdict_event() -> VerdictEvent:
    """Return the event of a study that holds no examples out."""
    return VerdictEvent(
        decision="undecided",
        before=None,
        after=None,
        difference=None,
        low=None,
        high=None,
        n=0,
        level=0.95,
        look=0,
        smallest_detectable=None,
        fixed=(),
        broken=(),
        tokens_before=None,
        tokens_after=None,
        method="none",
        outcomes_before=(),
        outcomes_after=(),
        sentence=f"{NONE_HELD_OUT}, so no gain can be shown. "
        "The best candidate found is kept in the study; judge it on further examples.",
        order=_ORDER_WITHOUT_VERDICT,
    )


def stopped_event(check: CheckEvent, shown: str = "") -> VerdictEvent:
    """Return the verdict of a study that ended with its check, there being nothing to win, or no way to.

    Args:
        check: the event.
        shown: examples that show it, which the event does not hold.
    """
    return replace(
        no_verdict_event(),
        decision=stopped_decision(check),
        smallest_detectable=check.smallest_detectable,
        sentence=f"{check.sentence} {shown}".strip(),
    )


def stopped_decision(check: CheckEvent) -> Decision:
    """Return the decision of a study that ended with its check."""
    return "unmeetable" if check.unmeetable else "keep"


def what_can_be_detected(n: int, level: float = 0.95) -> str:
    """Say which gains ``n`` held-out examples can detect."""
    if (gain := smallest_detectable(n, level=level)) is not None:
        return f"{n} held-out examples can detect gains of about {100 * gain:.0f} points or more"
    return (
        f"{n} held-out examples are too few to detect a gain if the programs differ on {100 * DISAGREEMENT:.0f} % of "
        f"them; {fewest_detecting(level=level)} can"
    )


def level_text(level: float) -> str:
    """Return a confidence level in percent, exact enough never to be 100: ``95 %``, ``98.3 %``, ``99.989 %``."""
    missing = float(f"{100 * (1 - level):.2g}")
    return f"{100 - missing:.10g} %"


def _mean(scores: Mapping[str, float]) -> float:
    return sum(scores.values()) / len(scores)


def _tokens_per_call(rollouts: Sequence[Rollout]) -> float:
    calls = sum(rollout.usage.calls for rollout in rollouts)
    return sum(rollout.usage.tokens for rollout in rollouts) / calls if calls else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _sentence(found: Verdict, look: int, today: str, *, same: bool, rivals: int) -> str:
    if same:
        reason = "did better on the validation examples" if rivals else "was scored on all validation examples"
        return (
            f"Keep {today}: no other candidate {reason}. "
            f"It scores {_percent(found.before)} on {found.n} held-out examples."
        )
    interval = f"{found.low * 100:+.1f} to {found.high * 100:+.1f}"
    moved = f"from {_percent(found.before)} to {_percent(found.after)} on {found.n} held-out examples"
    counted = f"; look {look} at these examples" if look > 1 else ""
    points = f"{found.difference * 100:+.1f} points, {level_text(found.level)} interval {interval}{counted}"
    if found.decision == "adopt":
        return f"Adopt the tuned prompts: {moved} ({points})."
    if found.decision == "keep":
        return f"Keep {today}: the tuned prompts go {moved} ({points})."
    return (
        f"Undecided: {moved} ({points}), which could be chance: anything from {_effect(found.low)} to "
        f"{_effect(found.high)} fits what was measured."
    )


def _effect(difference: float) -> str:
    if round(100 * difference, 1) == 0:
        return "no change"
    return f"a {'gain' if difference > 0 else 'loss'} of {100 * abs(difference):.1f} points"
