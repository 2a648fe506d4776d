"""Where rollouts are made: in this process, or wherever an executor takes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from luthier.evaluation.data import Row
from luthier.evaluation.metrics import Metric
from luthier.evaluation.rollout import Job, Rollout
from luthier.lm.gateway import Gateway
from luthier.lm.lm import LM
from luthier.program.context import Run
from luthier.program.lms import LMs
from luthier.program.program import Program
from luthier.types import Role

if TYPE_CHECKING:
    from luthier.program.component import Component


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Workplace:
    """What all rollouts of one evaluator share."""

    program: Program
    metric: Metric
    lm: LM
    """The run's own: it judges."""
    gateway: Gateway
    known: frozenset[str]
    """Names of the components that are known beforehand."""
    concurrency: int
    """How many rollouts are handed out at one time."""
    on_new: Callable[[Component], None]
    """Told of each component whose name is not known."""

    def assignment(self, job: Job, row: Row, lms: LMs, role: Role, *, first: bool) -> Assignment:
        """Return a rollout to be made here."""
        run = Run(
            self.lm,
            self.gateway,
            candidate=job.candidate,
            role=role,
            repeat=job.repeat,
            example=job.example,
            temperature=job.temperature,
            lms=lms,
            bypass_cache=job.bypass_cache,
            known=self.known,
            on_new=self.on_new,
        )
        return Assignment(job, row, lms, role, first, run)


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """One rollout to be made."""

    job: Job
    row: Row
    lms: LMs
    """Who answers which predictor."""
    role: Role
    first: bool
    """It is the very first one: an error of the program ends the study."""
    run: Run
    """What the program and the metric find themselves in."""


class Executor(Protocol):
    """Makes rollouts, each exactly as ``luthier.evaluation.making.make_rollout`` would."""

    async def rollout(self, workplace: Workplace, assignment: Assignment) -> Rollout:
        """Make one rollout; cancelling it leaves nothing running that would cost more.

        Raises:
            LuthierError: what ends more than this rollout.
        """
        ...
