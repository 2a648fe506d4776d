"""Runs a program once: sync programs in daemon threads of our own, async ones on the current loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from luthier.lm.user_code import in_daemon_thread
from luthier.program.context import Run, running
from luthier.program.program import Program
from luthier.program.returns import check_prediction
from luthier.program.trace import Trace

T = TypeVar("T")


async def run_program(program: Program, inputs: Mapping[str, Any], run: Run, then: Callable[[Any, Trace], T]) -> T:
    """Run a program on inputs and return what ``then`` makes of the prediction and the trace.

    ``then``, the metric, runs in the same thread under a context of its own: no candidate, nothing traced. Whatever
    the program or ``then`` raises is raised.
    """
    if program.is_async:
        with running(run):
            prediction = await program.call(inputs)
        check_prediction(prediction, program.name, is_async=True)
        with running(run.judge()):
            return then(prediction, run.trace)

    def work() -> T:
        with running(run):
            prediction = program.call(inputs)
        check_prediction(prediction, program.name, is_async=False)
        with running(run.judge()):
            return then(prediction, run.trace)

    return await in_daemon_thread(work)
