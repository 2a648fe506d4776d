"""MIPRO++: learns how to propose instructions and how to bootstrap demos (a sentence of MIPRO §4.4; unpublished)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from luthier.optimizers.opro import PAPER_GROUNDING, new_instructions, with_remarks
from luthier.optimizers.zero_shot_mipro_plus import SETTING, ZeroShotMIPROPlus, explored, is_barren
from luthier.propose.bootstrap import BootstrapSettings, DemoSet
from luthier.runner.candidates import Choices
from luthier.runner.facts import Facts, SearchPlan
from luthier.runner.sizes import demo_sizes
from luthier.runner.steps import Steps
from luthier.search.arrivals import waiting
from luthier.search.space import Point
from luthier.search.trial import Trial
from luthier.study.events import ArrivalEvent

SIZES = 4
"""How many numbers of demos there are to choose from, none among them."""
SHUFFLES = 4
"""How many sets there are of each size, from each teacher."""
TEACHERS = (0.0, 0.7, 1.0)
"""Temperatures of the teacher."""


@dataclass(frozen=True, slots=True)
class MIPROPlus(ZeroShotMIPROPlus):
    """MIPRO++. The paper says only that the surrogate learns both kinds of settings; what follows is ours.

    The steps, in order::

        demo pools ← bootstrap(teacher at each temperature, train)
        grounding  ← summarize(data, program)
        space      ← 0-shot MIPRO++'s settings of the proposer
                     × K, teacher temperature, shuffle                 of the demos in the prompt
        for t in trials:
            setting  ← TPE(history of settings)
            program  ← propose(setting), and K demos of the pool in that shuffle, for every predictor
            history += score(program, minibatch)
            every S trials, or at the end: score the most promising programs in full
        return the best of those scored in full, the original among them

    It pays for bootstrapping once for each temperature of the teacher; the plan counts them.
    """

    label: ClassVar[str] = "mipro++"
    tunes_demos: ClassVar[bool] = True

    @staticmethod
    def paper() -> MIPROPlus:
        """Return the paper's B = 25, S = 10, and data; there is no more of the paper in it."""
        return MIPROPlus(preset="paper", grounding=PAPER_GROUNDING, minibatch=25, full_every=10)

    async def run(self, steps: Steps) -> Sequence[Trial]:
        """Search; the trials returned include the full evaluations."""
        pools: dict[str, Sequence[DemoSet]] = {}
        traces: Sequence[Any] = ()
        for temperature in TEACHERS:
            settings = self.bootstrap_settings(steps.facts)
            settings = replace(settings, temperature=temperature, temperature_after_first=temperature)
            bootstrapped = await steps.bootstrap(settings, part=f"{temperature:g}" if pools else "")
            pools[f"{temperature:g}"] = bootstrapped.sets
            traces = traces or bootstrapped.traces
        grounding = await steps.ground(self.grounding, traces)
        everything = [made for sets in pools.values() for made in sets]
        shown = list({made.content: made for made in everything if any(made.demos.values())}.values())[: self.shown]
        nothing = dict.fromkeys(steps.original.prompts, ())
        choices = await steps.space(
            instructions=nothing,
            demo_sets=[made for made in everything if not any(made.demos.values())][:1],
            settings=self.settings(nothing, shown) | (self.demo_settings(everything) if steps.with_demos else {}),
        )
        wanted = self.shape(steps.facts).trials

        async def propose(choices: Choices, trials: Sequence[Trial], number: int) -> ArrivalEvent | None:
            if explored(trials) >= wanted or waiting(choices.space, trials) or is_barren(choices, number):
                return None
            setting = self.next_setting(steps, choices, trials, number)
            pool = await self.write(steps, grounding, shown, choices, setting, trials, number)
            changed = {variable: payloads[0] for variable, payloads in new_instructions(pool).items()}
            if steps.with_demos:
                changed |= _demos(chosen_set(pools, choices, setting), steps.with_demos)
            program = Point({**choices.space.original, **setting})
            arrival = choices.arriving([(program, changed)])
            learned = frozenset(choices.settings)
            seen = {_prompts(trial.ask.point, learned) for trial in trials}
            new = [point for point in arrival.points if _prompts(point, learned) not in seen]
            return with_remarks(arrival if new else choices.arriving([]), pool)

        return await steps.loop(choices, self.schedule(steps), batch=1, source=propose)

    @property
    def shown(self) -> int:
        """Demo sets of which the proposer is shown one for each predictor."""
        return self.candidates or 6

    def demo_settings(self, sets: Iterable[DemoSet]) -> dict[str, Sequence[Any]]:
        """Return the values of the settings of the demos in the prompt."""
        sizes = sorted({_size(made) for made in sets})
        return {
            f"{SETTING}prompt_demos": tuple(sizes),
            f"{SETTING}teacher_temperature": TEACHERS,
            f"{SETTING}shuffle": tuple(str(i) for i in range(SHUFFLES)),
        }

    def bootstrap_settings(self, facts: Facts) -> BootstrapSettings:
        """Return how the sets of one teacher are collected: each size in each shuffle, and the empty one."""
        sizes = sorted(set(demo_sizes(SIZES, facts.largest_demo_set)) - {0})
        grid = tuple(size for size in sizes for _ in range(SHUFFLES))
        return BootstrapSettings(sizes=(0, *grid), completed=self.preset != "paper")

    def plan(self, facts: Facts) -> SearchPlan:
        """Return what the search will do."""
        plan = ZeroShotMIPROPlus.plan(self, facts)
        return replace(plan, bootstrap_rollouts=len(TEACHERS) * plan.bootstrap_rollouts)


def chosen_set(pools: Mapping[str, Sequence[DemoSet]], choices: Choices, setting: Mapping[str, str]) -> DemoSet:
    """Return the demo set that a setting stands for; where there is none of its size, the nearest."""
    value = {name: choices.payloads[name][level]["setting"] for name, level in setting.items()}
    size = value[f"{SETTING}prompt_demos"]
    sets = pools[f"{value[f'{SETTING}teacher_temperature']:g}"]
    nearest = min({_size(made) for made in sets}, key=lambda known: (abs(known - size), known))
    alike = [made for made in sets if _size(made) == nearest]
    return alike[int(value[f"{SETTING}shuffle"]) % len(alike)]


def _size(made: DemoSet) -> int:
    return max((len(demos) for demos in made.demos.values()), default=0)


def _demos(made: DemoSet, predictors: Iterable[str]) -> dict[str, dict[str, Any]]:
    return {
        f"{name}.demos": {"demos": {name: [demo.to_json() for demo in made.demos.get(name, ())]}} for name in predictors
    }


def _prompts(point: Mapping[str, str], settings: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Return what a point says of prompts: equal for equal programs, however they came about."""
    return tuple(sorted((name, level) for name, level in point.items() if name not in settings))
