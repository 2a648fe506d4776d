"""``lt.evaluate`` and ``lt.aevaluate``: one candidate on a data set."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import time
import warnings
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from luthier.budget import Budget, Ledger
from luthier.errors import ConfigError, DataError, LabelWarning, LuthierError
from luthier.evaluation.data import Row, load_rows, parameters_of
from luthier.evaluation.evaluator import Evaluator
from luthier.evaluation.executor import Executor
from luthier.evaluation.labels import check_labels
from luthier.evaluation.metrics import Metric
from luthier.evaluation.opening import ExecutorChoice, opened
from luthier.evaluation.rollout import Evaluation
from luthier.evaluation.running import run_sync
from luthier.evaluation.splits import Splits
from luthier.evaluation.unmetered import UnmeteredWatch
from luthier.lm.gateway import Gateway
from luthier.lm.store import Store
from luthier.program.lms import LMChoice, resolve
from luthier.program.program import Program, discover

if TYPE_CHECKING:
    from luthier.program.candidate import Candidate


T = TypeVar("T")


def evaluate(  # noqa: PLR0913 - the public contract: three things to evaluate, and by-name settings
    program: Callable[..., Any],
    data: Any,
    metric: Callable[..., Any],
    *,
    lm: LMChoice,
    candidate: Candidate | None = None,
    concurrency: int = 64,
    repeats: int = 1,
    budget: Budget | None = None,
    inputs: Sequence[str] | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    executor: ExecutorChoice = None,
) -> Evaluation:
    """Run a program on every example of a data set and score it.

    Ctrl-C stops new LM calls, gives those in flight 1.5 seconds, and raises ``KeyboardInterrupt``.

    Args:
        program: a function, sync or async, that calls predictors.
        data: mappings, a JSONL / JSON / CSV / TSV / Parquet path, a pandas or polars frame, or a Hugging Face data set.
        metric: ``metric(example, prediction)`` or ``metric(example, prediction, trace)``.
        lm: who answers: one LM, or a mapping by predictor's name with ``"*"`` for all others.
        candidate: the prompts; the original ones where left out.
        concurrency: how many examples run at one time.
        repeats: how often each example runs.
        budget: what this may cost at most.
        inputs: the columns that feed the program, where names alone do not decide.
        store: a store, or its path; answers in it are not asked for again. ``LUTHIER_STORE`` where left out.
        executor: where the examples run: in this process, or ``"ray"``: on a cluster's workers.

    Raises:
        UserError: the program, data, metric, LM, or candidate cannot be used; nothing was spent.
        ProgramFailed: the metric raised, or the program did in the very first rollout.
        RequestRejected, StudyPaused: no call can go on; the latter where access is denied or the server is dead.
        BudgetExhausted: the next call does not fit the budget.
    """
    ready = prepare(program, data, metric, lm, concurrency, budget, inputs, store, executor)
    work = functools.partial(_evaluated, ready, candidate, repeats)
    return run_sync(lambda: ready.run(work), on_interrupt=ready.gateway.stop)


async def aevaluate(  # noqa: PLR0913 - as ``evaluate``
    program: Callable[..., Any],
    data: Any,
    metric: Callable[..., Any],
    *,
    lm: LMChoice,
    candidate: Candidate | None = None,
    concurrency: int = 64,
    repeats: int = 1,
    budget: Budget | None = None,
    inputs: Sequence[str] | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    executor: ExecutorChoice = None,
) -> Evaluation:
    """Do what ``evaluate`` does; an async program and metric run on the caller's loop.

    Raises:
        LuthierError: as ``evaluate``.
    """
    ready = prepare(program, data, metric, lm, concurrency, budget, inputs, store, executor)
    return await ready.run(functools.partial(_evaluated, ready, candidate, repeats))


@dataclass(frozen=True, slots=True)
class Ready:
    """An evaluator with everything checked, and all that is closed after it."""

    evaluator: Evaluator
    rows: Sequence[Row]
    gateway: Gateway
    trouble: _Trouble
    own_store: Store | None
    """A store to be closed at the end, since it was opened for this."""
    executor: AbstractContextManager[Executor]

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do some work with the evaluator, then close everything.

        Raises:
            LuthierError: as ``evaluate``.
        """
        with self.executor as self.evaluator.executor:
            return await self._run(work)

    async def _run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        work = asyncio.create_task(make())
        watch = asyncio.create_task(self._watch())
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                watch.result()
            return await work
        finally:
            work.cancel()
            watch.cancel()
            await asyncio.wait({work, watch})
            self.gateway.close()
            if self.own_store is not None:
                self.own_store.close()

    async def _watch(self) -> None:
        """Ask once, when the first calls fail, whether the server can be reached at all.

        Retries wait ten minutes for a server that is down; one that was never there should be told at once.

        Raises:
            ConfigError: it cannot be reached, and nothing has succeeded so far.
        """
        await self.trouble.come()
        try:
            if not self.evaluator.proven:
                for lm in self.evaluator.lms.all:
                    await self.gateway.probe(lm)
        except ConfigError:
            if not self.evaluator.proven:
                raise
        except LuthierError:
            return  # the rollouts will meet it themselves


