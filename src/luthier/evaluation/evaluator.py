"""The evaluator: rollouts, many at a time, each ending in one of four ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from luthier.errors import ConfigError, StudyPaused
from luthier.evaluation.data import Row
from luthier.evaluation.executor import Executor, Workplace
from luthier.evaluation.making import Here
from luthier.evaluation.metrics import Metric
from luthier.evaluation.rollout import Evaluation, Job, Outcome, Rollout
from luthier.program.lms import LMs, resolve
from luthier.program.predictor import Predictor
from luthier.types import Role
from luthier.watching import watched

if TYPE_CHECKING:
    from luthier.lm.gateway import Gateway
    from luthier.lm.lm import LM
    from luthier.program.candidate import Candidate
    from luthier.program.component import Component
    from luthier.program.program import Program


class Evaluator:
    """Runs candidates of one program on rows and scores what they return.

    Args:
        program: the program.
        metric: a ``Metric``, or what one is made of.
        rows: all rows that jobs may name, by id.
        lm: who answers, and whose own LM judges where a judge has none.
        gateway: where requests leave.
        concurrency: how many rollouts run at one time.
        on_rollout: told of every rollout when it ends.

    Attributes:
        executor: who makes the rollouts; this process unless another is set before the first.
        met: components first met while running; they ran as they are in the program.
        closed: no predictor met while running may bring an LM of its own, since nobody has counted it beforehand.
        proven: a rollout has ended without an error of the program. Until then the first job's error ends the study;
            set it where an earlier session has seen to that.

    Raises:
        ConfigError: ``concurrency`` is below 1.
        MetricError: the metric is of the wrong shape.
    """

    def __init__(
        self,
        program: Program,
        metric: Callable[..., Any] | Metric,
        rows: Mapping[str, Row],
        lm: LM | LMs,
        gateway: Gateway,
        *,
        concurrency: int,
        on_rollout: Callable[[Rollout], None] | None = None,
    ) -> None:
        if concurrency < 1:
            raise ConfigError(f"concurrency={concurrency}: at least one rollout must run at a time")
        self.program = program
        self.metric = Metric.of(metric)
        self.rows = rows
        self.lms = lm if isinstance(lm, LMs) else resolve(lm, program.predictors)
        self.gateway = gateway
        self.concurrency = concurrency
        self.met: set[Component] = set()
        self.closed = False
        self.proven = False
        self._on_rollout = on_rollout
        self.executor: Executor = Here()
        known = frozenset(component.name for component in program.components)
        self._workplace = Workplace(program, self.metric, self.lms.default, gateway, known, concurrency, self._meet)
        # Shared by all calls of ``rollouts`` that run at one time.
        self._room = asyncio.Semaphore(concurrency)

    async def evaluate(self, candidate: Candidate, ids: Sequence[str], *, repeats: int = 1) -> Evaluation:
        """Run a candidate on examples, each ``repeats`` times.

        Raises:
            LuthierError: as ``rollouts``.
        """
        jobs = [Job(candidate, id, repeat) for id in ids for repeat in range(repeats)]
        return Evaluation(candidate, tuple(await self.rollouts(jobs)))

    async def rollouts(
        self, jobs: Sequence[Job], *, lm: LM | LMs | None = None, role: Role = Role.TASK
    ) -> list[Rollout]:
        """Make rollouts, in any order, and return them in the order of ``jobs``.

        Args:
            jobs: what to run. A candidate's examples run one after the other, so servers keep its prefix.
            lm: who answers instead of the usual LMs; one LM answers every predictor. Judges stay the same.
            role: on whose behalf.

        Raises:
            RequestRejected, BudgetExhausted, StudyPaused: no rollout can go on; the others are cancelled.
            ProgramFailed: the metric raised, or the program did in the very first rollout.
            MetricError: the metric returned something that is no score.
        """
        lms = self.lms if lm is None else lm if isinstance(lm, LMs) else LMs(lm, alone=True)
        done: list[Rollout | None] = [None] * len(jobs)
        proving = None if self.proven else 0
        waiting = iter(_candidates_together(jobs))

        async def work() -> None:
            for index in waiting:
                async with self._room:
                    rollout = await self._rollout(jobs[index], lms, role, first=index == proving)
                if index == proving and rollout.outcome is not Outcome.UNSCORED:
                    self.proven = True
                done[index] = rollout
                if self._on_rollout is not None:
                    self._on_rollout(rollout)

        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.concurrency, len(jobs))):
                    group.create_task(work())
        except BaseExceptionGroup as failures:
            failure = failures
            while isinstance(failure, BaseExceptionGroup):
                failure = failure.exceptions[0]
        if failure is not None:  # outside of the handler, so that its own cause stays its context
            raise failure
        return [rollout for rollout in done if rollout is not None]

    async def _rollout(self, job: Job, lms: LMs, role: Role, *, first: bool) -> Rollout:
        assignment = self._workplace.assignment(job, self.rows[job.example], lms, role, first=first)
        run, row = assignment.run, assignment.row
        with watched("rollout", job=job, run=run, row=row, program=self.program) as told:
            told["rollout"] = rollout = await self.executor.rollout(self._workplace, assignment)
        return rollout

    def _meet(self, component: Component) -> None:
        self.met.add(component)
        if self.closed and isinstance(component, Predictor) and component.lm is not None and not self.lms.alone:
            raise ConfigError(
                f"predictor {component.name!r} brings an LM of its own, but could not be found by reading the program, "
                "so the plan has not counted it: name the program's predictors with predictors=[...]"
            )


async def scored_rollouts(evaluator: Evaluator, jobs: Sequence[Job]) -> list[Rollout]:
    """Run rollouts until every one has a score; the unscored are tried once more.

    Raises:
        StudyPaused: some stayed unscored. What was scored is in the store and costs nothing again.
    """
    rollouts = await evaluator.rollouts(jobs)
    missing = [index for index, rollout in enumerate(rollouts) if rollout.outcome is Outcome.UNSCORED]
    if not missing:
        return rollouts
    again = await evaluator.rollouts([jobs[index] for index in missing])
    for index, rollout in zip(missing, again, strict=True):
        rollouts[index] = rollout
    unscored = [rollout for rollout in again if rollout.outcome is Outcome.UNSCORED]
    if unscored:
        raise StudyPaused(
            f"{len(unscored)} of {len(jobs)} rollouts got no answer, even when tried again "
            f"(the first: {unscored[0].error}). Nothing was scored for them; resume when the LM answers again."
        )
    return rollouts


def _candidates_together(jobs: Sequence[Job]) -> list[int]:
    """Return the indices of jobs, those of one candidate adjacent, candidates in order of first appearance."""
    keys: dict[int, str] = {}
    places: dict[str, int] = {}
    order: list[tuple[int, int]] = []
    for index, job in enumerate(jobs):
        if id(job.candidate) not in keys:
            keys[id(job.candidate)] = job.candidate.key
        order.append((places.setdefault(keys[id(job.candidate)], len(places)), index))
    return [index for _, index in sorted(order)]
