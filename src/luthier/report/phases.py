"""The plan against what happened, phase by phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.report.figures import moment
from luthier.report.spending import Amounts, spending, total
from luthier.report.summary import outcome_count, plan_of
from luthier.study.events import AskEvent, Event, StartsEvent, TellEvent

_OF_EVENT = {
    "plan": "plan",
    "split": "plan",
    "plan_measured": "plan",
    "baseline": "baseline",
    "check": "baseline",
    "anyway": "baseline",
    "bootstrap": "bootstrap",
    "grounding": "propose",
    "proposals": "propose",
    "lessons": "search",
    "space": "search",
    "arrival": "propose",
    "loop_end": "search",
    "choice": "closing",
    "verdict": "verdict",
    "insight": "insight",
    "done": "insight",
}
_OTHER_NAMES = {
    "proposals": "propose",
    "proposal": "propose",
    "proposing": "propose",
    "grounding": "propose",
    "instructions": "propose",
    "bootstrapping": "bootstrap",
    "demos": "bootstrap",
    "loop": "search",
    "trials": "search",
    "full": "closing",
    "full evaluations": "closing",
    "choose": "closing",
    "test": "verdict",
    "insights": "insight",
}


@dataclass(frozen=True, slots=True)
class Actual:
    """What a phase really took."""

    rollouts: int = 0
    amounts: Amounts = field(default_factory=Amounts)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """One phase: planned (None where it was not) and actual (None where it has not begun)."""

    name: str
    planned: Mapping[str, Any] | None
    actual: Actual | None


def phase_rows(events: Sequence[Event]) -> tuple[PhaseRow, ...]:
    """Return the phases in the plan's order, then those it did not name."""
    plan = plan_of(events)
    actual = actuals(events)
    rows, seen = [], {"plan"}
    for phase in () if plan is None else plan.phases:
        name = str(phase.get("name", ""))
        key = _key(name)
        rows.append(PhaseRow(name, phase, actual.get(key) if key not in seen else None))
        seen.add(key)
    rows += [PhaseRow(name, None, found) for name, found in actual.items() if name not in seen]
    return tuple(rows)


def actuals(events: Sequence[Event]) -> dict[str, Actual]:
    """Return what each phase took, from the times and bills of its events."""
    found: dict[str, Actual] = {}
    asks: dict[int, AskEvent] = {}
    before = None
    for event in events:
        if isinstance(event, AskEvent):
            asks[event.trial] = event
        name = _phase_of(event, asks)
        now = moment(event)
        seconds = (now - before).total_seconds() if now is not None and before is not None else 0.0
        before = now if now is not None else before
        if name is None:
            continue
        old = found.get(name, Actual())
        spent = total(spending(event).values())
        found[name] = Actual(old.rollouts + outcome_count(event), old.amounts + spent, old.seconds + seconds)
    return found


def _phase_of(event: Event, asks: Mapping[int, AskEvent]) -> str | None:
    if isinstance(event, AskEvent | TellEvent):
        ask = asks.get(event.trial)
        if ask is not None and ask.part == StartsEvent.kind:
            return "starts"
        return "closing" if ask is not None and ask.purpose == "full" else "search"
    return _OF_EVENT.get(event.kind)


def _key(name: str) -> str:
    plain = name.strip().lower()
    known = set(_OF_EVENT.values())
    if plain in known:
        return plain
    if plain in _OTHER_NAMES:
        return _OTHER_NAMES[plain]
    # A plan may say "closing full evaluations": the first word that names a phase decides.
    words = plain.replace("-", " ").split()
    return next((_OTHER_NAMES.get(word, word) for word in words if word in known or word in _OTHER_NAMES), plain)
