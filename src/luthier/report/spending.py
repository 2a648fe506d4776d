"""What each event cost, whatever form its bill has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Event = Mapping[str, Any]

_ROLE_OF = {"bootstrap": "teacher", "grounding": "proposer", "proposals": "proposer"}


@dataclass(frozen=True, slots=True)
class Amounts:
    """Calls and tokens."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    usd: float | None = None

    def __add__(self, other: Amounts) -> Amounts:
        known = [amount for amount in (self.usd, other.usd) if amount is not None]
        return Amounts(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            sum(known) if known else None,
        )

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


def kind_of(event: Event) -> str:
    """Return what an event is: ``bootstrap/0.7`` is one of several bootstraps."""
    return str(event.get("event")).partition("/")[0]


def outcomes_of(event: Event) -> list[Event]:
    """Return what became of an event's rollouts, each once."""
    before, after = event.get("outcomes_before", ()), event.get("outcomes_after", ())
    # Where the original was chosen it ran once, and is listed twice.
    return [*event.get("outcomes", ()), *before, *(after if after != before else ())]


def spending(event: Event) -> dict[str, Amounts]:
    """Return what an event's step asked of LMs, by role."""
    usage = event.get("usage")
    if isinstance(usage, Mapping) and usage:
        if any(isinstance(value, Mapping) for value in usage.values()):
            return {str(role): amounts(value) for role, value in usage.items() if isinstance(value, Mapping)}
        return {_ROLE_OF.get(kind_of(event), "task"): amounts(usage)}
    outcomes = outcomes_of(event)
    if not outcomes:
        return {}
    return {"task": total(amounts(outcome.get("cost", {})) for outcome in outcomes)}


def amounts(usage: Mapping[str, Any]) -> Amounts:
    """Read a bill; what it does not name is nothing."""
    calls = usage.get("lm_calls", usage.get("calls", 0))
    prompt = usage.get("prompt_tokens", usage.get("tokens", 0))
    usd = usage.get("usd")
    return Amounts(
        int(calls or 0),
        int(prompt or 0),
        int(usage.get("completion_tokens") or 0),
        int(usage.get("cached_tokens") or 0),
        None if usd is None else float(usd),
    )


def total(parts: Iterable[Amounts]) -> Amounts:
    """Return the sum of amounts."""
    whole = Amounts()
    for part in parts:
        whole = whole + part
    return whole


def by_role(events: Iterable[Event]) -> dict[str, Amounts]:
    """Return what all events cost, by role."""
    roles: dict[str, Amounts] = {}
    for event in events:
        # The last event repeats the whole study's bill.
        if event.get("event") == "done":
            continue
        for role, part in spending(event).items():
            roles[role] = roles.get(role, Amounts()) + part
    return roles


def by_lm(events: Iterable[Event]) -> dict[str, Amounts]:
    """Return what all events cost, by the identity of the LM: where several answer, as their outcomes tell."""
    events = list(events)
    lms = next((event.get("lms") or {} for event in events if event["event"] == "manifest"), {})
    found: dict[str, Amounts] = {}
    for event in events:
        if event.get("event") == "done":
            continue
        for identity, part in _told_by_lm(event) or [
            (str((lms.get(role) or lms.get("task") or {}).get("identity", "")), part)
            for role, part in spending(event).items()
        ]:
            found[identity] = found.get(identity, Amounts()) + part
    return found


def predictor_lms(events: Iterable[Event]) -> dict[str, Mapping[str, Any]]:
    """Return which LM answers which predictor, where several do; those of own calls were met in the baseline."""
    found: dict[str, Mapping[str, Any]] = {}
    for event in events:
        found |= event.get("predictor_lms") or {} if event["event"] == "manifest" else event.get("own_lms") or {}
    return found


def prices(events: Iterable[Event]) -> dict[str, Mapping[str, Any] | None]:
    """Return the LMs' prices by identity."""
    events = list(events)
    manifest = next((event for event in events if event["event"] == "manifest"), {})
    lms = [*(manifest.get("lms") or {}).values(), *predictor_lms(events).values()]
    return {str(lm.get("identity", "")): lm.get("price") for lm in lms}


def _told_by_lm(event: Event) -> list[tuple[str, Amounts]]:
    if event.get("usage_by_lm"):
        return [(lm, amounts(bill)) for lm, bill in event["usage_by_lm"].items()]
    return [(lm, amounts(bill)) for outcome in outcomes_of(event) for lm, bill in (outcome.get("lms") or {}).items()]


def dollars_for(part: Amounts, price: Mapping[str, Any] | None) -> float | None:
    """Return the price of an amount, None where no price is known."""
    if part.usd is not None:
        return part.usd
    if not price:
        return None
    fresh = price.get("input", 0.0) or 0.0
    cached = price.get("cached_input")
    output = price.get("output", 0.0) or 0.0
    kept = part.cached_tokens if cached is not None else 0
    return ((part.prompt_tokens - kept) * fresh + kept * (cached or 0.0) + part.completion_tokens * output) / 1e6
