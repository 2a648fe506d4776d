"""A study as a short list of steps, each with what it came to: for the live display, plain lines, and ``show``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.report.figures import count, dollars, duration, percent, plural
from luthier.report.spending import Amounts, kind_of
from luthier.report.summary import BOOTSTRAP, Summary, bootstrapped, trial_number

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the main line."""

    name: str
    state: Literal["done", "now", "todo"]
    text: str = ""


_LINE = (
    ("original", "baseline"),
    ("demos", BOOTSTRAP),
    ("instructions", "proposals"),
    ("search", "loop_end"),
    ("choice", "choice"),
    ("verdict", "verdict"),
)
_OPTIONAL = (BOOTSTRAP, "proposals")


def steps(events: Sequence[Event], state: Summary) -> list[Step]:
    """Return the steps of a study, done, going on, and to come."""
    seen = {event["event"]: event for event in reversed(events)}
    if (demos := bootstrapped(events)) is not None:
        seen[BOOTSTRAP] = demos
    listed: list[Step] = []
    going = state.finished
    for name, event in _LINE:
        if event in seen:
            listed.append(Step(name, "done", _result(name, seen[event], state)))
        elif event in _OPTIONAL and "space" in seen:
            continue  # this optimizer has no such step
        elif going:
            listed.append(Step(name, "todo"))
        else:
            going = True
            listed.append(Step(name, "now", _search(state) if name == "search" and state.trials else ""))
    return listed


def line(event: Event, state: Summary, purposes: Mapping[int, str], paid: Amounts | None = None) -> str | None:
    """Return one line about an event, None where it is not worth one; ``paid`` as for ``spent``."""
    kind = event["event"]
    if kind == "tell":
        what = "full evaluation" if purposes.get(trial_number(event)) == "full" else "minibatch"
        mean = event.get("mean")
        best = f", best so far {percent(state.best)}" if state.best is not None else ""
        return f"trial {_trials(state)}: {what} {percent(mean)}{best}; {spent(state, paid)}"
    if kind == "refused":
        return "\n".join(f"! {text}" for text in event.get("warnings", ()))
    if kind == "plan_measured":
        return f"the plan, now measured: {_whole(event.get('total') or {})} at most"
    if kind == "check" and event.get("warnings"):
        return "\n".join(f"! {text}" for text in event["warnings"])
    for name, of in _LINE[:-1]:  # the verdict has the last word, and is said there
        if of == kind_of(event):
            warnings = [f"! {text}" for text in event.get("warnings", ())]
            return "\n".join([f"{name}: {_result(name, event, state)}", *warnings])
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


def _result(name: str, event: Event, state: Summary) -> str:
    if name == "original":
        return f"{percent(event.get('mean'))} on {plural(len(event.get('outcomes', ())), 'validation example')}"
    if name == "demos":
        passed, runs = sum(event.get("passes", {}).values()), sum(event.get("attempts", {}).values())
        return f"{count(passed)} of {plural(runs, 'run')} passed, {plural(len(event.get('sets', ())), 'set')}"
    if name == "instructions":
        made = sum(len(texts) for texts in event.get("predictors", {}).values())
        rejected = sum(event.get("rejected", {}).values())
        return f"{made} proposed" + (f", {rejected} rejected" if rejected else "")
    if name == "search":
        ended = " (the budget ended it)" if event.get("reason") == "budget" else ""
        return f"{plural(state.trials, 'trial')}{ended}, best about {percent(state.best)} on validation examples"
    if name == "choice":
        original = event.get("is_original", any(r.get("is_original") for r in event.get("table", ())[:1]))
        leaked = event.get("leaked_cells")
        luck = f"; {plural(leaked, 'score')} of examples among the candidate's own demos" if leaked else ""
        return ("the original stays" if original else f"a candidate with {percent(event.get('mean'))}") + luck
    return str(event.get("sentence") or event.get("decision") or "")


def _whole(total: Event) -> str:
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
