"""Running async work from sync code, so that Ctrl-C and notebooks work."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")

GRACE = 1.5
"""Seconds that calls in flight get after the first Ctrl-C."""
_TICK = 0.1


def run_sync(
    make: Callable[[], Coroutine[Any, Any, T]], *, on_interrupt: Callable[[], None] | None = None, grace: float = GRACE
) -> T:
    """Run a coroutine to its end on a private loop in a daemon thread, and return its result.

    It may be called on a thread whose own loop is running (a notebook). On Ctrl-C, ``on_interrupt`` is called (it
    stops new LM calls), what is running gets ``grace`` seconds and is then cancelled; a second Ctrl-C ends the wait
    at once. Nothing waits for user code.

    Args:
        make: makes the coroutine; called on the private loop, in a copy of the caller's context.
        on_interrupt: called in the caller's thread at the first Ctrl-C.
        grace: seconds.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C.
    """
    work = _Work(make)
    thread = threading.Thread(target=work.run, args=(contextvars.copy_context(),), name="luthier-run", daemon=True)
    thread.start()
    try:
        work.wait()
    except KeyboardInterrupt:
        end = time.monotonic() + grace
        if on_interrupt is not None:
            on_interrupt()  # which takes a grace of its own for the calls in flight; it is the same one
        if not work.wait(end - time.monotonic()):
            work.cancel()
            work.wait(_TICK)
        raise
    # Only the loop's own end is waited for, and not for long: user code may have left tasks that do not end.
    thread.join(timeout=grace)
    return work.result()


class _Work(Generic[T]):
    """A coroutine on a thread of its own, and what became of it."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._make = make
        self._done = threading.Event()
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def run(self, context: contextvars.Context) -> None:
        try:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                runner.run(self._main(), context=context)
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
            if not self._done.is_set():
                self._error = error
        finally:
            self._done.set()

    async def _main(self) -> None:
        self._task = asyncio.current_task()
        try:
            self._results.append(await self._make())
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
            self._error = error
        finally:
            self._done.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait in short steps, since some platforms let no signal through a long one."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self._done.wait(_TICK):
            if end is not None and time.monotonic() >= end:
                return False
        return True

    def cancel(self) -> None:
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._results[0]
