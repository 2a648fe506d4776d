"""What is kept back for the end: the closing full evaluations, and the verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from luthier.budget import Ledger
from luthier.lm.lm import Price
from luthier.program.lms import LMs
from luthier.runner.plan import CHARACTERS_PER_TOKEN, RolloutCost, blended_price
from luthier.search.trial import Purpose, Trial
from luthier.types import Role

MARGIN = 1.2
"""Over the costliest mean cost seen so far, for chance."""
_MOST_OVERHEAD = 10.0
_TASK = Role.TASK.value


@dataclass(slots=True)
class Reserve:
    """Earmarks in the ledger and time on the clock, raised as candidates turn out costlier than the original."""

    ledger: Ledger
    clock: Clock
    lms: LMs
    original: RolloutCost
    closing: int
    """Rollouts of the closing full evaluations that are still to come."""
    verdict: int
    """Test examples; each is run with the original and with the chosen candidate."""
    longest_answer: int
    """Tokens that one call may write at most."""
    in_flight: int
    """Program runs at one time."""
    costliest: RolloutCost = field(init=False)
    _billed: RolloutCost = field(init=False)
    """What all trials cost by their bills."""
    _charged: dict[str, float] = field(init=False)
    """What programs had been charged before."""

    def __post_init__(self) -> None:
        self.costliest = self.original
        self._billed = RolloutCost(calls=0.0, prompt_tokens=0.0, completion_tokens=0.0, price=self.original.price)
        self._charged = self.ledger.spent.get(_TASK, {})

    def learn(self, trials: Sequence[Trial]) -> None:
        """Note what trials cost, and which full evaluations are done."""
        for trial in trials:
            self._billed = _with_bills(self._billed, trial)
            if trial.ask.purpose is Purpose.FULL:
                self.closing = max(0, self.closing - len(trial.observations))
            self.costliest = _costlier(self.costliest, trial, self.in_flight, self.lms)
        self.keep()

    def keep(self, *, under_way: int = 0) -> None:
        """Set aside what closing evaluations and verdict will take, by the costliest candidate seen.

        Args:
            under_way: rollouts of closing evaluations that are being made now, and may be paid for.
        """
        dear, cheap = self.costliest.amounts(self.lms.price), self.original.amounts(self.lms.price)
        closing = max(0, self.closing - under_way)
        margin = {name: MARGIN * self._overhead(name) for name in dear}
        kept = {
            "closing": {name: margin[name] * closing * dear[name] for name in dear},
            "verdict": {name: margin[name] * self.verdict * (dear[name] + cheap[name]) for name in dear},
        }
        for name, amount in self._one_call().items():
            # A call is let through only where its worst case fits, so the last one needs that much room.
            kept["verdict"][name] += amount if self.verdict else 0.0
        self.clock.kept = sum(amounts.pop("seconds", 0.0) for amounts in kept.values())
        for name, amounts in kept.items():
            self.ledger.set_aside(name, amounts)

    def release(self) -> None:
        """Let everything be paid for: the search is over."""
        self.clock.kept = 0.0
        self.ledger.release("closing")
        self.ledger.release("verdict")

    def _overhead(self, name: str) -> float:
        """Return how much more the trials were charged than their bills say: attempts without a bill stay charged."""
        billed = self._billed.amounts(self.lms.price).get(name, 0.0)
        charged = self.ledger.spent.get(_TASK, {}).get(name, 0.0) - self._charged.get(name, 0.0)
        return min(max(1.0, charged / billed), _MOST_OVERHEAD) if billed > 0 else 1.0

    def _one_call(self) -> dict[str, float]:
        # The worst case counts a token for each byte of a prompt.
        calls = max(1.0, self.costliest.calls)
        prompt = CHARACTERS_PER_TOKEN * self.costliest.prompt_tokens / calls
        worst = RolloutCost(calls=1.0, prompt_tokens=prompt, completion_tokens=self.longest_answer)
        dear = worst.amounts(self.lms.price)
        if "usd" in dear and self.original.judge_price is not None:
            dear["usd"] = max(dear["usd"], worst.amounts(self.original.judge_price)["usd"])
        return dear


def _with_bills(cost: RolloutCost, trial: Trial) -> RolloutCost:
    def total(name: str) -> float:
        return sum(float(observation.cost.get(name, 0.0)) for observation in trial.observations)

    return replace(
        cost,
        calls=cost.calls + total("lm_calls"),
        prompt_tokens=cost.prompt_tokens + total("prompt_tokens"),
        completion_tokens=cost.completion_tokens + total("completion_tokens"),
    )


def _costlier(cost: RolloutCost, trial: Trial, in_flight: int, lms: LMs) -> RolloutCost:
    """Return the cost, raised to the trial's mean where that is higher."""
    n = max(1, len(trial.observations))

    def mean(name: str) -> float:
        return sum(observation.cost.get(name, 0.0) for observation in trial.observations) / n

    seconds = sum(float(observation.detail.get("seconds", 0.0)) for observation in trial.observations) / n / in_flight
    price = blended_price([observation.detail.get("lms", {}) for observation in trial.observations], lms)
    if price is not None and cost.price is not None:
        price = Price(max(price.input, cost.price.input), max(price.output, cost.price.output))
    return replace(
        cost,
        price=price,
        seconds=max(cost.seconds or 0.0, seconds),
        calls=max(cost.calls, mean("lm_calls")),
        prompt_tokens=max(cost.prompt_tokens, mean("prompt_tokens")),
        completion_tokens=max(cost.completion_tokens, mean("completion_tokens")),
    )


@dataclass(slots=True)
class Clock:
    """Seconds left to a study, over all its sessions."""

    limit: float | None
    before: float = 0.0
    """Seconds that earlier sessions took."""
    kept: float = 0.0
    """Seconds kept back for what must still be done."""
    started: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds over all sessions."""
        return self.before + time.monotonic() - self.started

    def left(self) -> float:
        """Seconds that may still be used now; infinite without a limit."""
        return float("inf") if self.limit is None else self.limit - self.elapsed - self.kept
