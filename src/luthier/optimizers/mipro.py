"""MIPRO: bootstrapped demos, grounded instructions, and a surrogate that credits them jointly (MIPRO §4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from luthier.lm.profile import Profile
from luthier.optimizers.surrogate import SurrogateSettings
from luthier.propose.bootstrap import BootstrapSettings
from luthier.propose.grounding import GroundingSettings
from luthier.runner.facts import Facts
from luthier.runner.sizes import check_counts, with_kinds
from luthier.runner.steps import Steps
from luthier.search.trial import Trial


@dataclass(frozen=True, slots=True)
class MIPRO(SurrogateSettings):
    """MIPRO: bootstrapped demos, grounded instructions, and a surrogate that credits them jointly (MIPRO §4.3).

    The steps, in order::

        demo sets     ← bootstrap(teacher, train)            N sets, from rollouts that passed
        grounding     ← summarize(data, program)
        instructions  ← propose(grounding, demo set j, tip)  N per predictor, the original first
        space         ← instruction × demo set, per predictor
        for t in trials:
            point     ← TPE(history)                         all variables jointly
            history  += score(point, minibatch)
            every S trials, or at the end: score the most promising points in full
        return the best of those scored in full, the original among them

    Settings beyond those of every surrogate search:

    Args:
        instructions: instructions per predictor, where not N (half of N where a small LM writes them).
        demo_sizes: how many demos each demo set has, where N should not decide.
        grounding: what the proposer is shown; every ingredient can be switched off.
    """

    instructions: int | None = None
    demo_sizes: tuple[int, ...] | None = None
    grounding: GroundingSettings = field(default_factory=GroundingSettings)

    label: ClassVar[str] = "mipro"

    def __post_init__(self) -> None:
        SurrogateSettings.__post_init__(self)  # super() without arguments does not work in a dataclass with slots
        check_counts(self, "instructions")

    @staticmethod
    def paper() -> MIPRO:
        """Return the paper's settings: B = 25, S = 10, N as in Table 4 for a middling task (paper §4.3, §5.2)."""
        return MIPRO(
            preset="paper", candidates=30, minibatch=25, full_every=10, grounding=GroundingSettings(rules=False)
        )

    async def run(self, steps: Steps) -> Sequence[Trial]:
        """Search; the trials returned include the full evaluations."""
        bootstrapped = await steps.bootstrap(self.bootstrap_settings(steps.facts))
        instructions = None
        if self.free_instructions(steps.facts):
            grounding = await steps.ground(self.grounding, bootstrapped.traces)
            instructions = await steps.propose(
                grounding,
                bootstrapped.sets,
                self.grounding,
                count=self.instruction_count(steps.facts),
                frozen=self.frozen,
            )
        choices = await steps.space(instructions=instructions, demo_sets=bootstrapped.sets, frozen=self.frozen)
        strategy = self.strategy(steps, choices.anchors(bootstrapped.sets))
        return await steps.loop(choices, strategy, batch=self.shape(steps.facts).batch)

    def bootstrap_settings(self, facts: Facts) -> BootstrapSettings:
        """Return how demo sets are collected."""
        if self.demo_sizes is not None:
            return with_kinds(self.demo_sizes, facts)
        # super() without arguments does not work in a dataclass with slots.
        return SurrogateSettings.bootstrap_settings(self, facts)

    def proposer_calls(self, facts: Facts) -> int:
        """Return how many proposer calls are made at most."""
        free = self.free_instructions(facts)
        return self.grounding.most_calls(facts.n_train, free, self.instruction_count(facts)) if free else 0

    def free_instructions(self, facts: Facts) -> int:
        """Return how many instructions are not frozen."""
        return facts.n_predictors - sum(name.endswith(".instruction") for name in set(self.frozen))

    def instruction_count(self, facts: Facts) -> int:
        """Return how many instructions each predictor gets, the original included."""
        candidates = self.shape(facts).candidates
        if self.instructions is not None:
            return self.instructions
        small = facts.proposer is Profile.SMALL and self.preset != "paper"
        return max(2, candidates // 2) if small else candidates
