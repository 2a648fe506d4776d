from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from luthier.budget import Ledger
from luthier.errors import StoreError
from luthier.lm.doubles import ScriptedLM
from luthier.lm.gateway import Gateway
from luthier.lm.lm import LM
from luthier.lm.request import Completion, Message, Request, ToolCall, Usage
from luthier.lm.store import Store
from luthier.report.paid import paid, paid_by_lm
from luthier.types import Role

FULL = Completion("text é", "length", Usage(5, 6, 2, 1), "m-1", (ToolCall("a", "b", "{}"),), "no")


def test_an_answer_comes_back_whole(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    store.put("k", "lm", FULL)
    store.put("bare", "lm", Completion("x"))
    store.put("k", "lm", Completion("another"))
    store.close()
    store = Store(tmp_path / "store.sqlite")
    assert store.get("k") == FULL
    assert store.get("bare") == Completion("x")
    assert store.get("other") is None
    store.close()
    store.close()


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    store.put("k", "lm", FULL)
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    store.close()


def test_messages_and_keys_are_never_in_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    gateway = Gateway(store=store)
    lm = LM(ScriptedLM(lambda request: "a public answer"), api_key="sk-very-secret-key-1")
    request = Request(messages=(Message("user", "a private question"),))
    gateway.complete_blocking(lm, request, Role.TASK)
    gateway.close()
    store.close()
    raw = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"public answer" in raw and b"private question" not in raw and b"very-secret" not in raw


@pytest.mark.parametrize(
    "content", [b"this is no database at all, just text" * 40, b"SQLite format 3\x00" + b"\x07" * 5000]
)
def test_a_damaged_file_is_said_to_be_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"store\.sqlite"):
        Store(path)


def test_damage_inside_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = Store(path)
    for n in range(300):
        store.put(f"k{n}", "lm", Completion("x" * 100))
    store.close()
    raw = bytearray(path.read_bytes())
    raw[8192 : len(raw) - 4096] = b"\xff" * (len(raw) - 4096 - 8192)
    path.write_bytes(raw)
    with pytest.raises(StoreError):
        Store(path)


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    Store(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreError, match="newer"):
        Store(path)


def test_a_path_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        Store(tmp_path / "no" / "such" / "folder" / "store.sqlite")


