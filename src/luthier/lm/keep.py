"""Results of paid or slow functions that are no LM, kept in the store as answers are."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from luthier.lm.middleware.call import Gate
    from luthier.lm.store import Store

_PREFIX = "recorded/"
_Turn: TypeAlias = "concurrent.futures.Future[Any]"


class _GaveUp(Exception):
    """Who was computing was cancelled; whoever waits for it computes itself."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A result that the store has."""

    value: Any


@dataclass(frozen=True, slots=True)
class _Mine:
    """The caller is to compute."""

    turn: _Turn


class Keep:
    """Computes each result once: what is stored is not computed again, and identical calls in flight are joined.

    Args:
        store: where results are committed before anybody sees them; None joins only.
        gate: nothing is computed once it is shut.
    """

    def __init__(self, store: Store | None, gate: Gate) -> None:
        self._store = store
        self._gate = gate
        self._lock = threading.Lock()  # guards _in_flight, and looking there together with looking in the store
        self._in_flight: dict[str, _Turn] = {}

    def get(self, key: str, compute: Callable[[], Any]) -> Any:
        """Return the result of a key, blocking the calling thread; what ``compute`` raises is raised, and not kept.

        Raises:
            StudyPaused: all calls end.
        """
        while True:
            found = self._look(key)
            if isinstance(found, _Known):
                return found.value
            if isinstance(found, _Mine):
                return self._done(key, found.turn, self._guarded(key, found.turn, compute))
            try:
                return found.result()
            except _GaveUp:
                continue

    async def aget(self, key: str, compute: Callable[[], Awaitable[Any]]) -> Any:
        """Return the result of a key; as ``get``."""
        while True:
            found = self._look(key)
            if isinstance(found, _Known):
                return found.value
            if isinstance(found, _Mine):
                try:
                    value = await compute()
                except BaseException as error:
                    self._failed(key, found.turn, error)
                    raise
                return self._done(key, found.turn, value)
            try:
                # Shielded, because a caller that is cancelled must not cancel what others wait for.
                return await asyncio.shield(asyncio.wrap_future(found))
            except _GaveUp:
                continue

    def _look(self, key: str) -> _Known | _Mine | _Turn:
        with self._lock:
            turn = self._in_flight.get(key)
            if turn is not None:
                return turn
            known = None if self._store is None else self._store.value(_PREFIX + key)
            if known is not None:
                return _Known(known["value"])
            self._gate.check()
            mine: _Turn = concurrent.futures.Future()
            self._in_flight[key] = mine
            return _Mine(mine)

    def _guarded(self, key: str, turn: _Turn, compute: Callable[[], Any]) -> Any:
        try:
            return compute()
        except BaseException as error:
            self._failed(key, turn, error)
            raise

    def _done(self, key: str, turn: _Turn, value: Any) -> Any:
        try:
            if self._store is not None:
                self._store.set_value(_PREFIX + key, {"value": value})
        except BaseException as error:
            self._failed(key, turn, error)
            raise
        with self._lock:
            del self._in_flight[key]
        turn.set_result(value)
        return value

    def _failed(self, key: str, turn: _Turn, error: BaseException) -> None:
        with self._lock:
            del self._in_flight[key]
        turn.set_exception(error if isinstance(error, Exception) else _GaveUp())
