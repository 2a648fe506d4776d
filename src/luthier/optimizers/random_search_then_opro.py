"""Random search over demo sets, then OPRO on top of the best: the staged control of Figures 8 and 9 (MIPRO App. E)."""

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
from luthier.propose.bootstrap import BootstrapSettings
from luthier.runner.candidates import TIED, Choices
from luthier.runner.facts import Facts, SearchPlan
from luthier.runner.sizes import demo_sizes
from luthier.runner.steps import Steps
from luthier.search.arrivals import Arrivals, waiting
from luthier.search.schedule import FullSchedule
from luthier.search.trial import Trial
from luthier.study.events import ArrivalEvent

SHARE = 0.6
"""Of the full evaluations that go to demo sets: 30 of 50 in the figures."""


@dataclass(frozen=True, slots=True)
class RandomSearchThenOPRO(OPROSettings):
    """Random search over demo sets, then Module-Level OPRO with the best of them.

    The steps, in order::

        demo sets  ← bootstrap(teacher, train)             one variable over all predictors
        score every set in full
        grounding  ← summarize(data, program)
        for the rounds that are left:
            instruction, per predictor ← propose(its history with the best set, grounding)
            history += score(all new instructions, best set)
        return the best program, the original among them

    The paper's text never describes it; that the stages take 30 and 20 of 50 evaluations is read off the figures.
    """

    label: ClassVar[str] = "random-search-opro"
    tunes_demos: ClassVar[bool] = True

    @staticmethod
    def paper() -> RandomSearchThenOPRO:
        """Return the paper's settings: demo sets as random search makes them, scored on the training data."""
        return RandomSearchThenOPRO(preset="paper", grounding=PAPER_GROUNDING)

    def sets(self, facts: Facts) -> int:
        """Return how many demo sets there are, the original's included, which is scored already."""
        return 1 + max(1, round(SHARE * self.count(facts)))

    def plan(self, facts: Facts) -> SearchPlan:
        """Return what the search will do."""
        largest = self.bootstrap_settings(facts).largest
        return replace(OPROSettings.plan(self, facts), largest_demo_set=largest)

    def bootstrap_settings(self, facts: Facts) -> BootstrapSettings:
        """Return how the sets are collected; K = 4 in the paper preset, which the paper leaves open."""
        if self.preset == "paper":
            return BootstrapSettings.paper(self.sets(facts), max_bootstrapped=4, max_labeled=4)
        return BootstrapSettings(sizes=demo_sizes(self.sets(facts), facts.largest_demo_set))

    async def run(self, steps: Steps) -> Sequence[Trial]:
        """Search; every trial is a full evaluation."""
        bootstrapped = await steps.bootstrap(self.bootstrap_settings(steps.facts))
        grounding = await steps.ground(self.grounding, bootstrapped.traces)
        instructions = dict.fromkeys(steps.original.prompts, ())
        choices = await steps.space(instructions=instructions, demo_sets=bootstrapped.sets, tied=True)
        count = self.count(steps.facts)
        others = list(choices.payloads.get(TIED, ()))[1:]  # none where no component takes demos
        staged = int(bool(others))

        async def propose(choices: Choices, trials: Sequence[Trial], number: int) -> ArrivalEvent | None:
            if staged and number == 1:
                original = choices.space.original
                return choices.arriving((original, {TIED: choices.payloads[TIED][level]}) for level in others)
            if waiting(choices.space, trials) or number > staged + count - len(others):
                return None  # every set is scored before the first round
            best = best_full(trials)
            beside = [trial for trial in full_trials(trials) if trial.ask.point.get(TIED) == best.get(TIED)]
            scores = instruction_scores(choices, beside, steps.instructions)
            pool = await steps.write(
                replace(grounding, history=scores),
                bootstrapped.sets,
                self.grounding,
                wanted={name: [number] for name in scores},
                held=known(scores),
            )
            changed = {variable: payloads[0] for variable, payloads in new_instructions(pool).items()}
            return with_remarks(choices.arriving([(best, changed)] if changed else []), pool)

        strategy = FullSchedule(Arrivals(), examples=steps.scoring_ids, trials=count)
        return await steps.loop(choices, strategy, batch=1, source=propose)
