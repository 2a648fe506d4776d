"""Where a study stands, in a dozen values; the command line and the report both read these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.report.badly import sum_badly
from luthier.report.figures import moment
from luthier.report.shrink import Tally, best_shrunken
from luthier.report.spending import Amounts, Event, by_lm, dollars_for, kind_of, outcomes_of, prices, total

ORIGINAL = "original"
"""Key under which the original's outcomes are tallied."""
BOOTSTRAP = "bootstrap"
"""Demos were collected from runs of the teacher."""

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
    verdict: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    badly: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Answers that came, but not as they should, by predictor and kind."""

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON."""
        verdict = None
        if self.verdict is not None:
            skip = {"v", "seq", "event", "time", "outcomes_before", "outcomes_after"}
            verdict = {name: value for name, value in self.verdict.items() if name not in skip}
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
    manifest = first(events, "manifest") or {}
    verdict = first(events, "verdict")
    done, stopped = first(events, "done"), is_stopped(events)
    plan = first(events, "plan_measured") or first(events, "plan") or {}
    optimizer = manifest.get("optimizer") or {}
    whole = plan.get("total") or {}
    return Summary(
        program=str(manifest.get("program", "")),
        optimizer=str(optimizer.get("name", "")),
        phase="done" if stopped else phase(events),
        finished=done is not None or stopped,
        decision=stopped_decision(events[-1]) if stopped else _decision(verdict, done),
        sentence=str((events[-1] if stopped else verdict or {}).get("sentence", "")),
        baseline=(first(events, "baseline") or {}).get("mean"),
        best=best_shrunken(tallies(events)),
        trials=sum(event["event"] == "tell" for event in events),
        trials_planned=_trials_planned(events, plan, optimizer),
        rollouts=sum(outcome_count(event) for event in events),
        rollouts_planned=_whole(whole.get("rollouts")),
        spent=_spent(events),
        budget={name: limit for name, limit in (manifest.get("budget") or {}).items() if limit is not None},
        seconds=elapsed(events),
        seconds_planned=whole.get("seconds"),
        verdict=verdict,
        warnings=_warnings(events),
        badly=badly(events),
    )


def unfolded(events: Iterable[Event]) -> list[Event]:
    """Return the events with the trials of ``starts`` and ``closing`` steps as asks and tells, like all others.

    And with the space as it became: with all levels that arrived while the search ran.
    """
    events = list(events)
    arrived = [event for event in events if event["event"] == "arrival"]
    flat: list[Event] = []
    for event in events:
        if event["event"] == "space" and arrived:
            flat.append(_grown(event, arrived))
            continue
        if event["event"] not in ("starts", "closing"):
            flat.append(event)
            continue
        for trial in event.get("trials", ()):
            number, point, outcomes = trial.get("number", 0), trial.get("point", {}), trial.get("outcomes", ())
            told = {"trial": number, "time": event.get("time", "")}
            asked = {"event": "ask", "point": point, "examples": [], "purpose": "full", "of": event["event"]}
            flat.append({**told, **asked})
            flat.append({**told, "event": "tell", "outcomes": outcomes})
    return flat


def _grown(space: Event, arrived: Iterable[Event]) -> Event:
    payloads = {name: dict(levels) for name, levels in space["payloads"].items()}
    levels = {variable["name"]: list(variable["levels"]) for variable in space["variables"]}
    for event in arrived:
        for name, new in event["levels"].items():
            levels[name] += [level for level in new if level not in levels[name]]
            payloads[name].update(event["payloads"].get(name, {}))
    variables = [{**variable, "levels": levels[variable["name"]]} for variable in space["variables"]]
    return {**space, "variables": variables, "payloads": payloads}


def first(events: Iterable[Event], name: str) -> Event | None:
    """Return the first event of that name."""
    return next((event for event in events if event["event"] == name), None)


def bootstrapped(events: Iterable[Event]) -> Event | None:
    """Return what all bootstraps of a study came to together, one for each teacher; None where there was none."""
    every = [event for event in events if kind_of(event) == BOOTSTRAP]
    if not every:
        return None
    return {
        "event": BOOTSTRAP,
        "passes": _added(event.get("passes") or {} for event in every),
        "attempts": _added(event.get("attempts") or {} for event in every),
        "sets": [made for event in every for made in event.get("sets", ())],
    }


def is_stopped(events: Sequence[Event]) -> bool:
    """Whether the study ended with its check: there was nothing to win, or no way to."""
    return bool(events) and events[-1]["event"] == "check" and bool(events[-1].get("stop"))


