"""What an optimizer decides its numbers by, and how much it will do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from luthier.lm.profile import Profile

Auto = Literal["light", "medium", "heavy"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known when an optimizer must fix its numbers."""

    n_train: int
    n_val: int
    n_test: int
    n_predictors: int
    auto: Auto
    evaluations: int
    """Program runs the search may spend, closing full evaluations included."""
    largest_demo_set: int = 18
    """How many demos a prompt has room for."""
    sequential: bool = False
    """Trials run one at a time (embedded LM)."""
    starts: int = 0
    """Prompts to start from, apart from those deployed: each is scored in full."""
    task: Profile = Profile.ABLE
    """Of the LMs that run the program."""
    proposer: Profile = Profile.ABLE
    labelled: bool = True
    """Whether the right answer of some predictor is known: by a metric of its own, or a column of its output's name."""

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON, for the journal."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Facts:
        """Read facts back."""
        profiles = {name: Profile(data[name]) for name in ("task", "proposer") if name in data}
        return Facts(**{**data, **profiles})


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How much of what a search will do, for the plan shown before money is spent."""

    trials: int = 0
    """Trials of the search, full evaluations included."""
    bootstrap_rollouts: int = 0
    proposer_calls: int = 0
    search_rollouts: int = 0
    closing_rollouts: int = 0
    closing: int = 0
    """Full evaluations that must not be left out at the end."""
    largest_demo_set: int = 0
    """Most demos that a candidate's prompt may have."""
    surrogate_trials: int = 0
    """Trials whose point the surrogate really chooses (after its random start-up)."""
    notes: tuple[str, ...] = ()
