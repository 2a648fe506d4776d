"""CA-OPRO: one predictor at a time, several instructions for it, the best kept (MIPRO §4.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from luthier.optimizers.opro import (
    PAPER_GROUNDING,
    OPROSettings,
    best_full,
    full_trials,
    instruction_scores,
    known,
    new_instructions,
    with_remarks,
)
from luthier.runner.candidates import Choices
from luthier.runner.facts import Facts, SearchPlan
from luthier.runner.sizes import check_counts
from luthier.runner.steps import Steps
from luthier.search.arrivals import Arrivals, waiting
from luthier.search.schedule import FullSchedule
from luthier.search.trial import Trial
from luthier.study.events import ArrivalEvent

MOST_BREADTH = 10
"""As COPRO has it, the peers' coordinate ascent; the paper gives no N."""


@dataclass(frozen=True, slots=True)
class CoordinateAscentOPRO(OPROSettings):
    """CA-OPRO: one predictor at a time, several instructions for it, the best kept (MIPRO §4.5).

    The steps, in order::

        demo sets, grounding, history ← as in Module-Level OPRO
        for d in depth:
            for predictor in predictors:
                N instructions ← propose(its history, grounding)
                score the best program so far with each of them in turn     in full
        return the best program, the original among them

    It costs depth x predictors x N full evaluations, which is why the paper dropped it. Neither N nor the depth is
    given there: here the depth is two where the budget allows N of two or more, and N fills the budget up to ten.

    Args:
        breadth: N, instructions for a predictor each time its turn comes; None has it chosen.
        depth: how often the turn comes round; None has it chosen.
    """

    breadth: int | None = None
    depth: int | None = None

    label: ClassVar[str] = "ca-opro"

    def __post_init__(self) -> None:
        OPROSettings.__post_init__(self)  # super() without arguments does not work in a dataclass with slots
        check_counts(self, "breadth", "depth")

    @staticmethod
    def paper() -> CoordinateAscentOPRO:
        """Return the paper's settings, as far as there are any: scored on the training data."""
        return CoordinateAscentOPRO(preset="paper", grounding=PAPER_GROUNDING)

    def count(self, facts: Facts) -> int:
        """Return the full evaluations there are, apart from the original's.

        Where the budget has fewer than predictors, the first of them have their turn, and the others keep what they
        have.
        """
        breadth, depth = self.shape(facts)
        whole = breadth * depth * facts.n_predictors
        return whole if self.breadth and self.depth else min(whole, self.bought(facts))

    def bought(self, facts: Facts) -> int:
        """Return the full evaluations that the budget has."""
        return self.rounds or max(1, facts.evaluations // facts.n_val)

    def plan(self, facts: Facts) -> SearchPlan:
        """Return what the search will do."""
        plan, turns = OPROSettings.plan(self, facts), -(-self.count(facts) // self.shape(facts)[0])
        if turns >= facts.n_predictors:
            return plan
        note = f"the budget has {turns} of {facts.n_predictors} predictors' turns: the others stay as they are"
        return replace(plan, notes=(*plan.notes, note))

    def shape(self, facts: Facts) -> tuple[int, int]:
        """Return breadth and depth."""
        bought = self.bought(facts)
        each = bought // facts.n_predictors
        depth = self.depth or max(1, each // (self.breadth or max(2, min(MOST_BREADTH, each // 2))))
        return self.breadth or max(1, min(MOST_BREADTH, each // depth)), depth

    async def run(self, steps: Steps) -> Sequence[Trial]:
        """Search; every trial is a full evaluation."""
        bootstrapped = await steps.bootstrap(self.bootstrap_settings(steps.facts))
        grounding = await steps.ground(self.grounding, bootstrapped.traces)
        choices = await steps.space(instructions=dict.fromkeys(steps.original.prompts, ()))
        (breadth, depth), count = self.shape(steps.facts), self.count(steps.facts)
        names = sorted(steps.instructions)

        async def propose(choices: Choices, trials: Sequence[Trial], number: int) -> ArrivalEvent | None:
            turn, at = divmod(number - 1, len(names))
            if waiting(choices.space, trials) or turn >= depth or len(choices.space.arrivals) >= count:
                return None  # all of a turn is scored before the next one begins
            scores = instruction_scores(choices, full_trials(trials), steps.instructions)
            pool = await steps.write(
                replace(grounding, history=scores),
                bootstrapped.sets,
                self.grounding,
                wanted={names[at]: range(1 + turn * breadth, 1 + (turn + 1) * breadth)},
                held=known(scores),
            )
            programs = [
                (best_full(trials), {variable: payload})
                for variable, payloads in new_instructions(pool).items()
                for payload in payloads
            ]
            return with_remarks(choices.arriving(programs), pool)

        strategy = FullSchedule(Arrivals(), examples=steps.scoring_ids, trials=count)
        return await steps.loop(choices, strategy, batch=1, source=propose)