def prepare(  # noqa: PLR0913 - the arguments of ``evaluate``
    function: Callable[..., Any],
    data: Any,
    metric: Callable[..., Any],
    lm: LMChoice,
    concurrency: int,
    budget: Budget | None,
    inputs: Sequence[str] | None,
    store: Store | str | os.PathLike[str] | None,
    executor: ExecutorChoice,
    group: str | None = None,
) -> Ready:
    """Check everything that an evaluation needs; nothing is spent.

    Raises:
        UserError: something cannot be used.
    """
    program = function if isinstance(function, Program) else discover(function)
    if isinstance(data, Splits):
        raise DataError("an evaluation takes one data set, not lt.Splits: pass splits.val or splits.test")
    checked = Metric.of(metric)
    rows = load_rows(data, parameters_of(program), inputs=inputs, group=group)
    limits = {} if budget is None else budget.limits
    dollars, tokens = "usd" in limits, "tokens" in limits
    checked.check(rows[0].example, dollars=dollars, tokens=tokens)
    for sentence in check_labels(checked, program, rows).warnings:
        warnings.warn(sentence, LabelWarning, stacklevel=3)
    used = resolve(lm, program.predictors)
    used.check(dollars=dollars, tokens=tokens)
    own = store if isinstance(store, Store) else _open(store)
    trouble = _Trouble()
    gateway = Gateway(store=own, ledger=ledger_for(budget), on_fault=trouble.tell)
    by_id = {row.id: row for row in rows}
    watch = UnmeteredWatch(budget, gateway.ledger)
    evaluator = Evaluator(program, checked, by_id, used, gateway, concurrency=concurrency, on_rollout=watch.look)
    return Ready(evaluator, rows, gateway, trouble, None if own is store else own, opened(executor))


async def _evaluated(ready: Ready, candidate: Candidate | None, repeats: int) -> Evaluation:
    if repeats < 1:
        raise ConfigError(f"repeats={repeats}: every example must run at least once")
    program = ready.evaluator.program
    if candidate is not None:
        program.check(candidate)
    used = program.original if candidate is None else candidate
    return await ready.evaluator.evaluate(used, [row.id for row in ready.rows], repeats=repeats)


def _open(path: str | os.PathLike[str] | None) -> Store | None:
    if path is None:
        path = os.environ.get("LUTHIER_STORE") or None
    return None if path is None else Store(path if path == ":memory:" else Path(path))


def ledger_for(budget: Budget | None) -> Ledger | None:
    """Return a ledger that keeps a budget from now on, its seconds included; None without a budget."""
    if budget is None:
        return None
    end = None if budget.seconds is None else time.monotonic() + budget.seconds
    return Ledger(budget.limits, deadline=None if end is None else lambda: end - time.monotonic())


class _Trouble:
    """Tells a waiting loop that some call has failed; told on any thread."""

    def __init__(self) -> None:
        self._told = concurrent.futures.Future[None]()

    def tell(self, sentence: str) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # told before
            self._told.set_result(None)

    async def come(self) -> None:
        """Return once a call has failed."""
        await asyncio.wrap_future(self._told)
