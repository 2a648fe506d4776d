"""Bootstrap Random Search: many demo sets, each scored in full, the best kept (MIPRO §4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from luthier.errors import ConfigError
from luthier.propose.bootstrap import BootstrapSettings
from luthier.runner.facts import Facts, SearchPlan
from luthier.runner.sizes import check_counts, check_preset, demo_sizes
from luthier.runner.steps import Steps
from luthier.search.random import RandomSearch
from luthier.search.schedule import FullSchedule
from luthier.search.trial import Trial


@dataclass(frozen=True, slots=True)
class BootstrapRandomSearch:
    """Bootstrap Random Search: many demo sets, each scored in full, the best kept (MIPRO §4.1).

    The steps, in order::

        demo sets  ← bootstrap(teacher, train)    N sets over all predictors, from the same traces
        space      ← one variable: the set
        score every set in full; return the best, the original among them

    Args:
        candidates: N, how many sets are scored, the zero-shot one included; None takes what the budget allows.
        demo_sizes: how many demos each set has, where N should not decide.
        preset: ``"ours"`` or ``"paper"``: then N counts the zero-shot, the labels-only, and the unshuffled set,
            sizes are random in 1..K, and sets are scored on the training data (paper §4.1 and its release).
    """

    candidates: int | None = None
    demo_sizes: tuple[int, ...] | None = None
    preset: Literal["ours", "paper"] = "ours"

    tunes_instructions: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_counts(self, "candidates")
        check_preset(self.preset)
        if self.candidates == 1:
            raise ConfigError(f"candidates={self.candidates}: must be at least 2, the zero-shot set included")

    @staticmethod
    def paper() -> BootstrapRandomSearch:
        """Return the paper's settings; N is the budget in full evaluations."""
        return BootstrapRandomSearch(preset="paper")

    @property
    def name(self) -> str:
        """The name it is asked for by."""
        return "bootstrap-random-search/paper" if self.preset == "paper" else "bootstrap-random-search"

    @property
    def scores_on_train(self) -> bool:
        """The paper scores candidates on the data it takes demos from."""
        return self.preset == "paper"

    def sets(self, facts: Facts) -> int:
        """Return N: every set costs one full evaluation, but the original's zero-shot set is scored already.

        In the paper's count the zero-shot set's evaluation is one of the N that the budget buys.
        """
        bought = facts.evaluations // facts.n_val
        return self.candidates or max(2, bought if self.preset == "paper" else bought + 1)

    def plan(self, facts: Facts) -> SearchPlan:
        """Return what the search will do."""
        settings, trials = self.bootstrap_settings(facts), self.sets(facts) - 1
        return SearchPlan(
            trials=trials,
            bootstrap_rollouts=settings.most_rollouts(facts.n_train),
            search_rollouts=trials * facts.n_val,
            largest_demo_set=settings.largest,
        )

    def bootstrap_settings(self, facts: Facts) -> BootstrapSettings:
        """Return how the sets are collected; K = 4 in the paper preset, which the paper leaves open."""
        count = self.sets(facts)
        if self.preset == "paper":
            return BootstrapSettings.paper(count, max_bootstrapped=4, max_labeled=4)
        return BootstrapSettings(sizes=self.demo_sizes or demo_sizes(count, facts.largest_demo_set))

    async def run(self, steps: Steps) -> Sequence[Trial]:
        """Search; every trial is a full evaluation."""
        bootstrapped = await steps.bootstrap(self.bootstrap_settings(steps.facts))
        choices = await steps.space(demo_sets=bootstrapped.sets, tied=True)
        strategy = FullSchedule(RandomSearch(), examples=steps.scoring_ids, trials=self.sets(steps.facts) - 1)
        return await steps.loop(choices, strategy, batch=1)