def test_attempts_are_charged_by_role_and_study_at_their_worst_case_until_settled(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    first = store.open_attempt("s", "task", {"tokens": 100, "lm_calls": 1})
    store.open_attempt("s", "task", {"tokens": 50, "lm_calls": 1})
    store.open_attempt("other", "task", {"tokens": 7})
    store.settle_attempt(store.open_attempt("s", "judge", {"tokens": 9}), {})
    assert store.spent("s")["task"] == {"tokens": 150, "lm_calls": 2}
    store.settle_attempt(first, {"tokens": 10, "lm_calls": 1})
    store.close()
    store = Store(tmp_path / "store.sqlite")
    assert store.spent("s") == {"task": {"tokens": 60, "lm_calls": 2}, "judge": {}}
    assert store.spent("never seen") == {}
    store.close()


def test_a_store_from_before_attempts_named_their_lm_is_read_and_written_on(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with closing(sqlite3.connect(path)) as old, old:
        old.execute(
            "CREATE TABLE attempts (number INTEGER PRIMARY KEY AUTOINCREMENT, study TEXT NOT NULL, role TEXT NOT NULL, "
            "reserved TEXT NOT NULL, bill TEXT)"
        )
        old.execute("INSERT INTO attempts (study, role, reserved) VALUES ('s', 'task', '{\"tokens\": 5}')")
    for _ in range(2):
        store = Store(path)
        store.open_attempt("s", "task", {"tokens": 2.0}, "a model")
        store.close()
    store = Store(path)
    assert store.spent("s") == {"task": {"tokens": 9.0}}
    store.close()
    assert paid(path)["task"].tokens == 9
    assert paid_by_lm(path) == {}, "not all of its attempts say which LM they went to"


def test_small_values_are_kept() -> None:
    store = Store(":memory:")
    assert store.value("x") is None
    store.set_value("x", {"a": [1, None]})
    store.set_value("x", {"a": [2]})
    assert store.value("x") == {"a": [2]}
    store.close()


def test_threads_share_one_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")

    def work(worker: int) -> None:
        for n in range(50):
            store.settle_attempt(store.open_attempt("s", "task", {"lm_calls": 1}), {"lm_calls": 1})
            store.put(f"{worker}/{n}", "lm", Completion("x"))
            assert store.get(f"{worker}/{n}") is not None

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.spent("s") == {"task": {"lm_calls": 200}}
    store.close()


CHILD = """
import sys
from luthier.budget import Ledger
from luthier.lm.doubles import ScriptedLM
from luthier.lm.gateway import Gateway
from luthier.lm.lm import LM
from luthier.lm.request import Message, Request
from luthier.lm.store import Store
from luthier.types import Role

gateway = Gateway(store=Store(sys.argv[1]), ledger=Ledger({}), study="s")
for n in range(10_000):
    request = Request(messages=(Message("user", str(n)),))
    answer = gateway.complete_blocking(LM(ScriptedLM(lambda asked: "to " + asked.messages[0].text)), request, Role.TASK)
    print(n, answer.text, flush=True)
"""


def test_an_answer_that_was_seen_survives_the_death_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    seen = [child.stdout.readline().split(maxsplit=1) for _ in range(60)]
    child.kill()
    seen += [line.split(maxsplit=1) for line in child.stdout.read().splitlines()]
    child.stdout.close()
    child.wait()
    store = Store(path)
    double = ScriptedLM(lambda asked: "asked again")
    gateway = Gateway(store=store)
    for number, text in seen:
        request = Request(messages=(Message("user", number),))
        answer = gateway.complete_blocking(LM(double), request, Role.TASK)
        assert answer.text == text.strip()
    assert double.calls == 0
    assert store.spent("s")["task"]["lm_calls"] >= len(seen)
    gateway.close()
    store.close()


SHARED = """
import sys
from luthier.lm.request import Completion
from luthier.lm.store import Store

path, me = sys.argv[1:]
store = Store(path)
for n in range(40):
    store.put(f"{me}/{n}", "lm", Completion(f"{me} says {n}"))
    store.settle_attempt(store.open_attempt(me, "task", {"lm_calls": 2}), {"lm_calls": 1})
store.close()
"""


def test_processes_share_one_store(tmp_path: Path) -> None:
    path, names = tmp_path / "store.sqlite", ("a", "b", "c")
    children = [subprocess.Popen([sys.executable, "-c", SHARED, str(path), name]) for name in names]
    assert [child.wait(30) for child in children] == [0, 0, 0]
    store = Store(path)
    for name in names:
        assert all(store.get(f"{name}/{n}") == Completion(f"{name} says {n}") for n in range(40))
        assert store.spent(name) == {"task": {"lm_calls": 40}}
    store.close()


@contextmanager
def held_elsewhere(path: Path, seconds: float) -> Iterator[None]:
    """Hold the file's write lock as another process would, for so long."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(seconds, other.execute, ["COMMIT"])
    timer.start()
    try:
        yield
    finally:
        timer.join()
        other.close()


WRITES: dict[str, Callable[[Store], Awaitable[object]]] = {
    "an answer": lambda store: store.aput("k", "lm", FULL),
    "an attempt": lambda store: store.aopen_attempt("s", "task", {"lm_calls": 1}),
    "a small value": lambda store: store.aset_value("name", 1),
    "what waits": lambda store: store.aflush(),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_write_that_waits_for_another_process_lets_its_loop_go_on(tmp_path: Path, what: str) -> None:
    store = Store(tmp_path / "store.sqlite")
    store.settle_attempt(store.open_attempt("s", "task", {"lm_calls": 1}), {"lm_calls": 1})

    async def scene() -> int:
        writing = asyncio.ensure_future(WRITES[what](store))
        turns = 0
        while not writing.done():
            await asyncio.sleep(0.01)
            turns += 1
        await writing
        return turns

    with held_elsewhere(tmp_path / "store.sqlite", 0.5):
        assert asyncio.run(scene()) > 10
    store.close()


def test_calls_go_on_while_another_process_holds_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    gateway = Gateway(store=store, ledger=Ledger({"lm_calls": 100}), study="s")
    lm = LM(ScriptedLM(lambda request: request.messages[0].text))

    async def ask(number: int) -> str:
        request = Request(messages=(Message("user", str(number)),))
        return (await gateway.complete(lm, request, Role.TASK)).text

    async def scene() -> tuple[str, list[str]]:
        known = await ask(0)
        with held_elsewhere(tmp_path / "store.sqlite", 0.5):
            waiting = [asyncio.ensure_future(ask(number)) for number in range(1, 9)]
            await asyncio.sleep(0.05)
            async with asyncio.timeout(0.3):
                assert await ask(0) == known, "what is stored is answered at once"
            return known, [await call for call in waiting]

    assert asyncio.run(scene()) == ("0", [str(number) for number in range(1, 9)])
    gateway.close()
    assert store.spent("s")["task"]["lm_calls"] == 9
    store.close()


def test_a_thread_that_waits_for_another_process_holds_up_nobody_else(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    store.put("k", "lm", FULL)
    with held_elsewhere(tmp_path / "store.sqlite", 0.5):
        waiting = threading.Thread(target=store.put, args=("other", "lm", FULL))
        waiting.start()
        time.sleep(0.05)
        began = time.monotonic()
        assert store.get("k") == FULL and time.monotonic() - began < 0.3
        waiting.join()
    assert store.get("other") == FULL
    store.close()


def test_a_store_that_stays_held_is_an_error_that_names_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.lm.store._WAIT_FOR_OTHERS", 0.1)
    store = Store(tmp_path / "store.sqlite")
    with held_elsewhere(tmp_path / "store.sqlite", 0.6), pytest.raises(StoreError, match=r"store\.sqlite.*process"):
        store.put("k", "lm", FULL)
    store.close()
