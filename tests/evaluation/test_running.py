"""Sync twins of async work: context, errors, notebooks, and Ctrl-C."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import sys
import threading
import time

import pytest

from luthier.evaluation.running import run_sync

word: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="none")


def test_the_result_comes_back() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 42

    assert run_sync(work) == 42


def test_errors_come_back_as_they_are() -> None:
    async def work() -> None:
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        run_sync(work)


def test_it_runs_on_another_thread_in_a_copy_of_the_context() -> None:
    async def work() -> tuple[str, bool]:
        seen = word.get()
        word.set("changed")
        return seen, threading.current_thread() is threading.main_thread()

    token = word.set("outside")
    assert run_sync(work) == ("outside", False)
    assert word.get() == "outside"
    word.reset(token)


def test_it_works_where_a_loop_is_running() -> None:
    async def inner() -> str:
        return "inner"

    async def notebook_cell() -> str:
        return run_sync(inner)

    assert asyncio.run(notebook_cell()) == "inner"


def interrupt_main_soon(seconds: float = 0.1) -> None:
    if sys.platform == "win32":
        pytest.skip("signals of POSIX")
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(seconds, signal.pthread_kill, [main, signal.SIGINT]).start()


def test_ctrl_c_stops_the_calls_and_lets_the_rest_end() -> None:
    stop = threading.Event()
    ended: list[str] = []

    async def work() -> None:
        while not stop.is_set():
            await asyncio.sleep(0.01)
        ended.append("in good order")

    interrupt_main_soon()
    with pytest.raises(KeyboardInterrupt):
        run_sync(work, on_interrupt=stop.set)
    assert ended == ["in good order"]


def test_ctrl_c_cancels_what_does_not_end_in_time() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    interrupt_main_soon()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_sync(work, grace=0.2)
    assert ended == ["cancelled"]
    assert time.monotonic() - started < 5


def test_ctrl_c_does_not_wait_for_blocking_user_code() -> None:
    released = threading.Event()

    async def work() -> None:
        released.wait(30)

    interrupt_main_soon()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_sync(work, grace=0.2)
    assert time.monotonic() - started < 5
    released.set()


def test_a_second_ctrl_c_ends_at_once() -> None:
    async def work() -> None:
        await asyncio.sleep(60)

    interrupt_main_soon(0.1)
    interrupt_main_soon(0.4)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_sync(work, on_interrupt=lambda: time.sleep(30), grace=30)
    assert time.monotonic() - started < 5
