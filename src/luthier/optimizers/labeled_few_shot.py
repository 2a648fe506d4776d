"""Labelled few-shot: one set of K labelled demos, no search. The control that every search has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from luthier.errors import ConfigError
from luthier.propose.bootstrap import BootstrapSettings
from luthier.runner.facts import Facts, SearchPlan
from luthier.runner.steps import Steps
from luthier.search.random import RandomSearch
from luthier.search.schedule import FullSchedule
from luthier.search.trial import Trial


@dataclass(frozen=True, slots=True)
class LabeledFewShot:
    """Labelled few-shot: one set of K labelled demos, no search. The control that every search has to beat.

    The steps, in order::

        demo set ← K training examples, balanced by label; only where rows lack a predictor's inputs, from its runs
        score it in full; return it, or the original where that is better

    Args:
        demos: K.
    """

    demos: int = 16

    tunes_instructions: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.demos, int) or self.demos < 1:
            raise ConfigError(f"LabeledFewShot(demos={self.demos!r}): must be a whole number from 1 on")

    @property
    def name(self) -> str:
        """The name it is asked for by."""
        return "labeled-few-shot"

    @property
    def scores_on_train(self) -> bool:
        """It has nothing to choose, so it may be scored on validation rows."""
        return False

    def plan(self, facts: Facts) -> SearchPlan:
        """Return what the search will do."""
        rollouts = self.bootstrap_settings.most_rollouts(facts.n_train)
        return SearchPlan(
            trials=1, bootstrap_rollouts=rollouts, search_rollouts=facts.n_val, largest_demo_set=self.demos
        )

    @property
    def bootstrap_settings(self) -> BootstrapSettings:
        """How the one set is collected."""
        return BootstrapSettings(sizes=(0, self.demos), labeled=self.demos, rounds=0)

    async def run(self, steps: Steps) -> Sequence[Trial]:
        """Score the one set."""
        bootstrapped = await steps.bootstrap(self.bootstrap_settings)
        choices = await steps.space(demo_sets=bootstrapped.sets, tied=True)
        strategy = FullSchedule(RandomSearch(), examples=steps.scoring_ids, trials=1)
        return await steps.loop(choices, strategy, batch=1)
