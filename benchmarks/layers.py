"""Where a call's CPU goes between raw aiohttp and ``lt.evaluate``: ``layers.py URL CALLS``; prints JSON.

Each rung adds something to the one before it and asks the same server the same number of questions, so the
difference of two rungs is what was added. The parts are timed alone, and are within the rungs.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import luthier as lt
from benchmarks.speed import answer, async_program, ours, raw
from luthier.budget import Ledger
from luthier.evaluation.data import load_rows, parameters_of
from luthier.evaluation.evaluator import Evaluator
from luthier.lm.body import request_body
from luthier.lm.engine import engine
from luthier.lm.gateway import Gateway
from luthier.lm.reply import read_reply
from luthier.lm.request import Completion, Message, Request, Usage
from luthier.lm.store import Store
from luthier.program.parse import parse
from luthier.program.program import discover
from luthier.program.render import render
from luthier.types import Role

_WIDTH = 64
_ROUNDS = 3
_REPEATS = 2000


def main() -> None:
    """Print CPU microseconds a call: of every rung, of what each adds, and of the parts."""
    url, calls = sys.argv[1], int(sys.argv[2])
    rungs = climb(url, calls)
    names = list(rungs)
    # The budget is not part of an evaluation without one, and threads stand in for the loop, so both are branches.
    below = {"budget, with attempts on disk": "store", "threads for a sync program": "async program and metric"}
    added = {names[0]: rungs[names[0]]}
    for before, name in itertools.pairwise(names):
        added[name] = round(rungs[name] - rungs[below.get(name, before)], 1)
    print(json.dumps({"rungs": rungs, "added": added, "parts": parts(url), "garbage": garbage(url, calls)}))


def climb(url: str, calls: int) -> dict[str, float]:
    """Return CPU microseconds a call of every rung, the least of some rounds."""
    makers: dict[str, Callable[[], float]] = {
        "raw aiohttp": lambda: raw(url, calls, _WIDTH)["cpu"],
        "our client": lambda: client(url, calls),
        "key, joining, retry, limit, bookkeeping": lambda: through_gateway(url, calls, store=False),
        "store": lambda: through_gateway(url, calls),
        "budget, with attempts on disk": lambda: through_gateway(url, calls, ledger=True),
        "hand-over to the engine's thread": lambda: through_gateway(url, calls, outside=True),
        "async program and metric": lambda: ours(async_program, url, calls, _WIDTH)["cpu"],
        "threads for a sync program": lambda: ours(answer, url, calls, _WIDTH)["cpu"],
    }
    found: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(_ROUNDS):
        for name, measure in makers.items():
            found[name].append(1e6 * measure() / calls)
    order = [name for name in makers if name != "budget, with attempts on disk"]
    return {name: round(min(found[name]), 1) for name in [*order, "budget, with attempts on disk"]}


def client(url: str, calls: int) -> float:
    """Return the CPU seconds of our client alone: no layers, no other thread."""

    async def run() -> float:
        completer: Any = _lm(url).open()
        try:
            return await _timed(completer.complete, calls)
        finally:
            await completer.close()

    return asyncio.run(run())


def through_gateway(url: str, calls: int, *, store: bool = True, ledger: bool = False, outside: bool = False) -> float:
    """Return the CPU seconds of calls through the gateway, awaited on the engine's own loop or outside of it."""
    lm = _lm(url)
    with tempfile.TemporaryDirectory() as folder:
        kept = Store(Path(folder) / "store.sqlite") if store else None
        gateway = Gateway(store=kept, ledger=Ledger({"lm_calls": 1e9}) if ledger else None, study="bench")
        try:
            work = _timed(lambda request: gateway.complete(lm, request, Role.TASK), calls)
            return asyncio.run(work) if outside else engine().submit(work).result()
        finally:
            gateway.close()
            if kept is not None:
                kept.close()


async def _timed(complete: Callable[[Request], Awaitable[Completion]], calls: int) -> float:
    await complete(_request(-1))
    started = time.process_time()
    waiting = iter(range(calls))

    async def work() -> None:
        for number in waiting:
            await complete(_request(number))

    async with asyncio.TaskGroup() as group:
        for _ in range(_WIDTH):
            group.create_task(work())
    return time.process_time() - started


def parts(url: str) -> dict[str, float]:
    """Return microseconds of what one call computes, each part alone."""
    lm, request = _lm(url), _request(7)
    signature, prompt = answer.signature, answer.original
    completion = Completion("yes", usage=Usage(10, 1, 0, 1))
    address = lm.address
    assert address is not None
    reply = {
        "model": "any",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 1},
    }
    content = json.dumps(reply).encode()
    metric = lt.exact_match("answer")
    inputs = {"question": "question 7"}
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store.sqlite")
        numbers = iter(range(10**9))
        found = {
            "key: canonical JSON and hash": _each(lambda: request.key(lm.identity)),
            "request to JSON bytes": _each(lambda: json.dumps(request_body(request, address, llama=False)).encode()),
            "reply to completion": _each(lambda: read_reply(content, {}, "", request)),
            "store: look up": _each(lambda: store.get("b2:none")),
            "store: commit an answer": _each(lambda: store.put(f"b2:{next(numbers)}", "lm", completion)),
            "render": _each(lambda: render(signature, prompt, inputs, lm=lm, settings=answer.settings)),
            "parse": _each(lambda: parse(signature, completion)),
            "metric": _each(lambda: metric({"answer": "yes"}, "yes")),
        }
        store.close()
    return {**found, "a whole rollout but for the call": rollout(lm)}


def rollout(lm: lt.LM) -> float:
    """Return CPU microseconds of a rollout whose calls are answered at once, on one loop in one thread."""

    class Instant:
        async def complete(self, lm: lt.LM, request: Request, role: Role) -> Completion:
            return Completion("yes", usage=Usage(10, 1, 0, 1))

    program = discover(async_program)
    data = [{"question": f"question {number}", "answer": "yes"} for number in range(_REPEATS)]
    rows = {row.id: row for row in load_rows(data, parameters_of(program))}
    gateway: Any = Instant()

    async def run() -> float:
        evaluator = Evaluator(program, lt.exact_match("answer"), rows, lm, gateway, concurrency=_WIDTH)
        started = time.thread_time()
        await evaluator.evaluate(program.original, list(rows))
        return time.thread_time() - started

    return round(1e6 * min(asyncio.run(run()) for _ in range(_ROUNDS)) / _REPEATS, 1)


def _each(function: Callable[[], Any]) -> float:
    function()
    rounds = []
    for _ in range(_ROUNDS):
        started = time.thread_time()
        for _ in range(_REPEATS):
            function()
        rounds.append(time.thread_time() - started)
    return round(1e6 * min(rounds) / _REPEATS, 1)


def garbage(url: str, calls: int) -> dict[str, float]:
    """Return what the cyclic garbage collector takes of an evaluation: CPU microseconds a call with it and without."""

    def least() -> float:
        return round(1e6 * min(ours(async_program, url, calls, _WIDTH)["cpu"] for _ in range(_ROUNDS)) / calls, 1)

    with _no_collector():
        without = least()
    return {"with": least(), "without": without}


@contextmanager
def _no_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _lm(url: str) -> lt.LM:
    return lt.LM("any", base_url=url, api_key="key", max_tokens=64)


def _request(number: int) -> Request:
    turns = (Message("system", "Answer the question."), Message("user", f"question {number}"))
    return Request(messages=turns, temperature=0.0, max_tokens=64)


if __name__ == "__main__":
    main()
