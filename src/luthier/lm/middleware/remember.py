"""Layers that never ask twice: the store's answers, and joining identical calls in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from luthier.errors import StudyPaused
from luthier.lm.middleware.call import Call, Gate, Layer
from luthier.lm.request import Completion
from luthier.lm.store import Store


class LookUp:
    """Answers from the store where it can."""

    def __init__(self, inner: Layer, store: Store | None, on_hit: Callable[[], None]) -> None:
        self._inner = inner
        self._store = store
        self._on_hit = on_hit

    async def complete(self, call: Call) -> Completion:
        """Return the stored answer, else what the inner layer answers."""
        known = None if self._store is None else await self._store.aget(call.key)
        if known is None:
            return await self._inner.complete(call)
        self._on_hit()
        call.stored = True
        return known


class Join:
    """Lets identical calls share one attempt, which belongs to the engine: a caller that goes only detaches."""

    def __init__(self, inner: Layer, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate
        self._in_flight: dict[str, asyncio.Task[Completion]] = {}

    @property
    def tasks(self) -> tuple[asyncio.Task[Completion], ...]:
        """The attempts in flight."""
        return tuple(self._in_flight.values())

    async def complete(self, call: Call) -> Completion:
        """Return the answer of the shared attempt.

        Raises:
            StudyPaused: the attempt was cancelled because all calls end.
        """
        task = self._in_flight.get(call.key)
        if task is None:
            self._gate.check()
            task = asyncio.create_task(self._inner.complete(call))
            self._in_flight[call.key] = task
            task.add_done_callback(lambda done: self._finish(call.key, done))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # not this caller but the attempt itself
                raise StudyPaused(self._gate.reason or "The call was cancelled.") from None
            raise

    def _finish(self, key: str, task: asyncio.Task[Completion]) -> None:
        del self._in_flight[key]
        if not task.cancelled():
            task.exception()  # seen, also where every caller has gone


class Record:
    """Commits every answer to the store before anybody sees it."""

    def __init__(self, inner: Layer, store: Store | None, lm_identity: str) -> None:
        self._inner = inner
        self._store = store
        self._lm_identity = lm_identity

    async def complete(self, call: Call) -> Completion:
        """Return the inner layer's answer, stored."""
        completion = await self._inner.complete(call)
        if self._store is not None:
            await self._store.aput(call.key, self._lm_identity, completion)
        return completion
