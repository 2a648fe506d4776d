"""Program-Level OPRO: one proposal for all predictors, from the history of whole programs (MIPRO §4.5, F.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from luthier.optimizers.opro import (
    PAPER_GROUNDING,
    OPROSettings,
    best_full,
    full_trials,
    new_instructions,
    with_remarks,
)
from luthier.optimizers.optimizer import Facts
from luthier.optimizers.payloads import Choices
from luthier.optimizers.workbench import Workbench
from luthier.propose.programs import ScoredProgram, propose_program
from luthier.search.arrivals import Arrivals
from luthier.search.schedule import FullSchedule
from luthier.search.trial import Trial


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

    async def run(self, bench: Workbench) -> Sequence[Trial]:
        """Search; every trial is a full evaluation."""
        bootstrapped = await bench.bootstrap(self.bootstrap_settings(bench.facts))
        grounding = await bench.ground(self.grounding, bootstrapped.traces)
        choices = await bench.space(instructions=dict.fromkeys(bench.original.prompts, ()))
        rounds = self.count(bench.facts)

        async def propose(choices: Choices, trials: Sequence[Trial], number: int) -> dict[str, Any] | None:
            if number > rounds:
                return None
            history = [
                ScoredProgram({**bench.instructions, **choices.instructions(trial.ask.point)}, trial.mean)
                for trial in full_trials(trials)
            ]
            pool = await propose_program(
                bench.proposer,
                bench.program,
                grounding,
                bootstrapped.sets,
                bench.training,
                number=number,
                settings=bench.fitting(self.grounding),
                seed=bench.seed,
                history=history,
            )
            changed = {variable: payloads[0] for variable, payloads in new_instructions(pool).items()}
            programs = [(best_full(trials), changed)] if changed else []
            return with_remarks(choices.arriving(programs), pool)

        strategy = FullSchedule(Arrivals(), examples=bench.scoring_ids, trials=rounds)
        return await bench.loop(choices, strategy, batch=1, source=propose)

    def proposer_calls(self, facts: Facts) -> int:
        """Return how many proposer calls are made at most: one answer serves all predictors."""
        grounding = self.grounding.most_calls(facts.n_train, facts.n_predictors)
        return grounding + self.count(facts) * self.grounding.tries
