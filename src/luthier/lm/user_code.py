"""Where user code runs, never on the engine's thread: sync code in daemon threads, async code on a loop of its own."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from luthier.lm.engine import engine

T = TypeVar("T")


def on_user_loop(fn: Callable[[], Any]) -> Awaitable[Any]:
    """Run ``fn`` on a loop that only user code has, and await what it returns there; this loop gets the result."""

    async def run() -> Any:
        result = fn()
        return await result if inspect.isawaitable(result) else result

    return asyncio.wrap_future(engine("user-loop").submit(run()))


def in_daemon_thread(fn: Callable[[], T]) -> Awaitable[T]:
    """Run ``fn`` in a daemon thread, in a copy of this context; the loop that calls this gets the result.

    Nobody ever waits for the thread: when the awaiting task is cancelled, or the process ends, it is left behind.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def job() -> None:
        try:
            result = context.run(fn)
        except BaseException as error:  # noqa: BLE001 - user code ends here; its error goes to whoever awaits
            _deliver(loop, future, None, _deliverable(error))
        else:
            _deliver(loop, future, result, None)

    _THREADS.start(job)
    return future


def _deliver(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], result: Any, error: Any) -> None:
    def resolve() -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    try:
        loop.call_soon_threadsafe(resolve)
    except RuntimeError:
        # The loop was closed while user code was still running; nobody waits any more.
        return


def _deliverable(error: BaseException) -> Exception:
    if isinstance(error, StopIteration | StopAsyncIteration) or not isinstance(error, Exception):
        # A future refuses the first; the others (sys.exit) would take the whole loop down.
        replaced = RuntimeError(f"user code raised {type(error).__name__}: {error}")
        replaced.__cause__ = error
        return replaced
    return error


class _DaemonThreads:
    """Daemon threads that wait a while for more work before they end."""

    idle_seconds = 10.0

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start over, as a forked child must: its threads are gone."""
        self._lock = threading.Lock()  # guards the list of idle threads
        self._idle: list[queue.SimpleQueue[Callable[[], None]]] = []

    def start(self, job: Callable[[], None]) -> None:
        """Run a job at once, in an idle thread or a new one."""
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(inbox,), name="luthier-user-code", daemon=True).start()
        inbox.put(job)

    def _work(self, inbox: queue.SimpleQueue[Callable[[], None]]) -> None:
        inbox.get()()
        while True:
            with self._lock:
                self._idle.append(inbox)
            try:
                job = inbox.get(timeout=self.idle_seconds)
            except queue.Empty:
                with self._lock:
                    if inbox in self._idle:
                        self._idle.remove(inbox)
                        return
                # Somebody took it just now, so a job is on its way.
                job = inbox.get()
            job()
            del job


# The one pool of the process: threads outlive studies so that none has to start its own.
_THREADS = _DaemonThreads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_THREADS.forget)
