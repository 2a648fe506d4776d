"""Full evaluations outside of the search's loop: of prompts to start from, and at the end of a budget."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.errors import BudgetExhausted
from luthier.runner.reserve import Reserve
from luthier.search.schedule import best_partial
from luthier.search.space import Point
from luthier.search.trial import Ask, Observation, Purpose, Trial, observation_json, observation_of
from luthier.study.study import Study


@dataclass(frozen=True, slots=True)
class FullEvaluations:
    """Scores points on all the rows that candidates are compared on, as steps of a study."""

    study: Study
    scoring_ids: tuple[str, ...]
    evaluate: Callable[[Sequence[Ask], int], Awaitable[list[list[Observation]]]]

    async def of_starts(self, points: Sequence[Point], first: int) -> list[Trial]:
        """Score the prompts to start from before anything is searched for; trials are numbered from ``first``.

        Raises:
            BudgetExhausted: they do not fit the budget.
        """
        if not points:
            return []

        async def compute() -> dict[str, Any]:
            asks = [self._ask(point) for point in points]
            observed = await self.evaluate(asks, first)
            return _event([Trial(first + i, asks[i], tuple(seen)) for i, seen in enumerate(observed)])

        return self._trials(await self.study.step("starts", compute))

    async def closing(self, trials: Sequence[Trial], reserve: Reserve) -> list[Trial]:
        """Score the most promising points although the budget ended the loop: that much was set aside."""

        async def compute() -> dict[str, Any]:
            closing: list[Trial] = []
            try:
                while reserve.closing >= len(self.scoring_ids):
                    history = (*trials, *closing)
                    best = best_partial(history, (), shrunken=True)
                    if best is None:
                        break
                    ask, number = self._ask(best), history[-1].number + 1
                    observed = await self.evaluate([ask], number)
                    closing.append(Trial(number, ask, tuple(observed[0])))
            except BudgetExhausted:
                pass  # what was scored in full can be chosen; the original always was
            return _event(closing)

        return self._trials(await self.study.step("closing", compute))

    def _ask(self, point: Point) -> Ask:
        return Ask(point, self.scoring_ids, Purpose.FULL)

    def _trials(self, event: Mapping[str, Any]) -> list[Trial]:
        found = []
        for data in event["trials"]:
            point = Point(data["point"])
            observations = tuple(observation_of(point, outcome) for outcome in data["outcomes"])
            found.append(Trial(data["number"], self._ask(point), observations))
        return found


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
