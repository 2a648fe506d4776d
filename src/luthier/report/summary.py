"""Where a study stands, in a dozen values; the command line and the report both read these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.report.answer_problems_text import sum_problems
from luthier.report.figures import moment
from luthier.report.shrink import Tally, best_shrunken
from luthier.report.spending import Amounts, by_lm, dollars_for, outcomes_of, prices, total
from luthier.study.events import (
    ArrivalEvent,
    AskEvent,
    BaselineEvent,
    BootstrapEvent,
    CheckEvent,
    ClosingEvent,
    DoneEvent,
    Event,
    InsightEvent,
    ManifestEvent,
    MeasuredPlanEvent,
    Outcome,
    PlanEvent,
    SpaceEvent,
    StartsEvent,
    TellEvent,
    VerdictEvent,
    WarningEvent,
    every,
    first,
    to_json,
)

ORIGINAL = "original"
"""Key under which the original's outcomes are tallied."""

_PHASE_AFTER = {
    "manifest": "planning",
    "plan": "measuring the original",
    "split": "measuring the original",
    "baseline": "collecting demos",
    "check": "collecting demos",
    "anyway": "collecting demos",
    "plan_measured": "collecting demos",
    "bootstrap": "reading the data and the program",
    "grounding": "proposing instructions",
    "proposals": "searching",
    "lessons": "learning from failures",
    "space": "searching",
    "starts": "searching",
    "arrival": "searching",
    "ask": "searching",
    "tell": "searching",
    "loop_end": "choosing",
    "choice": "checking on held-out examples",
    "verdict": "weighing each change",
    "insight": "finishing",
    "done": "done",
}


@dataclass(frozen=True, slots=True)
class Summary:
    """A study at a glance."""

    program: str = ""
    optimizer: str = ""
    phase: str = "starting"
    finished: bool = False
    decision: str | None = None
    sentence: str = ""
    baseline: float | None = None
    best: float | None = None
    """Best so far, shrunken; on validation examples."""
    trials: int = 0
    trials_planned: int | None = None
    rollouts: int = 0
    rollouts_planned: int | None = None
    spent: Amounts = field(default_factory=Amounts)
    budget: Mapping[str, float] = field(default_factory=dict)
    """Only the limits that are set."""
    seconds: float | None = None
    seconds_planned: float | None = None
    verdict: VerdictEvent | None = None
    warnings: tuple[str, ...] = ()
    badly: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Answers that came, but not as they should, by predictor and kind."""

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON."""
        verdict = None
        if self.verdict is not None:
            skip = {"v", "seq", "event", "time", "outcomes_before", "outcomes_after"}
            verdict = {name: value for name, value in to_json(self.verdict).items() if name not in skip}
        return {
            "program": self.program,
            "optimizer": self.optimizer,
            "phase": self.phase,
            "finished": self.finished,
            "decision": self.decision,
            "baseline": self.baseline,
            "best_so_far": self.best,
            "trials": self.trials,
            "trials_planned": self.trials_planned,
            "rollouts": self.rollouts,
            "spent": {"lm_calls": self.spent.calls, "tokens": self.spent.tokens, "usd": self.spent.usd},
            "budget": dict(self.budget),
            "seconds": self.seconds,
            "verdict": verdict,
            "warnings": list(self.warnings),
            "badly": self.badly,
        }


def summary(events: Sequence[Event]) -> Summary:
    """Return where the study that wrote these events stands; no events is a study that starts."""
    events = unfolded(events)
    manifest, baseline, plan = first(events, ManifestEvent), first(events, BaselineEvent), plan_of(events)
    verdict, done, stop = first(events, VerdictEvent), first(events, DoneEvent), stopped_by(events)
    optimizer = {} if manifest is None else manifest.optimizer
    whole = {} if plan is None else plan.total
    last = stop or verdict
    return Summary(
        program="" if manifest is None else manifest.program,
        optimizer=str(optimizer.get("name", "")),
        phase="done" if stop else phase(events),
        finished=done is not None or stop is not None,
        decision=stopped_decision(stop) if stop else _decision(verdict, done),
        sentence="" if last is None else last.sentence,
        baseline=None if baseline is None else baseline.mean,
        best=best_shrunken(tallies(events)),
        trials=len(every(events, TellEvent)),
        trials_planned=_trials_planned(events, plan, optimizer),
        rollouts=sum(outcome_count(event) for event in events),
        rollouts_planned=_whole(whole.get("rollouts")),
        spent=_spent(events),
        budget={} if manifest is None else limits(manifest),
        seconds=elapsed(events),
        seconds_planned=whole.get("seconds"),
        verdict=verdict,
        warnings=_warnings(events),
        badly=answer_problems(events),
    )


