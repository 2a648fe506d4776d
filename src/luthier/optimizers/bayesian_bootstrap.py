"""Bayesian Bootstrap: MIPRO over demo sets alone, one variable per predictor (MIPRO §4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from luthier.optimizers.surrogate import SurrogateSettings
from luthier.runner.steps import Steps
from luthier.search.trial import Trial


@dataclass(frozen=True, slots=True)
class BayesianBootstrap(SurrogateSettings):
    """Bayesian Bootstrap: MIPRO over demo sets alone, one variable per predictor (MIPRO §4.4).

    The steps, in order::

    demo sets  ← bootstrap(teacher, train)    N sets
    space      ← demo set, per predictor
    trials, full evaluations, and choice as in MIPRO
    """

    label: ClassVar[str] = "bayesian-bootstrap"
    tunes_instructions: ClassVar[bool] = False

    @staticmethod
    def paper() -> BayesianBootstrap:
        """Return the paper's settings: B = 25, S = 10, N as in Table 4."""
        return BayesianBootstrap(preset="paper", candidates=60, minibatch=25, full_every=10)

    async def run(self, steps: Steps) -> Sequence[Trial]:
        """Search; the trials returned include the full evaluations."""
        bootstrapped = await steps.bootstrap(self.bootstrap_settings(steps.facts))
        choices = await steps.space(demo_sets=bootstrapped.sets, frozen=self.frozen)
        strategy = self.strategy(steps, choices.anchors(bootstrapped.sets))
        return await steps.loop(choices, strategy, batch=self.shape(steps.facts).batch)
