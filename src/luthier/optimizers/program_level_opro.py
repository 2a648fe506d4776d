"""Program-Level OPRO: one proposal for all predictors, from the history of whole programs (MIPRO §4.5, F.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from luthier.optimizers.opro import (
    PAPER_GROUNDING,
    OPROSettings,
    best_full,
    full_trials,
    new_instructions,
    with_remarks,
)
from luthier.propose.programs import ScoredProgram, propose_program
from luthier.runner.candidates import Choices
from luthier.runner.facts import Facts
from luthier.runner.steps import Steps
from luthier.search.arrivals import Arrivals
from luthier.search.schedule import FullSchedule
from luthier.search.trial import Trial
from luthier.study.events import ArrivalEvent


@dataclass(frozen=True, slots=True)
class ProgramLevelOPRO(OPROSettings):
    """Program-Level OPRO: one proposal for all predictors, from the history of whole programs (MIPRO §4.5, F.4).

    The steps, in order::

        demo sets, grounding, history ← as in Module-Level OPRO, the history one of whole programs
        for round in rounds:
            instructions ← propose(history of all predictors' instructions, grounding)   one answer for all
            history += score(them)                                                       in full
        return the best program, the original among them

    The proposer itself has to tell which instruction earned the score. The paper dropped it: no better than module by
    module, and much is lost in long histories.
    """

    label: ClassVar[str] = "program-opro"

    @staticmethod
    def paper() -> ProgramLevelOPRO:
        """Return the paper's settings: as many rounds as the budget has full evaluations of the training data."""
        return ProgramLevelOPRO(preset="paper", grounding=PAPER_GROUNDING)

    async def run(self, steps: Steps) -> Sequence[Trial]:
        """Search; every trial is a full evaluation."""
        bootstrapped = await steps.bootstrap(self.bootstrap_settings(steps.facts))
        grounding = await steps.ground(self.grounding, bootstrapped.traces)
        choices = await steps.space(instructions=dict.fromkeys(steps.original.prompts, ()))
        rounds = self.count(steps.facts)

        async def propose(choices: Choices, trials: Sequence[Trial], number: int) -> ArrivalEvent | None:
            if number > rounds:
                return None
            history = [
                ScoredProgram({**steps.instructions, **choices.instructions(trial.ask.point)}, trial.mean)
                for trial in full_trials(trials)
            ]
            pool = await propose_program(
                steps.proposer,
                steps.program,
                grounding,
                bootstrapped.sets,
                steps.training,
                number=number,
                settings=steps.fitting(self.grounding),
                seed=steps.seed,
                history=history,
            )
            changed = {variable: payloads[0] for variable, payloads in new_instructions(pool).items()}
            programs = [(best_full(trials), changed)] if changed else []
            return with_remarks(choices.arriving(programs), pool)

        strategy = FullSchedule(Arrivals(), examples=steps.scoring_ids, trials=rounds)
        return await steps.loop(choices, strategy, batch=1, source=propose)

    def proposer_calls(self, facts: Facts) -> int:
        """Return how many proposer calls are made at most: one answer serves all predictors."""
        grounding = self.grounding.most_calls(facts.n_train, facts.n_predictors)
        return grounding + self.count(facts) * self.grounding.tries
