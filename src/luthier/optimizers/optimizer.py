"""What an optimizer is: settings that become a shape once the data and the budget are known, and a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from luthier.search.trial import Trial

if TYPE_CHECKING:
    from luthier.optimizers.workbench import Workbench

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


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How much of what a search will do, for the plan shown before money is spent."""

    bootstrap_rollouts: int = 0
    proposer_calls: int = 0
    search_rollouts: int = 0
    closing_rollouts: int = 0
    surrogate_trials: int = 0
    """Trials whose point the surrogate really chooses (after its random start-up)."""
    notes: tuple[str, ...] = ()


class Optimizer(Protocol):
    """A whole recipe from a program and data to trials, as frozen settings."""

    @property
    def name(self) -> str:
        """The name by which it is asked for, e.g. ``mipro``."""
        ...

    @property
    def scores_on_train(self) -> bool:
        """Whether candidates are compared on the training data, leaks included, as the paper did."""
        ...

    def plan(self, facts: Facts) -> SearchPlan:
        """Return what the search will do."""
        ...

    async def run(self, bench: Workbench) -> Sequence[Trial]:
        """Search; return all trials."""
        ...
