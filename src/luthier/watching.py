"""Where a tracer looks in: what begins and ends in studies and services, told to whoever watches this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

_log = logging.getLogger("luthier")


class Watcher(Protocol):
    """Told of everything that begins and ends: study, step, trial, rollout, and call (docs/tracking.md)."""

    def begin(self, kind: str, facts: dict[str, Any]) -> Any:
        """Note a beginning, in the context that what follows runs in; what is returned comes back at the end."""
        ...

    def end(self, begun: Any, facts: dict[str, Any], error: BaseException | None) -> None:
        """Note an end: ``facts`` may be more by now, and ``error`` is what it ended with."""
        ...


_watchers: list[Watcher] = []  # of the process, as signal handlers are: whoever watches sees all studies and services


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Let ``watcher`` see what happens in this process until the block ends."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


@contextmanager
def watched(kind: str, **facts: Any) -> Iterator[dict[str, Any]]:
    """Tell the watchers that something begins and ends; the block may add to the facts. Their faults harm nobody."""
    if not _watchers:
        yield facts
        return
    begun = [(watcher, _quietly(watcher.begin, kind, facts)) for watcher in tuple(_watchers)]
    error: BaseException | None = None
    try:
        yield facts
    except BaseException as raised:
        error = raised
        raise
    finally:
        for watcher, token in reversed(begun):
            _quietly(watcher.end, token, facts, error)


def _quietly(tell: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return tell(*arguments)
    except Exception:  # noqa: BLE001 - the boundary to a watcher: a tracer's fault must never break a study
        _log.warning("%r failed; the study goes on", tell, exc_info=True)
        return None
