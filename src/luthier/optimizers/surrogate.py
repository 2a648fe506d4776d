"""What the MIPRO family shares: minibatch trials guided by TPE, and full evaluations of the most promising."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from luthier.errors import ConfigError
from luthier.evaluation.splits import blocks
from luthier.propose.bootstrap import BootstrapSettings
from luthier.runner.facts import Facts, SearchPlan
from luthier.runner.sizes import CANDIDATES, check_counts, check_preset, closing_evaluations, demo_settings
from luthier.runner.steps import Steps
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

PAPER_STARTUP = 10
"""Random trials before TPE guides, Optuna's default, which the paper's release keeps."""


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
    startup: int
    """Random trials before the surrogate guides."""
    full_evaluations: int
    """Full evaluations, apart from the original's."""


@dataclass(frozen=True, slots=True)
class SurrogateSettings:
    """Settings of a search by minibatch trials; those left at None are chosen from the data and the budget.

    Args:
        candidates: N, how many instructions or demo sets each variable can choose from.
        trials: minibatch trials.
        minibatch: B, how many examples a trial is scored on.
        full_every: S, a full evaluation of the best mean every S trials; None: none on the way.
        closing: how many points are scored in full at the end; beside ``full_every`` one, and none in the paper preset.
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
        check_preset(self.preset)

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
        paper, every, n = self.preset == "paper", self.full_every, facts.n_val
        closing = self.closing or (closing_evaluations(facts) if every is None else int(not paper))
        variables = facts.n_predictors * (self.tunes_instructions + self.tunes_demos)
        wanted = self.minibatch or minibatch_size(facts.evaluations, n, variables, closing)
        minibatch = min(wanted, n)
        if every is None:
            trials = trials_for(facts.evaluations, n, minibatch, closing)
        else:
            trials = paper_trials(
                facts.evaluations // n if paper else facts.evaluations / n - closing, n, minibatch, every
            )
        trials = self.trials or max(1, trials)
        return Shape(
            candidates=self.candidates or CANDIDATES[facts.auto],
            trials=trials,
            minibatch=minibatch,
            closing=closing,
            full_every=every,
            batch=1 if facts.sequential or paper else batch_size(minibatch, trials),
            halving=self.trials is None and every is None and trials < MIN_TRIALS,
            startup=PAPER_STARTUP if paper else startup_trials(trials),
            full_evaluations=closing + (0 if every is None else self._on_the_way(trials - bool(closing), every)),
        )

    def _on_the_way(self, trials: int, every: int) -> int:
        """Return how many full evaluations come between trials; the paper's first one follows the first trial."""
        return math.ceil(trials / every) if self.preset == "paper" else trials // every

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
        return demo_settings(candidates, facts)

    def suggest(self, shape: Shape) -> Suggest:
        """Return what chooses points: multivariate TPE (MIPRO §3.2 "Surrogate")."""
        if self.preset == "paper":
            return TPE(startup=shape.startup, adjust=False, explore_only=True)
        return TPE(startup=shape.startup)

    def strategy(self, steps: Steps, anchors: Sequence[Point] = ()) -> Strategy:
        """Return TPE under the minibatch schedule, or successive halving where trials are few.

        Args:
            steps: what the strategy searches on.
            anchors: points to begin with, in place of as many random ones; the paper preset has none.
        """
        shape = self.shape(steps.facts)
        parts = blocks(steps.scoring, shape.minibatch, steps.seed)
        if shape.halving:
            return SuccessiveHalving(
                RandomSearch(),
                examples=steps.scoring_ids,
                blocks=parts,
                budget=shape.trials * shape.minibatch,
                closing=shape.closing,
            )
        return MinibatchSchedule(
            self.suggest(shape),
            examples=steps.scoring_ids,
            blocks=parts,
            trials=shape.trials,
            full_every=shape.full_every,
            closing=shape.closing,
            first_full=self.preset == "paper",
            batch=shape.batch,
            anchors=() if self.preset == "paper" else tuple(anchors[: shape.startup]),
        )
