"""The actor that makes rollouts in a worker process of Ray."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from luthier.evaluation.executor import Workplace
from luthier.evaluation.making import make_rollout
from luthier.integrations.ray.away import Away, Outbox
from luthier.integrations.ray.wire import Asked, Kit, Raised, Reply, Task
from luthier.lm.engine import engine
from luthier.program.component import Component

T = TypeVar("T")
_PLAIN = (str, int, float, bool, type(None))


class Worker:
    """Makes rollouts; an actor. Its own loop only carries messages: user code runs on other loops and in threads."""

    def __init__(self) -> None:
        self._outbox = Outbox()
        self._kits: dict[int, Kit] = {}
        self._running: dict[int, concurrent.futures.Future[Any]] = {}

    async def ready(self) -> None:
        """Return once the process is up."""

    async def prepare(self, number: int, kit: Kit) -> None:
        """Make ready for the rollouts of one workplace."""
        self._kits[number] = kit

    async def forget(self, number: int) -> None:
        """Drop what ``prepare`` brought."""
        self._kits.pop(number, None)

    async def rollout(self, number: int, kit: int, task: Task) -> Reply:
        """Make one rollout; what it raises comes back as a value, since a raised error would count as a lost task."""
        given, met = self._kits[kit], list[Component]()
        gateway = Away(self._outbox, number)
        place = Workplace(given.program, given.metric, given.lm, gateway, given.known, given.concurrency, met.append)
        assignment = place.assignment(task.job, task.row, task.lms, task.role, first=task.first)
        making = engine("rollouts").submit(make_rollout(place, assignment))
        self._running[number] = making
        try:
            rollout = await asyncio.wrap_future(making)
        except Exception as error:  # noqa: BLE001 - it goes on at the driver
            return Reply(None, Raised.of(error), tuple(met), tuple(gateway.declared))
        finally:
            del self._running[number]
        light = replace(rollout, job=_NOWHERE, prediction=_movable(rollout.prediction))
        return Reply(light, None, tuple(met), tuple(gateway.declared))

    async def call_off(self, number: int) -> None:
        """End a rollout that nobody waits for; threads of the user's are left behind, and get no more answers."""
        await _on_engine(self._outbox.shut(number))
        if (making := self._running.get(number)) is not None:
            making.cancel()

    async def asked(self) -> list[Asked]:
        """Return what was asked since the last time, once there is anything."""
        return await _on_engine(self._outbox.take())

    async def answer(self, ticket: int, answer: Any) -> None:
        """Hand an answer to whoever asked."""
        await _on_engine(self._outbox.answer(ticket, answer))

    async def attempt(self, ticket: int) -> Any:
        """Have a client of the user's, which lives here, send a request of its own, or compute a result."""
        try:
            return await _on_engine(self._outbox.attempt(ticket))
        except Exception as error:  # noqa: BLE001 - it goes on at the driver
            return Raised.of(error)


_NOWHERE: Any = None  # the driver knows the job


async def _on_engine(work: Coroutine[Any, Any, T]) -> T:
    return await asyncio.wrap_future(engine().submit(work))


def _movable(prediction: Any) -> Any:
    """Return a prediction that can travel: one that cannot becomes text."""
    if isinstance(prediction, _PLAIN):
        return prediction
    from ray import cloudpickle

    try:
        cloudpickle.dumps(prediction)  # to see whether Ray can; what it wrote is dropped
    except Exception:  # noqa: BLE001 - user objects may refuse in any way
        return repr(prediction)
    return prediction
