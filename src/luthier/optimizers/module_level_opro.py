"""Module-Level OPRO: each predictor's next instruction is proposed from its own history of scores (MIPRO §4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from luthier.optimizers.opro import (
    PAPER_GROUNDING,
    TRIES,
    OPROSettings,
    best_full,
    full_trials,
    instruction_scores,
    known,
    new_instructions,
    with_remarks,
)
from luthier.propose.grounding import GroundingSettings
from luthier.runner.candidates import Choices
from luthier.runner.steps import Steps
from luthier.search.arrivals import Arrivals
from luthier.search.schedule import FullSchedule
from luthier.search.trial import Trial
from luthier.study.events import ArrivalEvent


@dataclass(frozen=True, slots=True)
class ModuleLevelOPRO(OPROSettings):
    """Module-Level OPRO: each predictor's next instruction is proposed from its own history of scores (MIPRO §4.2).

    The steps, in order::

        demo sets  ← bootstrap(teacher, train)                 shown to the proposer, never to the task LM
        grounding  ← summarize(data, program)
        history    ← the original's instructions and score
        for round in rounds:
            instruction, per predictor ← propose(its own history, grounding, demo set, tip)
            history += score(all new instructions at once)     in full; the program's score stands for each
        return the best program, the original among them

    The paper leaves open how much history is shown: here the best five instructions, each with the mean over all
    trials that used it, the best last (as in the authors' release). A predictor whose proposals were all rejected
    keeps the instruction of the best program so far; a round without any new instruction is no trial.
    """

    label: ClassVar[str] = "opro"

    @staticmethod
    def paper() -> ModuleLevelOPRO:
        """Return the paper's settings: as many rounds as the budget has full evaluations of the training data."""
        return ModuleLevelOPRO(preset="paper", grounding=PAPER_GROUNDING)

    async def run(self, steps: Steps) -> Sequence[Trial]:
        """Search; every trial is a full evaluation."""
        bootstrapped = await steps.bootstrap(self.bootstrap_settings(steps.facts))
        grounding = await steps.ground(self.grounding, bootstrapped.traces)
        choices = await steps.space(instructions=dict.fromkeys(steps.original.prompts, ()))
        rounds = self.count(steps.facts)

        async def propose(choices: Choices, trials: Sequence[Trial], number: int) -> ArrivalEvent | None:
            if number > rounds:
                return None
            scores = instruction_scores(choices, full_trials(trials), steps.instructions)
            pool = await steps.write(
                replace(grounding, history=scores),
                bootstrapped.sets,
                self.grounding,
                wanted={name: [number] for name in scores},
                held=known(scores),
            )
            changed = {variable: payloads[0] for variable, payloads in new_instructions(pool).items()}
            programs = [(best_full(trials), changed)] if changed else []
            return with_remarks(choices.arriving(programs), pool)

        strategy = FullSchedule(Arrivals(), examples=steps.scoring_ids, trials=rounds)
        return await steps.loop(choices, strategy, batch=1, source=propose)


@dataclass(frozen=True, slots=True)
class UngroundedOPRO(ModuleLevelOPRO):
    """Module-Level OPRO whose proposer sees demos and history, and no grounding: the paper's ablation (-G, §6.2)."""

    grounding: GroundingSettings = field(
        default_factory=lambda: GroundingSettings(
            dataset_summary=False,
            program_summary=False,
            roles=False,
            traces=False,
            tips=(),
            history=True,
            tries=TRIES,
        )
    )

    label: ClassVar[str] = "opro-g"

    @staticmethod
    def paper() -> UngroundedOPRO:
        """Return the paper's settings."""
        return UngroundedOPRO(preset="paper", grounding=replace(UngroundedOPRO().grounding, rules=False))
