"""What the OPRO family shares: rounds of proposals that learn from scores, each program scored in full (MIPRO F.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from luthier.propose.bootstrap import BootstrapSettings
from luthier.propose.grounding import GroundingSettings
from luthier.propose.history import ScoredInstruction
from luthier.propose.instructions import InstructionPool
from luthier.runner.candidates import Choices
from luthier.runner.facts import Facts, SearchPlan
from luthier.runner.sizes import check_counts, check_preset
from luthier.search.space import Point
from luthier.search.trial import Purpose, Trial, in_order
from luthier.study.events import ArrivalEvent

DEMOS_SHOWN = 3
"""Bootstrapped demos the proposer is shown (the authors' release; the paper does not say)."""
MOST_SETS = 10
"""Demo sets that the rounds draw from, one after the other."""
TRIES = 8
"""A round that brings nothing is a trial lost, so a rejected proposal is asked for more often than MIPRO asks."""
PAPER_GROUNDING = GroundingSettings(history=True, tries=TRIES, rules=False)
"""What the proposer is shown in the paper presets."""


@dataclass(frozen=True, slots=True)
class OPROSettings:
    """Settings of a search whose proposer sees the scores of earlier instructions.

    Args:
        rounds: programs proposed and scored; None takes what the budget allows.
        grounding: what the proposer is shown, the history of instructions and scores among it.
        preset: ``"ours"`` or ``"paper"``; the latter scores on the training data, leaks as the paper did.
    """

    rounds: int | None = None
    grounding: GroundingSettings = field(default_factory=lambda: GroundingSettings(history=True, tries=TRIES))
    preset: Literal["ours", "paper"] = "ours"

    label: ClassVar[str] = "opro-family"
    tunes_demos: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_counts(self, "rounds")
        check_preset(self.preset)

    @property
    def name(self) -> str:
        """The name it is asked for by."""
        return f"{self.label}/paper" if self.preset == "paper" else self.label

    @property
    def scores_on_train(self) -> bool:
        """The paper scores candidates on the data it takes demos from."""
        return self.preset == "paper"

    def count(self, facts: Facts) -> int:
        """Return the full evaluations there are, apart from the original's."""
        return self.rounds or max(1, facts.evaluations // facts.n_val)

    def plan(self, facts: Facts) -> SearchPlan:
        """Return what the search will do."""
        trials, demos = self.count(facts), self.bootstrap_settings(facts)
        return SearchPlan(
            trials=trials,
            bootstrap_rollouts=demos.most_rollouts(facts.n_train) if facts.largest_demo_set else 0,
            proposer_calls=self.proposer_calls(facts),
            search_rollouts=trials * facts.n_val,
        )

    def proposer_calls(self, facts: Facts) -> int:
        """Return how many proposer calls are made at most."""
        return self.grounding.most_calls(facts.n_train, facts.n_predictors, 1 + self.count(facts))

    def bootstrap_settings(self, facts: Facts) -> BootstrapSettings:
        """Return how the demos are collected that only the proposer sees."""
        sets = min(MOST_SETS, 1 + self.count(facts))
        if self.preset == "paper":
            return BootstrapSettings.paper(sets, max_bootstrapped=DEMOS_SHOWN, max_labeled=0)
        return BootstrapSettings(sizes=(0, *(DEMOS_SHOWN,) * (sets - 1)))


def full_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Return the full evaluations by number, the original's first."""
    return [trial for trial in in_order(trials) if trial.ask.purpose is Purpose.FULL]


def best_full(trials: Sequence[Trial]) -> Point:
    """Return the point of the best full evaluation; ties go to the first."""
    return max(full_trials(trials), key=lambda trial: (trial.mean, -trial.number)).ask.point


def instruction_scores(
    choices: Choices, trials: Sequence[Trial], original: Mapping[str, str]
) -> dict[str, tuple[ScoredInstruction, ...]]:
    """Return, by predictor, the instruction and the program's score of every trial, by number (MIPRO §4.2, F.3).

    The program's score stands for every predictor's: that is how OPRO's proposer comes to credit each of them.
    """
    told = [({**original, **choices.instructions(trial.ask.point)}, trial.mean) for trial in in_order(trials)]
    return {name: tuple(ScoredInstruction(texts[name], score) for texts, score in told) for name in original}


def known(scores: Mapping[str, Sequence[ScoredInstruction]]) -> dict[str, list[str]]:
    """Return the instructions that have a score, by predictor."""
    return {name: [item.text for item in items] for name, items in scores.items()}


def new_instructions(pool: InstructionPool) -> dict[str, list[dict[str, Any]]]:
    """Return the payloads of a pool's proposals by variable, the originals left out."""
    return {
        f"{name}.instruction": [{"predictor": name, "instruction": proposal.text} for proposal in proposals[1:]]
        for name, proposals in pool.predictors.items()
        if len(proposals) > 1
    }


def with_remarks(arrival: ArrivalEvent, pool: InstructionPool) -> ArrivalEvent:
    """Return an arrival with what was rejected on the way to it."""
    told = pool.to_json()
    return replace(arrival, **{name: told[name] for name in ("rejected", "warnings", "rejections")})
