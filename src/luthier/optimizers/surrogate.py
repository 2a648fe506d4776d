"""What the MIPRO family shares: minibatch trials guided by TPE, and full evaluations of the most promising."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from luthier.errors import ConfigError
from luthier.evaluation.splits import blocks
from luthier.optimizers.optimizer import Facts, SearchPlan
from luthier.optimizers.shape import CANDIDATES, check_counts, closing_evaluations, demo_sizes
from luthier.optimizers.workbench import Workbench
from luthier.propose.bootstrap import BootstrapSettings
from luthier.search.halving import SuccessiveHalving, plan_rungs
from luthier.search.random import RandomSearch
from luthier.search.schedule import (
    MIN_TRIALS,
    MinibatchSchedule,
    batch_size,
    minibatch_size,
    paper_trials,
    trials_for,
)
from luthier.search.space import Point
from luthier.search.tpe import TPE, startup_trials
from luthier.search.trial import Strategy, Suggest


@dataclass(frozen=True, slots=True)
class Shape:
    """Settings with every number decided."""

    candidates: int
    trials: int
    minibatch: int
    closing: int
    full_every: int | None
    batch: int
    halving: bool

    @property
    def startup(self) -> int:
        """Random trials before the surrogate guides."""
        return startup_trials(self.trials)

    @property
    def full_evaluations(self) -> int:
        """Full evaluations, apart from the original's."""
        return self.closing if self.full_every is None else math.ceil(self.trials / self.full_every)


@dataclass(frozen=True, slots=True)
class SurrogateSettings:
    """Settings of a search by minibatch trials; those left at None are chosen from the data and the budget.

    Args:
        candidates: N, how many instructions or demo sets each variable can choose from.
        trials: minibatch trials.
        minibatch: B, how many examples a trial is scored on.
        full_every: S, a full evaluation of the best mean every S trials; None scores ``closing`` points at the end.
        closing: how many points are scored in full at the end.
        frozen: variables left as they are, e.g. ``"answer.demos"``.
        preset: ``"ours"`` or ``"paper"``; the latter scores on the training data, leaks as the paper did, and
            makes its first full evaluation at trial 0.
    """

    candidates: int | None = None
    trials: int | None = None
    minibatch: int | None = None
    full_every: int | None = None
    closing: int | None = None
    frozen: tuple[str, ...] = ()
    preset: Literal["ours", "paper"] = "ours"

    label: ClassVar[str] = "surrogate"
    tunes_instructions: ClassVar[bool] = True
    tunes_demos: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_counts(self, "candidates", "trials", "minibatch", "full_every", "closing")
        if isinstance(self.frozen, str):
            raise ConfigError(f"frozen={self.frozen!r}: must be a tuple of names, ({self.frozen!r},)")
        if self.preset not in ("ours", "paper"):
            raise ConfigError(f"preset={self.preset!r}: must be 'ours' or 'paper'")

    @property
    def name(self) -> str:
        """The name it is asked for by."""
        return f"{self.label}/paper" if self.preset == "paper" else self.label

    @property
    def scores_on_train(self) -> bool:
        """The paper scores candidates on the data it takes demos from."""
        return self.preset == "paper"

    def shape(self, facts: Facts) -> Shape:
        """Decide every number (design §3 "The schedule at small budgets"; paper preset: T_mb of Table 4)."""
        closing = self.closing if self.closing is not None else closing_evaluations(facts)
        variables = facts.n_predictors * (self.tunes_instructions + self.tunes_demos)
        wanted = self.minibatch or minibatch_size(facts.evaluations, facts.n_val, variables, closing)
        minibatch = min(wanted, facts.n_val)
        if self.full_every is not None:
            trials = paper_trials(facts.evaluations // facts.n_val, facts.n_val, minibatch, self.full_every)
            closing = 0
        else:
            trials = trials_for(facts.evaluations, facts.n_val, minibatch, closing)
        trials = self.trials or max(1, trials)
        one_by_one = facts.sequential or self.preset == "paper"
        return Shape(
            candidates=self.candidates or CANDIDATES[facts.auto],
            trials=trials,
            minibatch=minibatch,
            closing=closing,
            full_every=self.full_every,
            batch=1 if one_by_one else batch_size(minibatch, trials),
            halving=self.trials is None and self.full_every is None and trials < MIN_TRIALS,
        )

    def plan(self, facts: Facts) -> SearchPlan:
        """Return what the search will do."""
        shape = self.shape(facts)
        demos = self.bootstrap_settings(facts)
        notes = []
        if shape.halving:
            notes.append(f"too few minibatch trials for a surrogate ({shape.trials}): successive halving instead")
        return SearchPlan(
            trials=self._explored(shape, facts) + shape.full_evaluations,
            bootstrap_rollouts=demos.most_rollouts(facts.n_train) if facts.largest_demo_set else 0,
            proposer_calls=self.proposer_calls(facts),
            search_rollouts=shape.trials * shape.minibatch,
            closing_rollouts=shape.full_evaluations * facts.n_val,
            closing=shape.closing,
            largest_demo_set=demos.largest if self.tunes_demos else 0,
            surrogate_trials=0 if shape.halving else max(0, shape.trials - shape.startup),
            notes=tuple(notes),
        )

    def _explored(self, shape: Shape, facts: Facts) -> int:
        if not shape.halving:
            return shape.trials
        rungs = plan_rungs(shape.trials * shape.minibatch, facts.n_val, shape.closing)
        return sum(rung.points for rung in rungs)

    def proposer_calls(self, facts: Facts) -> int:
        """Return how many proposer calls are made at most."""
        return 0

    def bootstrap_settings(self, facts: Facts) -> BootstrapSettings:
        """Return how demo sets are collected; K = 4 in the paper preset, which the paper leaves open."""
        candidates = self.shape(facts).candidates
        if self.preset == "paper":
            return BootstrapSettings.paper(candidates, max_bootstrapped=4, max_labeled=4)
        return BootstrapSettings(sizes=demo_sizes(candidates, facts.largest_demo_set))

    def suggest(self, shape: Shape) -> Suggest:
        """Return what chooses points: multivariate TPE (MIPRO §3.2 "Surrogate")."""
        if self.preset == "paper":
            return TPE(startup=10, adjust=False, explore_only=True)
        return TPE(startup=shape.startup)

    def strategy(self, bench: Workbench, anchors: Sequence[Point] = ()) -> Strategy:
        """Return TPE under the minibatch schedule, or successive halving where trials are few.

        Args:
            bench: what the strategy searches on.
            anchors: points to begin with, in place of as many random ones; the paper preset has none.
        """
        shape = self.shape(bench.facts)
        parts = blocks(bench.scoring, shape.minibatch, bench.seed)
        if shape.halving:
            return SuccessiveHalving(
                RandomSearch(),
                examples=bench.scoring_ids,
                blocks=parts,
                budget=shape.trials * shape.minibatch,
                closing=shape.closing,
            )
        return MinibatchSchedule(
            self.suggest(shape),
            examples=bench.scoring_ids,
            blocks=parts,
            trials=shape.trials,
            full_every=shape.full_every,
            closing=shape.closing,
            first_full=self.preset == "paper",
            batch=shape.batch,
            anchors=() if self.preset == "paper" else tuple(anchors[: shape.startup]),
        )
