"""0-shot MIPRO: MIPRO over instructions alone; demos are bootstrapped only for the proposer to see (MIPRO §4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from luthier.optimizers.surrogate import SurrogateSettings
from luthier.propose.bootstrap import BootstrapSettings
from luthier.propose.grounding import GroundingSettings
from luthier.runner.facts import Facts
from luthier.runner.steps import Steps
from luthier.search.trial import Trial

DEMOS_SHOWN = 3
"""Bootstrapped demos the proposer is shown (the authors' release; the paper does not say)."""


@dataclass(frozen=True, slots=True)
class ZeroShotMIPRO(SurrogateSettings):
    """0-shot MIPRO: MIPRO over instructions alone; demos are bootstrapped only for the proposer to see (MIPRO §4.4).

    The steps, in order::

        demo sets     ← bootstrap(teacher, train)            shown to the proposer, never to the task LM
        grounding     ← summarize(data, program)
        instructions  ← propose(grounding, demo set j, tip)  N per predictor, the original first
        space         ← instruction, per predictor
        trials, full evaluations, and choice as in MIPRO

    Args:
        grounding: what the proposer is shown; every ingredient can be switched off.
    """

    grounding: GroundingSettings = field(default_factory=GroundingSettings)

    label: ClassVar[str] = "mipro0"
    tunes_demos: ClassVar[bool] = False

    @staticmethod
    def paper() -> ZeroShotMIPRO:
        """Return the paper's settings: B = 25, S = 10, N as in Table 4 for a middling task."""
        return ZeroShotMIPRO(
            preset="paper", candidates=50, minibatch=25, full_every=10, grounding=GroundingSettings(rules=False)
        )

    async def run(self, steps: Steps) -> Sequence[Trial]:
        """Search; the trials returned include the full evaluations."""
        count = self.shape(steps.facts).candidates
        bootstrapped = await steps.bootstrap(self.bootstrap_settings(steps.facts))
        grounding = await steps.ground(self.grounding, bootstrapped.traces)
        instructions = await steps.propose(grounding, bootstrapped.sets, self.grounding, count=count)
        choices = await steps.space(instructions=instructions, frozen=self.frozen)
        return await steps.loop(choices, self.strategy(steps), batch=self.shape(steps.facts).batch)

    def bootstrap_settings(self, facts: Facts) -> BootstrapSettings:
        """Return how the demos are collected that only the proposer sees."""
        count = self.shape(facts).candidates
        if self.preset == "paper":
            return BootstrapSettings.paper(count, max_bootstrapped=DEMOS_SHOWN, max_labeled=0)
        return BootstrapSettings(sizes=(0, *(DEMOS_SHOWN,) * (count - 1)))

    def proposer_calls(self, facts: Facts) -> int:
        """Return how many proposer calls are made at most."""
        return self.grounding.most_calls(facts.n_train, facts.n_predictors, self.shape(facts).candidates)
