"""The engine thread: one daemon thread with a private event loop, where all sockets, layers and stores live.

No user code runs there, and nothing joins it: an interpreter that ends just drops it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Engine:
    """A daemon thread that runs an event loop for as long as the process lives."""

    def __init__(self, name: str) -> None:
        # In an empty context, since the loop keeps it: an engine is often started in the midst of some study's run.
        self.loop = contextvars.Context().run(asyncio.new_event_loop)
        self._thread = threading.Thread(target=self._run, name=f"luthier-{name}", daemon=True)
        self._thread.start()

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller is on the engine thread."""
        return threading.current_thread() is self._thread

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run ``coroutine`` on the engine's loop; the future may be cancelled from any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


class _Holder:
    """The process's engines by name, and those a fork left behind."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # protects the creation of engines
        self.engines: dict[str, Engine] = {}
        self.left_behind: list[Engine] = []

    def forget(self) -> None:
        """In a forked child the threads are gone; keep the dead loops referenced so that nothing closes their pipes."""
        self.lock = threading.Lock()
        self.left_behind += self.engines.values()
        self.engines = {}


_holder = _Holder()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_holder.forget)


open_studies: weakref.WeakSet[object] = weakref.WeakSet()
"""The gateways of studies and evaluations that run: a predictor outside of any run may be a lost thread of theirs."""


def engine(name: str = "engine") -> Engine:
    """Return the process's engine, or another thread with a loop by its name, started on first use."""
    with _holder.lock:
        if name not in _holder.engines:
            _holder.engines[name] = Engine(name)
        return _holder.engines[name]


def loop_is_running() -> bool:
    """Whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
