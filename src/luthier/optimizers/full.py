"""Full evaluations outside of the search's loop: of prompts to start from, and at the end of a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from luthier.errors import BudgetExhausted
from luthier.optimizers.payloads import Choices
from luthier.search.schedule import best_partial
from luthier.search.space import Point
from luthier.search.trial import Ask, Purpose, Trial, observation_json, observation_of

if TYPE_CHECKING:
    from luthier.optimizers.workbench import Workbench


async def score_starts(bench: Workbench, choices: Choices, baseline: Trial) -> list[Trial]:
    """Score the prompts to start from, whole and in full, before anything is searched for.

    Raises:
        BudgetExhausted: they do not fit the budget.
    """
    points = [choices.point_of(start) for start in bench.starts]
    points = [point for point in dict.fromkeys(points) if point != choices.space.original]
    if not points:
        return []

    async def compute() -> dict[str, Any]:
        asks = [Ask(point, bench.scoring_ids, Purpose.FULL) for point in points]
        first = baseline.number + 1
        observed = await bench.evaluate(choices, asks, first)
        return _event([Trial(first + i, asks[i], tuple(seen)) for i, seen in enumerate(observed)])

    return _trials(await bench.study.step("starts", compute), bench)


async def close_search(bench: Workbench, choices: Choices, trials: Sequence[Trial]) -> list[Trial]:
    """Score the most promising points in full although the budget ended the loop: that much was set aside."""

    async def compute() -> dict[str, Any]:
        closing: list[Trial] = []
        try:
            while bench.reserve.closing >= len(bench.scoring):
                history = (*trials, *closing)
                best = best_partial(history, (), shrunken=True)
                if best is None:
                    break
                ask, number = Ask(best, bench.scoring_ids, Purpose.FULL), history[-1].number + 1
                observed = await bench.evaluate(choices, [ask], number)
                closing.append(Trial(number, ask, tuple(observed[0])))
        except BudgetExhausted:
            pass  # what was scored in full can be chosen; the original always was
        return _event(closing)

    return _trials(await bench.study.step("closing", compute), bench)


def _event(trials: Sequence[Trial]) -> dict[str, Any]:
    return {
        "trials": [
            {
                "point": dict(trial.ask.point),
                "number": trial.number,
                "outcomes": [observation_json(o) for o in trial.observations],
            }
            for trial in trials
        ]
    }


def _trials(event: Mapping[str, Any], bench: Workbench) -> list[Trial]:
    found = []
    for data in event["trials"]:
        point = Point(data["point"])
        observations = tuple(observation_of(point, outcome) for outcome in data["outcomes"])
        found.append(Trial(data["number"], Ask(point, bench.scoring_ids, Purpose.FULL), observations))
    return found
