"""What an optimizer is: settings that become a shape once the data and the budget are known, and a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from luthier.runner.facts import Facts, SearchPlan
from luthier.runner.steps import Steps
from luthier.search.trial import Trial


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

    async def run(self, steps: Steps) -> Sequence[Trial]:
        """Search; return all trials."""
        ...
