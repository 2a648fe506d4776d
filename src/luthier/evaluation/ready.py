"""An evaluation, checked and ready to run: one program on a data set."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
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
from luthier.evaluation.splits import Splits
from luthier.evaluation.unmetered import UnmeteredWatch
from luthier.lm.gateway import Gateway
from luthier.lm.store import Store
from luthier.program.lms import LMChoice, resolve
from luthier.program.program import Program, discover

if TYPE_CHECKING:
    from luthier.program.candidate import Candidate


T = TypeVar("T")


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


def prepare_evaluation(  # noqa: PLR0913 - the arguments of ``evaluate``
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
        warnings.warn(sentence, LabelWarning, stacklevel=4)  # who called lt.evaluate
    used = resolve(lm, program.predictors)
    used.check(dollars=dollars, tokens=tokens)
    own = store if isinstance(store, Store) else _open(store)
    trouble = _Trouble()
    gateway = Gateway(store=own, ledger=ledger_for(budget), on_fault=trouble.tell)
    by_id = {row.id: row for row in rows}
    watch = UnmeteredWatch(budget, gateway.ledger)
    evaluator = Evaluator(program, checked, by_id, used, gateway, concurrency=concurrency, on_rollout=watch.look)
    return Ready(evaluator, rows, gateway, trouble, None if own is store else own, opened(executor))


async def evaluated(ready: Ready, candidate: Candidate | None, repeats: int) -> Evaluation:
    """Run one candidate on every row.

    Raises:
        ConfigError: no example is to run.
        LuthierError: as ``lt.evaluate``.
    """
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
