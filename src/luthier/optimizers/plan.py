"""What a study will do and cost: shown before the first paid call, and again after the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.budget import Budget
from luthier.evaluation.stats import smallest_detectable
from luthier.lm.lm import LM, Price
from luthier.optimizers.optimizer import Facts, SearchPlan

CHARACTERS_PER_TOKEN = 4.0
ANSWER_TOKENS = 60.0
PROPOSER_PROMPT_TOKENS = 900.0
PROPOSER_ANSWER_TOKENS = 150.0


@dataclass(frozen=True, slots=True)
class RolloutCost:
    """What one program run takes, guessed from rendered prompts or measured on the baseline."""

    calls: float
    prompt_tokens: float
    completion_tokens: float
    seconds: float | None = None
    """Wall-clock seconds of a run divided by how many run at once; None while not measured."""
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase's program runs and LM calls, with what they cost."""

    name: str
    rollouts: int
    calls: float
    tokens: float
    usd: float | None
    seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the phase as JSON."""
        return {
            "name": self.name,
            "rollouts": self.rollouts,
            "calls": round(self.calls),
            "tokens": round(self.tokens),
            "usd": None if self.usd is None else round(self.usd, 4),
            "seconds": None if self.seconds is None else round(self.seconds, 1),
        }


def study_plan(
    facts: Facts, search: SearchPlan, cost: RolloutCost, *, task: LM, teacher: LM, proposer: LM
) -> dict[str, Any]:
    """Return the plan event: expected program runs, calls, tokens, dollars, and seconds by phase.

    The counts are what the search does at most; rollouts that share a request pay for it once,
    so the bill is usually lower.
    """
    runs = [
        ("baseline", facts.n_val, task),
        ("bootstrap", search.bootstrap_rollouts, teacher),
        ("search", search.search_rollouts, task),
        ("full evaluations", search.closing_rollouts, task),
        ("verdict", 2 * facts.n_test, task),
        ("insight", facts.n_predictors * facts.n_val if facts.n_predictors > 1 else 0, task),
    ]
    phases = [_rollout_phase(name, rollouts, cost, lm.price) for name, rollouts, lm in runs if rollouts]
    if search.proposer_calls:
        phases.insert(min(2, len(phases)), _proposer_phase(search.proposer_calls, proposer.price))
    hosts = sorted({host for lm in (task, teacher, proposer) if (host := lm.leaves_machine) is not None})
    return {
        "phases": [phase.to_json() for phase in phases],
        "total": _total(phases).to_json(),
        "measured": cost.measured,
        "leaves_machine": hosts,
        "smallest_detectable": round(smallest_detectable(facts.n_test), 4) if facts.n_test else None,
        "surrogate_trials": search.surrogate_trials,
        "splits": {"train": facts.n_train, "val": facts.n_val, "test": facts.n_test},
        "notes": list(search.notes),
    }


def refusal(plan: Mapping[str, Any], budget: Budget | None) -> str | None:
    """Return why a budget cannot even pay for baseline, closing evaluations, and verdict; None where it can."""
    if budget is None:
        return None
    needed = [phase for phase in plan["phases"] if phase["name"] in ("baseline", "full evaluations", "verdict")]
    for name, limit in (("calls", budget.lm_calls), ("tokens", budget.tokens), ("usd", budget.usd)):
        least = sum(phase[name] or 0 for phase in needed)
        if limit is not None and least > limit:
            return (
                f"the budget of {limit} {name} cannot pay for the baseline, the closing full evaluations, and the "
                f"verdict, which need about {least:.6g} {name}. Raise the budget, or give fewer examples."
            )
    return None


def _rollout_phase(name: str, rollouts: int, cost: RolloutCost, price: Price | None) -> Phase:
    prompt, completion = rollouts * cost.prompt_tokens, rollouts * cost.completion_tokens
    seconds = None if cost.seconds is None else rollouts * cost.seconds
    return Phase(name, rollouts, rollouts * cost.calls, prompt + completion, _usd(price, prompt, completion), seconds)


def _proposer_phase(calls: int, price: Price | None) -> Phase:
    prompt, completion = calls * PROPOSER_PROMPT_TOKENS, calls * PROPOSER_ANSWER_TOKENS
    return Phase("proposals", 0, calls, prompt + completion, _usd(price, prompt, completion), None)


def _usd(price: Price | None, prompt: float, completion: float) -> float | None:
    return None if price is None else (prompt * price.input + completion * price.output) / 1e6


def _total(phases: Sequence[Phase]) -> Phase:
    known_usd = [phase.usd for phase in phases if phase.usd is not None]
    known_seconds = [phase.seconds for phase in phases if phase.seconds is not None]
    return Phase(
        "total",
        sum(phase.rollouts for phase in phases),
        sum(phase.calls for phase in phases),
        sum(phase.tokens for phase in phases),
        sum(known_usd) if len(known_usd) == len(phases) else None,
        sum(known_seconds) if known_seconds else None,
    )
