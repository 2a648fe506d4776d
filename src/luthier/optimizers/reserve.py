"""What is kept back for the end: the closing full evaluations, and the verdict."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from luthier.budget import Ledger
from luthier.lm.lm import LM
from luthier.optimizers.plan import RolloutCost
from luthier.search.trial import Trial

MARGIN = 1.2
"""Over the dearest mean cost seen so far, for chance and for retries without a bill."""


@dataclass(slots=True)
class Reserve:
    """Earmarks in the ledger and time on the clock, raised as candidates turn out dearer than the original."""

    ledger: Ledger | None
    clock: Clock
    lm: LM
    original: RolloutCost
    closing: int
    """Rollouts of the closing full evaluations."""
    verdict: int
    """Test examples; each is run with the original and with the chosen candidate."""
    dearest: Mapping[str, float] = field(default_factory=dict)

    def keep(self, trials: Sequence[Trial] = ()) -> None:
        """Set aside what closing evaluations and verdict will take, by the dearest candidate seen."""
        self.clock.kept = (self.closing + 2 * self.verdict) * (self.original.seconds or 0.0) * MARGIN
        if self.ledger is None:
            return
        dear, cheap = self._mean_cost(trials), self._amounts(self.original)
        self.ledger.set_aside("closing", {name: MARGIN * self.closing * dear[name] for name in dear})
        self.ledger.set_aside("verdict", {name: MARGIN * self.verdict * (dear[name] + cheap[name]) for name in dear})

    def release_closing(self) -> None:
        """Let the closing full evaluations be paid for."""
        self.clock.kept = 2 * self.verdict * (self.original.seconds or 0.0) * MARGIN
        if self.ledger is not None:
            self.ledger.release("closing")

    def release_verdict(self) -> None:
        """Let the verdict be paid for."""
        self.release_closing()
        self.clock.kept = 0.0
        if self.ledger is not None:
            self.ledger.release("verdict")

    def _mean_cost(self, trials: Sequence[Trial]) -> dict[str, float]:
        dearest = self.original
        for trial in trials:
            n = max(1, len(trial.observations))
            costs = [observation.cost for observation in trial.observations]
            mean = {name: sum(c.get(name, 0.0) for c in costs) / n for name in ("lm_calls", "prompt_tokens")}
            dearest = RolloutCost(
                calls=max(dearest.calls, mean["lm_calls"]),
                prompt_tokens=max(dearest.prompt_tokens, mean["prompt_tokens"]),
                completion_tokens=max(
                    dearest.completion_tokens, sum(c.get("completion_tokens", 0.0) for c in costs) / n
                ),
            )
        return self._amounts(dearest)

    def _amounts(self, cost: RolloutCost) -> dict[str, float]:
        amounts = {"lm_calls": cost.calls, "tokens": cost.prompt_tokens + cost.completion_tokens}
        if self.lm.price is not None:
            amounts["usd"] = self.lm.price.usd(cost.prompt_tokens, cost.completion_tokens)
        return amounts


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