def unfolded(events: Iterable[Event]) -> list[Event]:
    """Return the events with the trials of ``starts`` and ``closing`` steps as asks and tells, like all others.

    And with the space as it became: with all levels that arrived while the search ran.
    """
    events = list(events)
    arrived = every(events, ArrivalEvent)
    flat: list[Event] = []
    for event in events:
        if isinstance(event, SpaceEvent) and arrived:
            flat.append(_grown(event, arrived))
        elif isinstance(event, StartsEvent | ClosingEvent):
            flat += _trials_of(event)
        else:
            flat.append(event)
    return flat


def _trials_of(event: StartsEvent | ClosingEvent) -> Iterator[Event]:
    for one in event.trials:
        number, time = one.number, event.time
        yield AskEvent(trial=number, point=one.point, examples=(), purpose="full", part=event.kind, time=time)
        yield TellEvent(trial=number, mean=_mean(one.outcomes), outcomes=one.outcomes, usage={}, time=time)


def _grown(space: SpaceEvent, arrived: Iterable[ArrivalEvent]) -> SpaceEvent:
    payloads = {name: dict(levels) for name, levels in space.payloads.items()}
    levels = {variable["name"]: list(variable["levels"]) for variable in space.variables}
    for event in arrived:
        for name, new in event.levels.items():
            levels[name] += [level for level in new if level not in levels[name]]
            payloads[name].update(event.payloads.get(name, {}))
    variables = [{**variable, "levels": levels[variable["name"]]} for variable in space.variables]
    return replace(space, variables=variables, payloads=payloads)


def plan_of(events: Iterable[Event]) -> PlanEvent | None:
    """Return the plan, the measured one where there is one."""
    plans = every(events, PlanEvent)
    return first(plans, MeasuredPlanEvent) or first(plans, PlanEvent)


def limits(manifest: ManifestEvent) -> dict[str, float]:
    """Return the limits of a study's budget that are set."""
    return {name: limit for name, limit in (manifest.budget or {}).items() if limit is not None}


def bootstrapped(events: Iterable[Event]) -> BootstrapEvent | None:
    """Return what all bootstraps of a study came to together, one for each teacher; None where there was none."""
    made = every(events, BootstrapEvent)
    if not made:
        return None
    return replace(
        made[0],
        passes=_added(event.passes for event in made),
        attempts=_added(event.attempts for event in made),
        sets=[one for event in made for one in event.sets],
    )


def stopped_by(events: Sequence[Event]) -> CheckEvent | None:
    """Return the check that the study ended with, there being nothing to win, or no way to; None where it did not."""
    last = events[-1] if events else None
    return last if isinstance(last, CheckEvent) and last.stop else None


def stopped_decision(check: CheckEvent) -> str:
    """Return the decision of a study that ended with its check."""
    return "unmeetable" if check.unmeetable else "keep"


def phase(events: Sequence[Event]) -> str:
    """Return what the study is doing now, judged by the last event that says so."""
    return next((_PHASE_AFTER[event.kind] for event in reversed(events) if event.kind in _PHASE_AFTER), "starting")


