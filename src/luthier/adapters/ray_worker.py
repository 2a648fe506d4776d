"""The part of the Ray executor that runs in workers: rollouts whose LM calls go to the driver by a mailbox.

Ray moves these values between processes by its own serialization, and runs what it moves; nothing of ours is read from
disk that way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from luthier.errors import LuthierError, UserError
from luthier.evaluation.data import Row
from luthier.evaluation.executor import Workplace
from luthier.evaluation.making import make_rollout
from luthier.evaluation.metrics import Metric
from luthier.evaluation.rollout import Job, Rollout
from luthier.lm.engine import loop_is_running
from luthier.lm.gateway import with_defaults
from luthier.lm.layers.call import Gate
from luthier.lm.lm import LM
from luthier.lm.request import Completion, Request, Usage
from luthier.program.component import Component
from luthier.program.lms import LMs
from luthier.program.program import Program
from luthier.types import Role

_PLAIN = (str, int, float, bool, type(None), dict, list, tuple)


COMPLETE, DECLARE, VALUE, SET_VALUE = "complete", "declare", "value", "set value"
"""What workers ask of the driver."""
Asked = tuple[Any, ...]
"""One of these, and what it is about."""
T = TypeVar("T")


class Mailbox:
    """Where rollouts leave what they ask an LM, and the driver what is answered. An actor beside the driver."""

    def __init__(self) -> None:
        self._asked: list[tuple[int, Asked]] = []
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._any = asyncio.Event()
        self._number = 0

    async def ask(self, what: str, *words: Any) -> Any:
        """Return the driver's answer, which may be an error."""
        self._number += 1
        number = self._number
        self._answers[number] = asyncio.get_running_loop().create_future()
        self._asked.append((number, (what, *words)))
        self._any.set()
        try:
            return await self._answers[number]
        finally:
            del self._answers[number]

    async def waiting(self) -> list[tuple[int, Asked]]:
        """Return what was asked since the last time, once there is anything."""
        await self._any.wait()
        self._any.clear()
        asked, self._asked = self._asked, []
        return asked

    async def answer(self, number: int, answer: Any) -> None:
        """Hand an answer to whoever asked, if there still is anyone."""
        waiting = self._answers.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


class ByMail:
    """Stands in a worker for the driver's gateway."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        self.loop: asyncio.AbstractEventLoop | None = None
        """The actor's, which sends and receives."""
        self._beside: dict[Any, Any] = {}

    async def complete(self, lm: LM, request: Request, role: Role) -> Completion:
        """Return what the driver's gateway answers.

        Raises:
            LMError, BudgetExhausted, StudyPaused: as it does.
        """
        found: Completion = _answered(
            await self._mailbox.ask.remote(COMPLETE, lm.identity, with_defaults(lm, request), role)
        )
        return found

    def complete_blocking(self, lm: LM, request: Request, role: Role) -> Completion:
        """Return what the driver's gateway answers, blocking this thread.

        Raises:
            UserError: an event loop runs in this thread.
            LMError, BudgetExhausted, StudyPaused: as the gateway does.
        """
        if self.loop is None or loop_is_running():
            raise UserError("A blocking LM call on a running event loop would hold it up; await the async form.")
        return asyncio.run_coroutine_threadsafe(self.complete(lm, request, role), self.loop).result()

    def declare(self, lm: LM, usage: Usage, role: Role) -> None:
        """Charge at the driver what user code says that it used."""
        self.ask(DECLARE, lm.identity, usage, role)

    def beside(self, kind: Callable[[Any, Gate], T]) -> T:
        """Return what of that kind lives as long as the worker; it shares the driver's store."""
        if kind not in self._beside:
            self._beside[kind] = kind(self, Gate(asyncio.new_event_loop() if self.loop is None else self.loop))
        found: T = self._beside[kind]
        return found

    def value(self, key: str) -> Any:
        """Return a small JSON value of the driver's store, or None."""
        return self.ask(VALUE, key)

    def set_value(self, key: str, value: Any) -> None:
        """Commit a small JSON value to the driver's store."""
        self.ask(SET_VALUE, key, value)

    def ask(self, what: str, *words: Any) -> Any:
        """Return what the driver says, holding up whoever asks."""
        import ray

        return _answered(ray.get(self._mailbox.ask.remote(what, *words)))


class Worker:
    """Runs rollouts; an actor."""

    def __init__(self, mailbox: Any) -> None:
        self._gateway = ByMail(mailbox)
        self._kits: dict[int, Kit] = {}

    async def prepare(self, number: int, kit: Kit) -> None:
        """Make ready for the rollouts of one workplace."""
        self._gateway.loop = asyncio.get_running_loop()
        self._kits[number] = kit

    async def rollout(self, number: int, job: Job, row: Row, role: Role, first: bool) -> Reply | NotReady:
        """Make one rollout; what it raises comes back as a value, since a raised error would count as a lost task."""
        kit = self._kits.get(number)
        if kit is None:
            return NotReady()
        gateway: Any = self._gateway
        met: list[Component] = []
        place = Workplace(kit.program, kit.metric, kit.lm, gateway, kit.known, kit.concurrency, met.append)
        try:
            rollout = await make_rollout(place, place.assignment(job, row, kit.lms, role, first=first))
        except LuthierError as error:
            return Reply(None, _movable(error), ())
        return Reply(_light(rollout), None, tuple(met))


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a rollout."""

    rollout: Any
    error: LuthierError | None
    met: tuple[Component, ...]


class NotReady:
    """The worker knows nothing of the evaluator: it was restarted."""


@dataclass(frozen=True, slots=True)
class Kit:
    """What workers need for the rollouts of one workplace; LMs travel without their keys."""

    program: Program
    metric: Metric
    lm: LM
    lms: LMs
    known: frozenset[str]
    concurrency: int

    @staticmethod
    def of(workplace: Workplace, lms: LMs) -> Kit:
        """Return what workers need where these LMs answer."""
        named = {name: _moved(lm) for name, lm in lms.by_name.items()}
        moved = LMs(_moved(lms.default), named, lms.alone, lms.closed)
        own = _moved(workplace.lm)
        return Kit(workplace.program, workplace.metric, own, moved, workplace.known, workplace.concurrency)


def _moved(lm: LM) -> LM:
    """Return the LM as workers know it: they render for it and never ask it, so a callable may stay where it is."""
    return lm if isinstance(lm.model, str) else lm.with_settings(model=_Elsewhere(lm)).known_as(lm.identity)


class _Elsewhere:
    """Stands for a callable that only the driver asks."""

    def __init__(self, lm: LM) -> None:
        self.__name__ = self.__qualname__ = lm.name
        self.supports_grammar = lm.supports_grammar
        self.supports_schema = lm.supports_schema

    def __call__(self, request: Request) -> str:
        raise UserError(f"{self.__name__} is asked by the driver, not by a worker")


def _answered(answer: Any) -> Any:
    if isinstance(answer, LuthierError):
        raise answer
    return answer


def _light(rollout: Rollout) -> Rollout:
    """Return a rollout that can travel: a prediction that cannot is told as text."""
    if isinstance(rollout.prediction, _PLAIN):
        return rollout
    import ray.cloudpickle

    try:
        ray.cloudpickle.dumps(rollout.prediction)
    except Exception:  # noqa: BLE001 - user objects may refuse in any way
        return replace(rollout, prediction=repr(rollout.prediction))
    return rollout


def _movable(error: LuthierError) -> LuthierError:
    """Return an error without what it came from: causes are user objects that need not travel."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
