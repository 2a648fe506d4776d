"""One rollout, made here: the program and its metric run in this process, and what came of them is sorted."""

from __future__ import annotations

import asyncio
import inspect
import time
from dataclasses import dataclass, replace
from typing import Any

from luthier.errors import ConfigError, LuthierError, ProgramFailed, Unparseable
from luthier.evaluation.data import Row, fresh
from luthier.evaluation.executor import Assignment, Workplace
from luthier.evaluation.faults import cause_of, is_infrastructure, one_line, ran_out_of_time, user_traceback
from luthier.evaluation.metrics import Metric
from luthier.evaluation.rollout import Outcome, Rollout, Score
from luthier.lm.faults import GivenUp
from luthier.lm.user_code import in_daemon_thread
from luthier.program.context import Run, lost_calls, running
from luthier.program.inputs import declared_inputs
from luthier.program.program import Program
from luthier.program.run import run_program
from luthier.program.trace import Trace


class Here:
    """The executor that makes rollouts in this process."""

    async def rollout(self, workplace: Workplace, assignment: Assignment) -> Rollout:
        """Make one rollout.

        Raises:
            LuthierError: what ends more than this rollout.
        """
        return await make_rollout(workplace, assignment)


async def make_rollout(workplace: Workplace, assignment: Assignment) -> Rollout:
    """Run the program on one example, then the metric, and sort how it ended.

    Raises:
        RequestRejected, BudgetExhausted, StudyPaused: no rollout can go on.
        ProgramFailed: the metric raised, or the program did in the very first rollout.
        MetricError: the metric returned something that is no score.
    """
    row, run = assignment.row, assignment.run
    started, lost = time.perf_counter(), lost_calls.count
    making = _Making(workplace.program, workplace.metric)
    judged: _Judged | Exception
    try:
        judged = await making.judged(row, run)
    except Exception as error:  # noqa: BLE001 - the boundary to the user's program
        judged = error
    except (asyncio.CancelledError, SystemExit) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        # User code cancelled itself, or would leave: that ends this rollout, and not its worker in silence.
        judged = RuntimeError(f"user code raised {error!r}")
    if failures := _kept_from_answering(run, judged):  # whatever user code made of them
        judged = ExceptionGroup("no answer", failures)
    elif (found_lost := lost_calls.since(lost, workplace.known)) is not None:
        judged = _with_cause(found_lost, judged)
    if isinstance(judged, Exception):
        found = making.program_failed(judged, row, first=assignment.first)
    else:
        found = making.read(judged, row)
    seconds = time.perf_counter() - started
    return Rollout(
        assignment.job,
        found.outcome,
        found.score,
        found.prediction,
        run.trace,
        found.error,
        found.traceback,
        seconds,
        found.blamed,
        assignment.lms.mixed or bool(run.trace.usage_by_lm.keys() - {assignment.lms.default.identity}),
        found.refused,
    )


@dataclass(frozen=True, slots=True)
class _Making:
    """A program and its metric at work."""

    program: Program
    metric: Metric

    async def judged(self, row: Row, run: Run) -> _Judged:
        """Run the program, then the metric: in the program's own thread, on the loop, or in a thread of its own."""

        def judge(prediction: Any, trace: Trace) -> _Judged:
            with running(run.judge()):
                try:
                    return _Judged(prediction, self.metric.call(row.example, prediction, trace))
                except Exception as error:  # noqa: BLE001 - the boundary to the user's metric
                    return _Judged(prediction, None, error)

        inputs = declared_inputs(self.program.function, fresh(dict(row.inputs)))
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

    def read(self, judged: _Judged, row: Row) -> _Found:
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

    def program_failed(self, error: Exception, row: Row, *, first: bool) -> _Found:
        """Classify what the program raised; re-raise what ends more than this rollout."""
        cause = cause_of(error)
        if isinstance(cause, Unparseable):
            found = _Found(Outcome.UNPARSEABLE, Score(0.0), None, one_line(cause), blamed=cause.predictor)
            return replace(found, refused=cause.refused)
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
    refused: bool = False


def _kept_from_answering(run: Run, judged: _Judged | Exception) -> list[Exception]:
    """Return what kept the LM from answering in a run.

    Calls that user code gave up count where it went on without them, or failed for lack of time. Where it raised
    something else, that came first: a task group cancels the others when one of its tasks fails.
    """
    raised = judged.error if isinstance(judged, _Judged) else judged
    if raised is None or ran_out_of_time(raised):
        return run.unanswered
    return [failure for failure in run.failures if not isinstance(failure, GivenUp)]


def _with_cause(lost: ConfigError, judged: _Judged | Exception) -> ConfigError:
    """Return why a call never reached the LM, with what the program made of that."""
    error = ConfigError(str(lost))
    error.__cause__ = judged if isinstance(judged, Exception) else None
    if error.__cause__ is not None:
        error.add_note(f"The program then raised {one_line(error.__cause__)}")
    return error


def _only_prediction(prediction: Any, trace: Trace) -> Any:
    return prediction
