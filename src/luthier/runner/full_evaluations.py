"""Full evaluations outside of the search's loop: of prompts to start from, and at the end of a budget."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from luthier.errors import BudgetExhausted
from luthier.runner.reserve import Reserve
from luthier.search.schedule import best_partial
from luthier.search.space import Point
from luthier.search.trial import Ask, Observation, Purpose, Trial, observation_json, observation_of
from luthier.study.events import ClosingEvent, FullEvaluation, StartsEvent, outcome_of, to_json
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

        async def compute() -> StartsEvent:
            asks = [self._ask(point) for point in points]
            observed = await self.evaluate(asks, first)
            made = [Trial(first + i, asks[i], tuple(seen)) for i, seen in enumerate(observed)]
            return StartsEvent(trials=_records(made))

        return self._trials((await self.study.step(StartsEvent, compute)).trials)

    async def closing(self, trials: Sequence[Trial], reserve: Reserve) -> list[Trial]:
        """Score the most promising points although the budget ended the loop: that much was set aside."""

        async def compute() -> ClosingEvent:
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
            return ClosingEvent(trials=_records(closing))

        return self._trials((await self.study.step(ClosingEvent, compute)).trials)

    def _ask(self, point: Point) -> Ask:
        return Ask(point, self.scoring_ids, Purpose.FULL)

    def _trials(self, evaluations: Sequence[FullEvaluation]) -> list[Trial]:
        found = []
        for one in evaluations:
            point = Point(one.point)
            observations = tuple(observation_of(point, to_json(outcome)) for outcome in one.outcomes)
            found.append(Trial(one.number, self._ask(point), observations))
        return found


def _records(trials: Sequence[Trial]) -> tuple[FullEvaluation, ...]:
    return tuple(
        FullEvaluation(
            point=dict(trial.ask.point),
            number=trial.number,
            outcomes=tuple(outcome_of(observation_json(seen)) for seen in trial.observations),
        )
        for trial in trials
    )
