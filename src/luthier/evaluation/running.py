"""Running async work from sync code, so that Ctrl-C and notebooks work; sync and async forms of one definition."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

GRACE = 1.5
"""Seconds that calls in flight get after the first Ctrl-C."""
_TICK = 0.1


@dataclass(frozen=True, slots=True)
class Work(Generic[T_co]):
    """Async work that is checked and ready to run."""

    run: Callable[[], Coroutine[Any, Any, T_co]]
    stop: Callable[[], None]
    """Stops new LM calls; called on any thread."""


def blocking(prepare: Callable[P, Work[T]]) -> Callable[P, T]:
    """Make a function that prepares work into one that also runs it, from sync code (``run_sync``)."""

    @functools.wraps(prepare)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        work = prepare(*args, **kwargs)
        return run_sync(work.run, on_interrupt=work.stop)

    return _returning_result(run)


def awaitable(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Make the twin of a function that ``blocking`` made: it does the same on the caller's event loop."""
    prepare: Callable[P, Work[T]] = function.__wrapped__  # type: ignore[attr-defined]

    @functools.wraps(prepare)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return await prepare(*args, **kwargs).run()

    run.__name__ = run.__qualname__ = f"a{prepare.__name__}"
    run.__doc__ = (
        f"Do what ``{prepare.__name__}`` does on the caller's event loop; see there for arguments and errors.\n\n"
        f"Raises:\n    LuthierError: as ``{prepare.__name__}``.\n"
    )
    return _returning_result(run)


def _returning_result(run: Callable[P, T]) -> Callable[P, T]:
    """Give a function the signature that its users see: what the work returns, in place of the work."""
    signature = inspect.signature(run)
    returned = str(signature.return_annotation).removeprefix("Work[").removesuffix("]")
    run.__signature__ = signature.replace(return_annotation=returned)  # type: ignore[attr-defined]
    run.__annotations__ = {**run.__annotations__, "return": returned}
    return run


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
    work = _OwnLoop(make)
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


class _OwnLoop(Generic[T]):
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
