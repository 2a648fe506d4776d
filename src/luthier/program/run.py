"""Runs a program once: sync programs in daemon threads of our own, async ones on the current loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import queue
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from luthier.errors import ConfigError
from luthier.program.context import Run, running
from luthier.program.program import Program
from luthier.program.trace import Trace

T = TypeVar("T")


async def run_program(program: Program, inputs: Mapping[str, Any], run: Run, then: Callable[[Any, Trace], T]) -> T:
    """Run a program on inputs and return what ``then`` makes of the prediction and the trace.

    ``then``, the metric, runs in the same thread under a context of its own: no candidate, nothing traced. Whatever
    the program or ``then`` raises is raised.
    """
    if program.is_async:
        with running(run):
            prediction = await program.call(inputs)
        with running(run.judge()):
            return then(prediction, run.trace)

    def work() -> T:
        with running(run):
            prediction = program.call(inputs)
        if inspect.iscoroutine(prediction):
            prediction.close()
            raise ConfigError(f"{program.name} is not `async def`, but returned a coroutine: make it `async def`")
        with running(run.judge()):
            return then(prediction, run.trace)

    return await in_daemon_thread(work)


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
        replaced = RuntimeError(f"the program raised {type(error).__name__}: {error}")
        replaced.__cause__ = error
        return replaced
    return error


class _DaemonThreads:
    """Daemon threads that wait a while for more work before they end."""

    idle_seconds = 10.0

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the list of idle threads
        self._idle: list[queue.SimpleQueue[Callable[[], None]]] = []

    def start(self, job: Callable[[], None]) -> None:
        """Run a job at once, in an idle thread or a new one."""
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(inbox,), name="luthier-rollout", daemon=True).start()
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
