"""A study as a short list of steps, each with what it came to: for the live display, plain lines, and ``show``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.report.figures import count, dollars, duration, percent, plural
from luthier.report.spending import Amounts
from luthier.report.summary import Summary, bootstrapped, warnings_of
from luthier.study.events import (
    BaselineEvent,
    BootstrapEvent,
    CheckEvent,
    ChoiceEvent,
    Event,
    LoopEndEvent,
    MeasuredPlanEvent,
    ProposalsEvent,
    RefusedEvent,
    SpaceEvent,
    TellEvent,
    VerdictEvent,
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the main line."""

    name: str
    state: Literal["done", "now", "todo"]
    text: str = ""


_LINE: Mapping[str, type[Event]] = {
    "original": BaselineEvent,
    "demos": BootstrapEvent,
    "instructions": ProposalsEvent,
    "search": LoopEndEvent,
    "choice": ChoiceEvent,
    "verdict": VerdictEvent,
}
_OPTIONAL = (BootstrapEvent, ProposalsEvent)


def steps(events: Sequence[Event], state: Summary) -> list[Step]:
    """Return the steps of a study, done, going on, and to come."""
    seen = {type(event): event for event in reversed(events)}
    if (demos := bootstrapped(events)) is not None:
        seen[BootstrapEvent] = demos
    listed: list[Step] = []
    going = state.finished
    for name, event in _LINE.items():
        if event in seen:
            listed.append(Step(name, "done", _result(seen[event], state)))
        elif event in _OPTIONAL and SpaceEvent in seen:
            continue  # this optimizer has no such step
        elif going:
            listed.append(Step(name, "todo"))
        else:
            going = True
            listed.append(Step(name, "now", _search(state) if name == "search" and state.trials else ""))
    return listed


def line(event: Event, state: Summary, purposes: Mapping[int, str], paid: Amounts | None = None) -> str | None:
    """Return one line about an event, None where it is not worth one; ``paid`` as for ``spent``."""
    if isinstance(event, TellEvent):
        what = "full evaluation" if purposes.get(event.trial) == "full" else "minibatch"
        best = f", best so far {percent(state.best)}" if state.best is not None else ""
        return f"trial {_trials(state)}: {what} {percent(event.mean)}{best}; {spent(state, paid)}"
    if isinstance(event, MeasuredPlanEvent):
        return f"the plan, now measured: {_whole(event.total)} at most"
    warnings = [f"! {text}" for text in warnings_of(event)]
    if isinstance(event, RefusedEvent) or (isinstance(event, CheckEvent) and warnings):
        return "\n".join(warnings)
    for name, of in _LINE.items():
        if isinstance(event, of) and of is not VerdictEvent:  # the verdict has the last word, and is said there
            return "\n".join([f"{name}: {_result(event, state)}", *warnings])
    return None


def spent(state: Summary, paid: Amounts | None = None) -> str:
    """Return what was used of the budget.

    Args:
        state: where the study stands.
        paid: what was charged; None where only what was asked for is known, stored answers included.
    """
    limits, used = (state.budget, paid) if paid is not None else ({}, state.spent)
    parts = [_of(count(used.calls), count(limits["lm_calls"]) if "lm_calls" in limits else None) + " LM calls"]
    if used.tokens or "tokens" in limits:  # a callable LM may send no bill
        limit = count(limits["tokens"]) if "tokens" in limits else None
        parts.append(_of(count(used.tokens), limit) + " tokens")
    parts[-1] += " asked for" if paid is None else " paid"
    usd, most = (used.usd, "") if used.usd else (state.spent.usd, "at most ")  # what is stored is not paid again
    if usd:
        parts.append(most + _of(dollars(usd), dollars(state.budget["usd"]) if "usd" in state.budget else None))
    if "seconds" in limits and state.seconds is not None:
        parts.append(_of(duration(state.seconds), duration(limits["seconds"])))
    return ", ".join(parts)


def _result(event: Event, state: Summary) -> str:
    match event:
        case BaselineEvent():
            return f"{percent(event.mean)} on {plural(len(event.outcomes), 'validation example')}"
        case BootstrapEvent():
            passed, runs = sum(event.passes.values()), sum(event.attempts.values())
            return f"{count(passed)} of {plural(runs, 'run')} passed, {plural(len(event.sets), 'set')}"
        case ProposalsEvent():
            made, rejected = sum(map(len, event.predictors.values())), sum(event.rejected.values())
            return f"{made} proposed" + (f", {rejected} rejected" if rejected else "")
        case LoopEndEvent():
            ended = " (the budget ended it)" if event.reason == "budget" else ""
            return f"{plural(state.trials, 'trial')}{ended}, best about {percent(state.best)} on validation examples"
        case ChoiceEvent():
            leaked = event.leaked_cells
            luck = f"; {plural(leaked, 'score')} of examples among the candidate's own demos" if leaked else ""
            return ("the original stays" if event.is_original else f"a candidate with {percent(event.mean)}") + luck
        case VerdictEvent():
            return event.sentence or event.decision
    return ""


def _whole(total: Mapping[str, Any]) -> str:
    known = (
        (total.get("calls"), lambda n: f"{count(n)} LM calls"),
        (total.get("tokens"), lambda n: f"{count(n)} tokens"),
        (total.get("usd"), dollars),
        (total.get("seconds"), lambda n: f"about {duration(n)}"),
    )
    return ", ".join(shown(amount) for amount, shown in known if amount is not None)


def _search(state: Summary) -> str:
    best = f", best so far {percent(state.best)}" if state.best is not None else ""
    return f"trial {_trials(state)}{best}"


def _trials(state: Summary) -> str:
    planned = state.trials_planned
    return count(state.trials) if planned is None else f"{count(state.trials)}/{count(max(planned, state.trials))}"


def _of(used: str, limit: str | None) -> str:
    return used if limit is None else f"{used} of {limit}"
