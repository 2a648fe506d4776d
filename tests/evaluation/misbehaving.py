"""Programs that are hard to stop, to be run as a script, by the command line, or imported.

``HOW`` in the environment says which; without it every program is well-behaved, so that a study which was begun
with one kind of misbehaviour is continued without: the code is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import luthier as lt

HOW = os.environ.get("HOW", "")
AFTER = int(os.environ.get("AFTER", "0"))
"""So many rollouts behave well before."""
ASYNC = ("awaits and swallows", "awaits and goes on", "never yields", "awaits a subprocess")
SYNC = (
    "slow answers",
    "sleeps",
    "swallows all",
    "goes on",
    "leaks threads",
    "uses its own threads",
    "threads of its own sleep",
    "uses its own loop",
    "blocks in the metric",
    "waits for a subprocess",
)
FOREVER = 3600.0
begun = 0


def answer(request: lt.Request) -> str:
    """Answer after a while, as an LM does."""
    time.sleep(FOREVER if HOW == "slow answers" and begun > AFTER else 0.005)
    return "word"


@lt.predictor
def word(number: str) -> str:
    """Say a word."""
    return lt.predict()


@lt.predictor
async def later(number: str) -> str:
    """Say a word."""
    return lt.predict()


def program(number: str) -> str:
    """Answer, or misbehave."""
    if _begins() and HOW in MISBEHAVIOURS:
        MISBEHAVIOURS[HOW](number)
    return word(number=number)


async def async_program(number: str) -> str:
    """Answer, or misbehave, on a loop."""
    if not _begins():
        return await later(number=number)
    while HOW == "never yields":
        pass
    if HOW == "awaits a subprocess":
        child = await asyncio.create_subprocess_exec(*_idle_command())
        await child.wait()
    while HOW == "awaits and swallows":
        with contextlib.suppress(BaseException):
            await later(number=number)
    while HOW == "awaits and goes on":
        try:
            await later(number=number)
        except Exception:  # noqa: BLE001 - what is being tested
            continue
    return await later(number=number)


def metric(example: Mapping[str, Any], prediction: str) -> bool:
    """Compare, or block."""
    if HOW == "blocks in the metric" and begun > AFTER:
        time.sleep(FOREVER)
    return bool(prediction == example["answer"])


def rows(n: int = 120) -> list[dict[str, str]]:
    """Return n examples."""
    return [{"number": str(i), "answer": "word" if i % 3 else "none"} for i in range(n)]


def _begins() -> bool:
    """Count a rollout, tell when misbehaviour is under way, and return whether this one is to misbehave."""
    global begun
    begun += 1
    if begun == AFTER + 1 and HOW:
        _say("running")
    return begun > AFTER


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _swallow_all(number: str) -> None:
    while True:
        with contextlib.suppress(BaseException):
            word(number=number)


def _go_on(number: str) -> None:
    while True:
        try:
            word(number=number)
        except Exception:  # noqa: BLE001 - what is being tested
            continue


def _leak_threads(number: str) -> None:
    threading.Thread(target=time.sleep, args=(FOREVER,), daemon=True).start()
    time.sleep(0.05)


def _use_own_threads(number: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        contexts = [contextvars.copy_context() for _ in range(4)]
        list(pool.map(lambda context: context.run(word, number=number), contexts))
    time.sleep(0.05)


def _sleep_in_own_threads(number: str) -> None:
    # Python itself waits for such threads when it ends.
    with ThreadPoolExecutor(2) as pool:
        pool.submit(time.sleep, FOREVER)


def _use_own_loop(number: str) -> None:
    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(later(number=number))

    asyncio.run(both())
    time.sleep(0.05)


def _wait_for_subprocess(number: str) -> None:
    subprocess.run(_idle_command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)


def _idle_command() -> list[str]:
    # It ends with its parent, so that no test leaves it behind; and it holds none of the parent's pipes.
    wait = "import os,sys,time; null=os.open(os.devnull,2); os.dup2(null,1); os.dup2(null,2); p=os.getppid()"
    return [sys.executable, "-S", "-c", f"{wait}\nwhile os.getppid()==p: time.sleep(0.2)"]


MISBEHAVIOURS = {
    "sleeps": lambda number: time.sleep(FOREVER),
    "swallows all": _swallow_all,
    "goes on": _go_on,
    "leaks threads": _leak_threads,
    "uses its own threads": _use_own_threads,
    "threads of its own sleep": _sleep_in_own_threads,
    "uses its own loop": _use_own_loop,
    "waits for a subprocess": _wait_for_subprocess,
}


def main() -> None:
    """Evaluate, or tune in a directory: ``python -m tests.evaluation.misbehaving WHAT PROGRAM [DIRECTORY]``."""
    what, which, *where = sys.argv[1:]
    function = async_program if which == "async" else program
    common: dict[str, Any] = {"lm": lt.LM(answer), "concurrency": 8}
    try:
        if what == "evaluate":
            lt.evaluate(function, rows(), metric, **common)
        else:
            settings = lt.MIPRO(candidates=3, trials=4, minibatch=6, closing=1, demo_sizes=(0, 2))
            result = lt.optimize(function, rows(), metric, optimizer=settings, study_dir=where[0], **common)
            _say(result.decision)
    except KeyboardInterrupt:
        _say("returned")
        raise


if __name__ == "__main__":
    main()
