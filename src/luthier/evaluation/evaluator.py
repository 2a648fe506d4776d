"""The evaluator: rollouts, many at a time, each ending in one of four ways."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.errors import ConfigError, LuthierError, ProgramFailed, Unparseable
from luthier.evaluation.data import Row, fresh
from luthier.evaluation.faults import cause_of, is_infrastructure, one_line, user_traceback
from luthier.evaluation.metrics import Metric
from luthier.evaluation.rollout import Evaluation, Job, Outcome, Rollout, Score
from luthier.lm.user_code import in_daemon_thread
from luthier.program.context import Run, running
from luthier.program.lms import LMs, resolve
from luthier.program.predictor import Predictor
from luthier.program.run import run_program
from luthier.program.trace import Trace
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
        self._known = frozenset(component.name for component in program.components)
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
        row = self.rows[job.example]
        run = Run(
            self.lms.default,
            self.gateway,
            candidate=job.candidate,
            role=role,
            repeat=job.repeat,
            example=job.example,
            temperature=job.temperature,
            lms=lms,
            anew=job.anew,
            known=self._known,
            on_new=self._meet,
        )
        with watched("rollout", job=job, run=run, row=row, program=self.program) as told:
            told["rollout"] = rollout = await self._made(job, row, run, lms, first=first)
        return rollout

    async def _made(self, job: Job, row: Row, run: Run, lms: LMs, *, first: bool) -> Rollout:
        started = time.perf_counter()
        judged: _Judged | Exception
        try:
            judged = await self._judged(row, run)
        except Exception as error:  # noqa: BLE001 - the boundary to the user's program
            judged = error
        except (asyncio.CancelledError, SystemExit) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            # User code cancelled itself, or would leave: that ends this rollout, and not its worker in silence.
            judged = RuntimeError(f"user code raised {error!r}")
        if run.failures:  # whatever user code made of them
            judged = ExceptionGroup("no answer", run.failures)
        if isinstance(judged, Exception):
            found = self._program_failed(judged, row, first=first)
        else:
            found = self._read(judged, row)
        seconds = time.perf_counter() - started
        return Rollout(
            job,
            found.outcome,
            found.score,
            found.prediction,
            run.trace,
            found.error,
            found.traceback,
            seconds,
            found.blamed,
            lms.mixed,
        )

    def _meet(self, component: Component) -> None:
        self.met.add(component)
        if self.closed and isinstance(component, Predictor) and component.lm is not None and not self.lms.alone:
            raise ConfigError(
                f"predictor {component.name!r} brings an LM of its own, but could not be found by reading the program, "
                "so the plan has not counted it: name the program's predictors with predictors=[...]"
            )

    async def _judged(self, row: Row, run: Run) -> _Judged:
        """Run the program, then the metric: in the program's own thread, on the loop, or in a thread of its own."""

        def judge(prediction: Any, trace: Trace) -> _Judged:
            with running(run.judge()):
                try:
                    return _Judged(prediction, self.metric.call(row.example, prediction, trace))
                except Exception as error:  # noqa: BLE001 - the boundary to the user's metric
                    return _Judged(prediction, None, error)

        inputs = fresh(dict(row.inputs))
        judged: _Judged
        if self.metric.is_quick or (not self.metric.is_async and not self.program.is_async):
            judged = await run_program(self.program, inputs, run, judge)
        else:
            prediction = await run_program(self.program, inputs, run, _only_prediction)
            if self.metric.is_async:
                judged = judge(prediction, run.trace)
            else:
                judged = await in_daemon_thread(lambda: judge(prediction, run.trace))
        if not inspect.isawaitable(judged.returned):
            return judged
        with running(run.judge()):
            try:
                return _Judged(judged.prediction, await judged.returned)
            except Exception as error:  # noqa: BLE001 - the boundary to the user's metric
                return _Judged(judged.prediction, None, error)

    def _read(self, judged: _Judged, row: Row) -> _Found:
        """Return the metric's score, or find out why there is none."""
        if judged.error is None:
            return _Found(Outcome.SCORED, self.metric.read(judged.returned, row.example), judged.prediction)
        cause = cause_of(judged.error)
        # A judge that cannot be read is infrastructure, too: a failed judge is never a score.
        if is_infrastructure(cause) or isinstance(cause, Unparseable):
            return _Found(Outcome.UNSCORED, None, judged.prediction, f"metric: {one_line(cause)}")
        if isinstance(cause, LuthierError):
            raise cause
        raise ProgramFailed(
            f"the metric {self.metric.name} raised {one_line(cause)}\non the example {row.example!r:.1000}\n"
            f"and the prediction {judged.prediction!r:.1000}\n\n{user_traceback(judged.error)}"
        ) from judged.error

    def _program_failed(self, error: Exception, row: Row, *, first: bool) -> _Found:
        """Classify what the program raised; re-raise what ends more than this rollout."""
        cause = cause_of(error)
        if isinstance(cause, Unparseable):
            return _Found(Outcome.UNPARSEABLE, Score(0.0), None, one_line(cause), blamed=cause.predictor)
        if is_infrastructure(cause):
            return _Found(Outcome.UNSCORED, None, None, one_line(cause))
        if isinstance(cause, LuthierError):
            raise cause
        told = user_traceback(error)
        if first:
            raise ProgramFailed(
                f"the program {self.program.name} raised {one_line(cause)} in its very first run\n"
                f"on the example {row.example!r:.1000}\n\n{told}"
            ) from error
        return _Found(Outcome.ERROR, Score(0.0), None, one_line(cause), told)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A prediction and what the metric returned for it, or raised."""

    prediction: Any
    returned: Any
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """How a rollout ended."""

    outcome: Outcome
    score: Score | None
    prediction: Any
    error: str = ""
    traceback: str = ""
    blamed: str = ""


def _only_prediction(prediction: Any, trace: Trace) -> Any:
    return prediction


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
