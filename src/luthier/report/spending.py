"""What each event cost, whatever form its bill has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.study.events import (
    BaselineEvent,
    BootstrapEvent,
    Event,
    GroundingEvent,
    ManifestEvent,
    Outcome,
    ProposalsEvent,
    TellEvent,
    VerdictEvent,
    every,
    first,
)


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


def outcomes_of(event: Event) -> Sequence[Outcome]:
    """Return what an event's rollouts came to, each once."""
    if isinstance(event, VerdictEvent):
        before, after = event.outcomes_before, event.outcomes_after
        # Where the original was chosen it ran once, and is listed twice.
        return (*before, *(after if after != before else ()))
    return event.outcomes if isinstance(event, BaselineEvent | TellEvent) else ()


def spending(event: Event) -> dict[str, Amounts]:
    """Return what an event's step asked of LMs, by role."""
    usage: Mapping[str, Any] = getattr(event, "usage", {})
    if any(isinstance(value, Mapping) for value in usage.values()):
        return {role: amounts(value) for role, value in usage.items() if isinstance(value, Mapping)}
    if usage:
        return {_role_of(event): amounts(usage)}
    outcomes = outcomes_of(event)
    return {"task": total(amounts(outcome.cost) for outcome in outcomes)} if outcomes else {}


def _role_of(event: Event) -> str:
    if isinstance(event, BootstrapEvent):
        return "teacher"
    return "proposer" if isinstance(event, GroundingEvent | ProposalsEvent) else "task"


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
        for role, part in spending(event).items():
            roles[role] = roles.get(role, Amounts()) + part
    return roles


def by_lm(events: Iterable[Event]) -> dict[str, Amounts]:
    """Return what all events cost, by the identity of the LM: where several answer, as their outcomes tell."""
    events = list(events)
    manifest = first(events, ManifestEvent)
    lms = {} if manifest is None else manifest.lms
    found: dict[str, Amounts] = {}
    for event in events:
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
        found |= event.predictor_lms if isinstance(event, ManifestEvent) else {}
        found |= event.own_lms if isinstance(event, BaselineEvent) else {}
    return found


def prices(events: Iterable[Event]) -> dict[str, Mapping[str, Any] | None]:
    """Return the LMs' prices by identity."""
    events = list(events)
    lms = [lm for event in every(events, ManifestEvent) for lm in event.lms.values()]
    lms += predictor_lms(events).values()
    return {str(lm.get("identity", "")): lm.get("price") for lm in lms}


def _told_by_lm(event: Event) -> list[tuple[str, Amounts]]:
    if bills := getattr(event, "usage_by_lm", None):
        return [(lm, amounts(bill)) for lm, bill in bills.items()]
    return [(lm, amounts(bill)) for outcome in outcomes_of(event) for lm, bill in outcome.lms.items()]


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