def tallies(events: Iterable[Event]) -> dict[str, Tally]:
    """Return every point's values so far, summed; the baseline counts as the original's."""
    sums: dict[str, Tally] = {}
    points: dict[int, str] = {}
    original: str | None = None
    for event in events:
        if isinstance(event, SpaceEvent):
            original = original_key(event)
        elif isinstance(event, AskEvent):
            points[event.trial] = point_key(event.point)
        elif isinstance(event, BaselineEvent | TellEvent):
            key = ORIGINAL if isinstance(event, BaselineEvent) else points.get(event.trial, "")
            key = ORIGINAL if key == original else key
            sums[key] = sums.get(key, Tally()).plus(values(event))
    return sums


def original_key(space: SpaceEvent) -> str:
    """Return the key of the point that is the original."""
    return point_key({variable["name"]: variable["levels"][0] for variable in space.variables})


def point_key(point: Mapping[str, str]) -> str:
    """Return a text that equal points share."""
    return "\n".join(f"{name}={level}" for name, level in sorted(point.items()))


def values(event: BaselineEvent | TellEvent) -> list[float]:
    """Return the values of an event's scored outcomes."""
    return [outcome.value for outcome in event.outcomes if outcome.value is not None]


def outcome_count(event: Event) -> int:
    """Return how many rollouts an event reports."""
    if isinstance(event, BootstrapEvent):
        return sum(event.attempts.values())
    return event.rollouts or 0 if isinstance(event, InsightEvent) else len(outcomes_of(event))


def answer_problems(events: Iterable[Event]) -> dict[str, dict[str, int]]:
    """Count answers that came, but not as they should, by predictor and kind."""
    counts: list[Mapping[str, Mapping[str, int]]] = []
    for event in events:
        counts += [event.badly] if isinstance(event, BootstrapEvent) else []
        counts += [outcome.badly for outcome in outcomes_of(event)]
    return sum_problems(counts)


def warnings_of(event: Event) -> Sequence[str]:
    """Return the warnings that an event carries, whichever event it is."""
    if isinstance(event, WarningEvent):
        return [event.message]
    return getattr(event, "warnings", None) or event.unknown.get("warnings") or ()


def elapsed(events: Sequence[Event]) -> float | None:
    """Return the seconds between the first and the last event."""
    moments = [when for when in (moment(event) for event in events) if when is not None]
    return (moments[-1] - moments[0]).total_seconds() if moments else None


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    whole: Counter[str] = Counter()
    for each in counts:
        whole.update(each)
    return dict(whole)


def _mean(outcomes: Sequence[Outcome]) -> float:
    scores = [outcome.value for outcome in outcomes if outcome.value is not None]
    return sum(scores) / len(scores) if scores else 0.0


def _decision(verdict: VerdictEvent | None, done: DoneEvent | None) -> str | None:
    last = done or verdict
    return None if last is None else last.decision


def _spent(events: Sequence[Event]) -> Amounts:
    bills, known = by_lm(events), prices(events)
    whole = total(bills.values())
    paid = [dollars_for(part, known.get(identity)) for identity, part in bills.items()]
    usd = None if not paid or any(price is None for price in paid) else sum(price or 0.0 for price in paid)
    return Amounts(whole.calls, whole.prompt_tokens, whole.completion_tokens, whole.cached_tokens, usd)


def _trials_planned(events: Sequence[Event], plan: PlanEvent | None, optimizer: Mapping[str, Any]) -> int | None:
    if plan is not None and plan.trials is not None:
        return plan.trials
    settings = optimizer.get("settings")
    settings = settings if isinstance(settings, Mapping) else {}
    trials = settings.get("trials")
    if trials is not None:
        return int(trials) + int(settings.get("closing") or 0)
    # A plan counts program runs; the first ask tells how many make a trial.
    explored = (len(event.examples) for event in every(events, AskEvent) if event.purpose == "explore")
    baseline = first(events, BaselineEvent)
    minibatch, scoring = next(explored, 0), 0 if baseline is None else len(baseline.outcomes)
    phases = () if plan is None else plan.phases
    planned = {str(phase.get("name")): int(phase.get("rollouts") or 0) for phase in phases}
    if not minibatch or not scoring or "search" not in planned:
        return None
    return planned["search"] // minibatch + planned.get("full evaluations", 0) // scoring


def _warnings(events: Iterable[Event]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(text) for event in events for text in warnings_of(event)))


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
