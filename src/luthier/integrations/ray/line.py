"""One rollout on a cluster as the driver sees it: its LM calls, each answered once, whatever becomes of its workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from luthier.errors import ConfigError, Unreachable
from luthier.evaluation.executor import Assignment, Workplace
from luthier.evaluation.faults import one_line
from luthier.integrations.ray.wire import Asked, Raised, ToAnswer, ToKeep, Whose
from luthier.lm.keep import Keep
from luthier.lm.lm import LM
from luthier.lm.own_request import OwnRequest
from luthier.lm.request import Completion
from luthier.program.call import PendingCall, pending_call
from luthier.program.context import running
from luthier.types import Role


@dataclass(frozen=True, slots=True)
class _Sender:
    """Where a client of the user's waits to send a request: it lives in the worker that asked last."""

    actor: Any
    ticket: int


class Line:
    """The driver's end of one rollout.

    A rollout that is made again asks again what it asked before, in the same order for each request. The n-th asking
    of a request gets the n-th answer, from here and not from the gateway: so nothing is paid or counted twice, also
    where no store keeps answers.
    """

    def __init__(self, workplace: Workplace, assignment: Assignment) -> None:
        self.workplace = workplace
        self.assignment = assignment
        judge = workplace.metric.judge_lm
        known = (*assignment.lms.all, workplace.lm, *(() if judge is None else (judge,)))
        self._lms = {lm.identity: lm for lm in reversed(known)}
        self._answers: dict[str, list[asyncio.Task[Any]]] = {}
        self._asked: Counter[str] = Counter()
        self._senders: dict[tuple[str, int], _Sender] = {}

    def begin(self) -> None:
        """Begin the rollout, or begin it again."""
        self._asked.clear()
        self._senders.clear()

    def end(self) -> None:
        """Detach from calls that nobody waits for."""
        for tasks in self._answers.values():
            for task in tasks:
                task.cancel()

    async def answer(self, asked: Asked, actor: Any) -> Any:
        """Return what was asked for, or the error that there is instead (``Raised``)."""
        try:
            key = self._key(asked.what)
            number = self._asked[key]
            self._asked[key] += 1
            self._senders[key, number] = _Sender(actor, asked.ticket)
            tasks = self._answers.setdefault(key, [])
            if number == len(tasks):
                tasks.append(self._begun(asked.what, key, number))
            elif tasks[number].done() and (tasks[number].cancelled() or tasks[number].exception() is not None):
                tasks[number] = self._begun(asked.what, key, number)
            return await asyncio.shield(tasks[number])
        except Exception as error:  # noqa: BLE001 - it goes on in the worker, where the program asked
            return Raised.of(error)

    def lm(self, arrived: LM) -> LM:
        """Return the LM that an arrived one stands for.

        Raises:
            ConfigError: it is a callable that was made in a worker.
        """
        known = self._lms.get(arrived.identity)
        if known is None:
            if not isinstance(arrived.model, str):
                raise ConfigError(
                    f"a program on the cluster asks {arrived.name}, which is not among the LMs that were given: name "
                    "it with lm=, or the predictor that brings it with predictors=[...]"
                )
            known = self._lms[arrived.identity] = arrived
        return known

    def _key(self, what: ToAnswer | ToKeep) -> str:
        if isinstance(what, ToKeep):
            return f"result {what.key}"
        return f"{what.role} {what.request.key(self.lm(what.lm).identity)}"

    def _begun(self, what: ToAnswer | ToKeep, key: str, number: int) -> asyncio.Task[Any]:
        if isinstance(what, ToAnswer):
            return asyncio.create_task(self._complete(what, key, number))
        return asyncio.create_task(self._kept(what, key, number))

    async def _complete(self, what: ToAnswer, key: str, number: int) -> Completion:
        run, request = self.assignment.run, what.request
        if isinstance(request, OwnRequest):
            request = replace(request, ask=lambda: self._attempt(key, number))
        token = pending_call.set(self._pending(what.whose))
        try:
            with running(run.judge() if what.role is Role.JUDGE else run):
                return await self.workplace.gateway.complete(self.lm(what.lm), request, what.role)
        finally:
            pending_call.reset(token)

    async def _kept(self, what: ToKeep, key: str, number: int) -> Any:
        async def compute() -> Any:
            try:
                return await self._attempt(key, number)
            except _WorkerLost as error:
                raise _GivenUp(str(error)) from error

        try:
            return await self.workplace.gateway.beside(Keep).aget(what.key, compute)
        except _GivenUp as error:
            raise Unreachable(str(error)) from error

    def _pending(self, whose: Whose | None) -> PendingCall | None:
        if whose is None:
            return None
        predictor: Any = SimpleNamespace(name=whose.name, signature=whose.signature)
        return PendingCall(predictor, whose.inputs, self.assignment.run, 0)

    async def _attempt(self, key: str, number: int) -> Any:
        """Have it done in the worker that asked last.

        Raises:
            Unreachable: that worker was lost.
        """
        from ray.exceptions import RayError

        sender = self._senders.get((key, number))
        if sender is None:
            raise _WorkerLost("the worker that was to do it was lost")
        try:
            found = await sender.actor.attempt.remote(sender.ticket)
        except RayError as error:
            raise _WorkerLost(f"the worker that did it was lost: {one_line(error)}") from error
        if isinstance(found, Raised):
            raise found.error()
        return found


class _WorkerLost(Unreachable):
    """A worker was lost with what only it could do."""


class _GivenUp(BaseException):
    """Tells who keeps results that nothing is wrong with the function: whoever waits computes it elsewhere."""
