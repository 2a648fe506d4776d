"""Is there anything to win? What a study's own baseline tells, before a search is paid for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

from luthier.canonical import content_hash
from luthier.evaluation.metrics import Metric
from luthier.evaluation.rollout import Outcome
from luthier.evaluation.stats import Interval, look_level, paired, smallest_detectable, tango, wilson
from luthier.program.lms import LMs
from luthier.program.program import Program
from luthier.runner.unmeetable import reason_sentence, zero_warning
from luthier.runner.verdict import level_text, what_can_be_detected
from luthier.study import events as journal
from luthier.study.events import (
    BaselineEvent,
    CheckEvent,
    Event,
    ManifestEvent,
    PlanEvent,
    RefusedEvent,
    SplitEvent,
)

HOPELESS = 0.1
"""Below this chance that even flawless prompts would be adopted, a search is not worth its price."""
_FIRST_LEVEL = look_level(1)
_STEPS_BEFORE = (ManifestEvent, SplitEvent, PlanEvent, RefusedEvent, BaselineEvent, CheckEvent)


def check_event(
    baseline: BaselineEvent,
    *,
    n_test: int,
    noise: Mapping[str, Any] | None,
    whole: bool = True,
    level: float = 0.95,
) -> CheckEvent:
    """Return the check event: what the original scores, what can be shown, and whether that leaves anything to win.

    ``unmeetable`` is there only where no prompt can score: why (``zero_baseline``).

    A pure function of what is recorded, so it costs nothing and a resumed study comes to the same.

    Args:
        baseline: the event of the original's evaluation.
        n_test: held-out examples.
        noise: what ``lt.check`` measured of the same program by asking twice, None where nobody has asked.
        whole: whether these are all the examples that candidates would be compared on.
        level: of the verdict's interval.
    """
    outcomes = baseline.outcomes
    values = [outcome.value or 0.0 for outcome in outcomes]
    low, high = mean_interval(values)
    # No more noise is held against the program than has been shown.
    chance = chance_of_adoption(values, n_test, 0.0 if noise is None else float(noise["low"]), level)
    event = CheckEvent(
        mean=baseline.mean,
        low=low,
        high=high,
        n=len(values),
        unparseable=unreadable(outcomes),
        smallest_detectable=smallest_detectable(n_test, level=level),
        chance=chance,
        noise=None if noise is None else dict(noise),
        stop=False,
        sentence="",
    )
    if (zero := baseline.zero) is not None:
        if (unmet := reason_sentence(zero, outcomes)) is not None:
            return replace(event, stop=True, unmeetable=zero["reason"], sentence=unmet)
        if len(values) > 1:
            event = replace(event, warnings=[zero_warning(len(values))])
    reason = _reason(event, values, n_test, whole=whole, level=level)
    return replace(event, stop=reason is not None, sentence=reason or _go_on(event, n_test, level))


def has_gone_on(events: Sequence[Event]) -> bool:
    """Whether a study has already spent more than its baseline, so that stopping now would save little."""
    return not all(isinstance(event, _STEPS_BEFORE) for event in events)


def noise_key(program: Program, lms: LMs, metric: Metric) -> str:
    """Name what was measured of a program as it is, by these LMs and this metric, in the store."""
    answering = [
        [name, lm.identity, lm.temperature, lm.top_p, *([dict(lm.extra)] if lm.extra else [])]
        for name, lm in sorted(lms.by_name.items())
    ]
    return f"noise/{content_hash([program.original.key, program.original.fingerprints, answering, metric.identity])}"


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the 95 % interval of a mean score; Wilson's where all are right or wrong."""
    if all(value in (0, 1) for value in values):
        return wilson(sum(values), len(values))
    found = paired({str(i): 0.0 for i in range(len(values))}, {str(i): value for i, value in enumerate(values)})
    return Interval(max(0.0, found.low), min(1.0, found.high))


def unreadable(outcomes: Sequence[journal.Outcome]) -> dict[str, float]:
    """Return the share of runs that ended with an answer nobody could read, by predictor; none: not listed."""
    blamed = [outcome.blamed for outcome in outcomes if outcome.outcome == Outcome.UNPARSEABLE.value]
    return {name: blamed.count(name) / len(outcomes) for name in sorted(set(blamed))}


def chance_of_adoption(values: Sequence[float], n_test: int, flips: float = 0.0, level: float = 0.95) -> float | None:
    """Return the chance that flawless prompts, did they exist, would be adopted; None where that cannot be told.

    The wrong answers among the held-out examples are as uncertain as those seen let them be (beta-binomial, Jeffreys'
    prior), and so many must be mended that Tango's interval lies above zero. ``flips``: the share of examples whose
    score changes when the same prompt is asked again, which hides a gain behind changes that are none.
    """
    if not n_test or not all(value in (0, 1) for value in values):
        return None  # graded scores may all rise by a little, and be told apart all the same
    wrong, right = len(values) - sum(values), sum(values)
    needed = next((k for k in range(1, n_test + 1) if tango(k, 0, n_test, level).low > 0), n_test + 1)
    chance = 0.0
    for k in range(n_test + 1):
        seen = _beta_binomial(k, n_test, wrong + 0.5, right + 0.5)
        chance += seen * ((k >= needed) if not flips else _power(k / n_test, flips, n_test, level))
    return min(1.0, chance)


def _reason(
    event: CheckEvent,
    values: Sequence[float],
    n_test: int,
    *,
    whole: bool,
    level: float,
) -> str | None:
    """Return why there is nothing to win, None where there may be."""
    n, chance, noise = len(values), event.chance, event.noise
    if whole and all(value == 1 for value in values):
        return (
            f"Nothing to win: the program is right on all {n} validation examples, so no prompts can do better on them."
        )
    if chance is None or chance >= HOPELESS:
        return None
    strict = f" (at the {level_text(level)} that earlier looks at them ask for)" if level > _FIRST_LEVEL else ""
    right = f"the program is right on {sum(values):.0f} of {n} validation examples"
    if noise is not None and (chance_of_adoption(values, n_test, level=level) or 0.0) >= HOPELESS:
        return (
            f"Noise hides what there is to win: {right}, but the same prompts asked twice score differently on "
            f"{100 * noise['flips']:.0f} % of examples, so {n_test} held-out examples would show even flawless prompts "
            f"to be better with a chance of {100 * chance:.0f} % only. Lower the temperature, or give more examples."
        )
    return (
        f"Hardly anything to win: {right}, so {n_test} held-out examples would show even flawless prompts to be better "
        f"with a chance of {100 * chance:.0f} % only{strict}. Give more, or harder, examples."
    )


def _go_on(event: CheckEvent, n_test: int, level: float) -> str:
    shown = f"; {what_can_be_detected(n_test, level)}" if n_test else ""
    interval = f"{100 * event.low:.0f} to {100 * event.high:.0f}"
    scores = f"The original scores {100 * event.mean:.1f} % ({interval}) on {event.n} validation examples"
    return f"{scores}{shown}."


def _power(gain: float, flips: float, n: int, level: float) -> float:
    """The chance that the interval of a gain lies above zero, where as many pairs more differ by noise alone."""
    if gain == 0:
        return 0.0
    return NormalDist().cdf(gain * math.sqrt(n / (gain + flips)) - NormalDist().inv_cdf(0.5 + level / 2))


def _beta_binomial(k: int, n: int, a: float, b: float) -> float:
    def beta(x: float, y: float) -> float:
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(choose + beta(k + a, n - k + b) - beta(a, b))
