"""0-shot MIPRO++: learns how to propose; a trial is one setting of the proposer and one fresh program (MIPRO §4.4)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from luthier.errors import ConfigError
from luthier.evaluation.splits import blocks
from luthier.optimizers.opro import PAPER_GROUNDING, TRIES, instruction_scores, known, new_instructions, with_remarks
from luthier.optimizers.surrogate import Shape, SurrogateSettings
from luthier.program.candidate import Demo
from luthier.propose.bootstrap import BootstrapSettings, DemoSet
from luthier.propose.demo_sets import demo_set
from luthier.propose.grounding import Grounding, GroundingSettings
from luthier.propose.instructions import InstructionPool
from luthier.propose.tips import TIPS
from luthier.runner.candidates import Choices
from luthier.runner.facts import Facts
from luthier.runner.steps import Steps
from luthier.search.arrivals import Arrivals, waiting
from luthier.search.schedule import MinibatchSchedule
from luthier.search.space import Point, Space
from luthier.search.trial import Purpose, Trial
from luthier.study.events import ArrivalEvent

DEMOS_SHOWN = 3
"""Bootstrapped demos the proposer is shown (the authors' release; the paper does not say)."""
SETS_SHOWN = 6
"""Demo sets of which the proposer is shown one for each predictor."""
TEMPERATURES = (0.3, 0.5, 0.7, 0.9, 1.1)
"""Of the proposer; the paper gives no range, only its default of 0.7."""
SETTING = "proposer."
"""How the names of settings begin."""
MOST_BARREN = 3
"""So many settings for each program may be tried, new or not, before the search ends early."""


@dataclass(frozen=True, slots=True)
class ZeroShotMIPROPlus(SurrogateSettings):
    """0-shot MIPRO++: learns how to propose; a trial is one setting of the proposer and one fresh program (MIPRO §4.4).

    The steps, in order::

        demo sets  ← bootstrap(teacher, train)       shown to the proposer, never to the task LM
        grounding  ← summarize(data, program)        all of it; settings switch parts off
        space      ← dataset summary?, program description?, history?, tip, temperature, demo set per predictor
        for t in trials:
            setting  ← TPE(history of settings)      all variables jointly
            program  ← propose(setting)              one new instruction per predictor
            history += score(program, minibatch)
            every S trials, or at the end: score the most promising programs in full
        return the best of those scored in full, the original among them

    Where the paper contradicts itself: the temperature learned is the proposer's (§3.1, §5.2, Figure 7), not the task
    LM's (App. B.4); and programs, not settings, are promoted to a full evaluation by their own mean, because a setting
    brings another program each time. The figures also list a choice of proposer model, with no values: left out.

    Args:
        candidates: demo sets of which the proposer is shown one for each predictor; None: six.
        grounding: limits of proposals, and what can never be shown; what it shows is switched by the settings.
    """

    grounding: GroundingSettings = field(default_factory=lambda: GroundingSettings(history=True, tries=TRIES))

    label: ClassVar[str] = "mipro0++"
    tunes_demos: ClassVar[bool] = False

    def __post_init__(self) -> None:
        SurrogateSettings.__post_init__(self)  # super() without arguments does not work in a dataclass with slots
        if self.frozen:
            raise ConfigError(f"frozen={self.frozen}: {self.label} writes a new instruction for every predictor")

    @staticmethod
    def paper() -> ZeroShotMIPROPlus:
        """Return the paper's settings: B = 25, S = 10, the first full evaluation at trial 0."""
        return ZeroShotMIPROPlus(preset="paper", grounding=PAPER_GROUNDING, minibatch=25, full_every=10)

    async def run(self, steps: Steps) -> Sequence[Trial]:
        """Search; the trials returned include the full evaluations."""
        bootstrapped = await steps.bootstrap(self.bootstrap_settings(steps.facts))
        grounding = await steps.ground(self.grounding, bootstrapped.traces)
        shown = [made for made in bootstrapped.sets if any(made.demos.values())]
        nothing = dict.fromkeys(steps.original.prompts, ())
        choices = await steps.space(instructions=nothing, settings=self.settings(nothing, shown))
        wanted = self.shape(steps.facts).trials

        async def propose(choices: Choices, trials: Sequence[Trial], number: int) -> ArrivalEvent | None:
            if explored(trials) >= wanted or waiting(choices.space, trials) or is_barren(choices, number):
                return None
            setting = self.next_setting(steps, choices, trials, number)
            pool = await self.write(steps, grounding, shown, choices, setting, trials, number)
            changed = {variable: payloads[0] for variable, payloads in new_instructions(pool).items()}
            program = Point({**choices.space.original, **setting})
            return with_remarks(choices.arriving([(program, changed)] if changed else []), pool)

        return await steps.loop(choices, self.schedule(steps), batch=1, source=propose)

    def settings(self, predictors: Iterable[str], shown: Sequence[DemoSet]) -> dict[str, Sequence[Any]]:
        """Return the values of every setting that is learned; of a switch, the first is what MIPRO does."""
        values: dict[str, Sequence[Any]] = {
            "dataset_summary": (True, False),
            "program_description": (True, False),
            "history": (False, True),
            "tip": tuple(TIPS),
            "temperature": TEMPERATURES,
        }
        if len(shown) > 1:
            values |= {f"demos.{name}": tuple(str(i) for i in range(len(shown))) for name in predictors}
        return {f"{SETTING}{name}": of_setting for name, of_setting in values.items()}

    def next_setting(self, steps: Steps, choices: Choices, trials: Sequence[Trial], number: int) -> Mapping[str, str]:
        """Return a level for every setting: what the surrogate makes of the settings tried so far."""
        names = choices.settings
        space = Space(tuple(choices.space[name] for name in names))
        told = [
            replace(trial, ask=replace(trial.ask, point=Point({name: trial.ask.point[name] for name in names})))
            for trial in trials
            if trial.ask.purpose is Purpose.EXPLORE
        ]
        rng = random.Random(f"{steps.seed}/setting/{number}")
        point = self.suggest(self.shape(steps.facts)).suggest(space, told, (), rng)
        return space.original if point is None else point

    async def write(
        self,
        steps: Steps,
        grounding: Grounding,
        shown: Sequence[DemoSet],
        choices: Choices,
        levels: Mapping[str, str],
        trials: Sequence[Trial],
        number: int,
    ) -> InstructionPool:
        """Have an instruction for every predictor under a setting."""
        value = {name: choices.payloads[name][level]["setting"] for name, level in levels.items()}
        scores = instruction_scores(choices, trials, steps.instructions)
        demos: dict[str, Sequence[Demo]] = {}
        for name in steps.original.prompts:
            place = int(value.get(f"{SETTING}demos.{name}", 0))
            demos[name] = shown[place].demos.get(name, ()) if shown else ()
        described = value[f"{SETTING}program_description"]
        settings = replace(
            self.grounding,
            dataset_summary=self.grounding.dataset_summary and value[f"{SETTING}dataset_summary"],
            program_summary=self.grounding.program_summary and described,
            roles=self.grounding.roles and described,
            history=self.grounding.history and value[f"{SETTING}history"],
            tips=(value[f"{SETTING}tip"],),
        )
        return await steps.write(
            replace(grounding, history=scores),
            [demo_set(demos)] if any(demos.values()) else [],
            settings,
            wanted={name: [number] for name in steps.original.prompts},
            held=known(scores),
            temperature=value[f"{SETTING}temperature"],
        )

    def schedule(self, steps: Steps) -> MinibatchSchedule:
        """Return the schedule: each program as it arrives, on a minibatch; the most promising in full."""
        shape = self.shape(steps.facts)
        return MinibatchSchedule(
            Arrivals(),
            examples=steps.scoring_ids,
            blocks=blocks(steps.scoring, shape.minibatch, steps.seed),
            trials=shape.trials,
            full_every=shape.full_every,
            closing=shape.closing,
            first_full=self.preset == "paper",
        )

    def shape(self, facts: Facts) -> Shape:
        """Decide every number; programs come one at a time, so there is no halving and no batch."""
        return replace(SurrogateSettings.shape(self, facts), batch=1, halving=False)

    def bootstrap_settings(self, facts: Facts) -> BootstrapSettings:
        """Return how the demos are collected that only the proposer sees."""
        sets = self.candidates or SETS_SHOWN
        if self.preset == "paper":
            return BootstrapSettings.paper(1 + sets, max_bootstrapped=DEMOS_SHOWN, max_labeled=0)
        return BootstrapSettings(sizes=(0, *(DEMOS_SHOWN,) * sets))

    def proposer_calls(self, facts: Facts) -> int:
        """Return how many proposer calls are made at most."""
        return self.grounding.most_calls(facts.n_train, facts.n_predictors, 1 + MOST_BARREN * self.shape(facts).trials)


def explored(trials: Sequence[Trial]) -> int:
    """Return how many minibatch trials there were."""
    return sum(trial.ask.purpose is Purpose.EXPLORE for trial in trials)


def is_barren(choices: Choices, number: int) -> bool:
    """Whether too many of the proposals before this one brought no program: three in vain to begin with."""
    return number > MOST_BARREN * (len(choices.space.arrivals) + 1)