def stopped_decision(check: Event) -> str:
    """Return the decision of a study that ended with its check."""
    return "unmeetable" if check.get("unmeetable") else "keep"


def phase(events: Sequence[Event]) -> str:
    """Return what the study is doing now, judged by the last event that says so."""
    known = (_PHASE_AFTER[kind_of(event)] for event in reversed(events) if kind_of(event) in _PHASE_AFTER)
    return next(known, "starting")


def tallies(events: Iterable[Event]) -> dict[str, Tally]:
    """Return every point's values so far, summed; the baseline counts as the original's."""
    sums: dict[str, Tally] = {}
    points: dict[int, str] = {}
    original: str | None = None
    for event in events:
        if event["event"] == "space":
            original = point_key({v["name"]: v["levels"][0] for v in event["variables"]})
        elif event["event"] == "ask":
            points[trial_number(event)] = point_key(event["point"])
        elif event["event"] in ("baseline", "tell"):
            key = ORIGINAL if event["event"] == "baseline" else points.get(trial_number(event), "")
            key = ORIGINAL if key == original else key
            sums[key] = sums.get(key, Tally()).plus(values(event))
    return sums


def point_key(point: Mapping[str, str]) -> str:
    """Return a text that equal points share."""
    return "\n".join(f"{name}={level}" for name, level in sorted(point.items()))


def trial_number(event: Event) -> int:
    """Return the trial that an ask or a tell is about."""
    return int(event.get("trial", event.get("number", 0)))


def values(event: Event) -> list[float]:
    """Return the values of an event's scored outcomes."""
    return [outcome["value"] for outcome in event.get("outcomes", ()) if outcome.get("value") is not None]


def outcome_count(event: Event) -> int:
    """Return how many rollouts an event reports."""
    attempts = event.get("attempts")
    if kind_of(event) == BOOTSTRAP and isinstance(attempts, Mapping):
        return int(sum(attempts.values()))
    return int(event.get("rollouts", 0)) if event["event"] == "insight" else len(outcomes_of(event))


def badly(events: Iterable[Event]) -> dict[str, dict[str, int]]:
    """Count answers that came, but not as they should, by predictor and kind."""
    counts = []
    for event in events:
        counts += [event.get("badly") or {}, *(outcome.get("badly") or {} for outcome in outcomes_of(event))]
    return sum_badly(counts)


def elapsed(events: Sequence[Event]) -> float | None:
    """Return the seconds between the first and the last event."""
    moments = [when for when in (moment(event) for event in events) if when is not None]
    return (moments[-1] - moments[0]).total_seconds() if moments else None


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    whole: Counter[str] = Counter()
    for each in counts:
        whole.update(each)
    return dict(whole)


def _decision(verdict: Event | None, done: Event | None) -> str | None:
    for event in (done, verdict):
        if event is not None and event.get("decision") is not None:
            return str(event["decision"])
    return None


def _spent(events: Sequence[Event]) -> Amounts:
    bills, known = by_lm(events), prices(events)
    whole = total(bills.values())
    paid = [dollars_for(part, known.get(identity)) for identity, part in bills.items()]
    usd = None if not paid or any(price is None for price in paid) else sum(price or 0.0 for price in paid)
    return Amounts(whole.calls, whole.prompt_tokens, whole.completion_tokens, whole.cached_tokens, usd)


def _trials_planned(events: Sequence[Event], plan: Event, optimizer: Mapping[str, Any]) -> int | None:
    settings = optimizer.get("settings")
    settings = settings if isinstance(settings, Mapping) else {}
    if (planned_trials := plan.get("trials")) is not None:
        return int(planned_trials)
    trials = settings.get("trials")
    if trials is not None:
        return int(trials) + int(settings.get("closing") or 0)
    # A plan counts program runs; the first ask tells how many make a trial.
    explored = (len(event["examples"]) for event in events if event["event"] == "ask" and event["purpose"] == "explore")
    minibatch, scoring = next(explored, 0), len((first(events, "baseline") or {}).get("outcomes", ()))
    planned = {str(phase.get("name")): int(phase.get("rollouts") or 0) for phase in plan.get("phases", ())}
    if not minibatch or not scoring or "search" not in planned:
        return None
    return planned["search"] // minibatch + planned.get("full evaluations", 0) // scoring


def _warnings(events: Iterable[Event]) -> tuple[str, ...]:
    found: list[str] = []
    for event in events:
        texts = event.get("warnings", ()) if event["event"] != "warning" else (event.get("message", ""),)
        found += [str(text) for text in texts]
    return tuple(dict.fromkeys(found))


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
