"""The store: every answer ever paid for, by content hash of its request. It never holds the messages."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from luthier.errors import StoreError
from luthier.lm.request import Completion, ToolCall, Usage

_VERSION = 1
_MEMORY = ":memory:"
_CHECKED_BYTES = 64 << 20
_WAIT_FOR_OTHERS = 30.0  # seconds, where studies share a store
_BETWEEN_ATTEMPTS = 0.02  # seconds

T = TypeVar("T")

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, lm TEXT NOT NULL, answer TEXT NOT NULL, usage TEXT, finish_reason TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, study TEXT NOT NULL, role TEXT NOT NULL, reserved TEXT NOT NULL,
    bill TEXT, lm TEXT
);
CREATE INDEX IF NOT EXISTS attempts_by_study ON attempts (study);
CREATE TABLE IF NOT EXISTS vals (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class _Busy(StoreError):
    """Another process holds the file, for now."""


class Store:
    """An SQLite file of answers and attempts. May be used from any thread and by several processes.

    Where another process holds the file, methods wait for up to 30 seconds: those with an ``a`` before their name let
    their event loop go on meanwhile, the others block their thread. Nobody holds the connection while waiting.

    Args:
        path: the file, made with mode 0600 where it is not there; ":memory:" keeps nothing.

    Raises:
        StoreError: the file is damaged, newer than this luthier, or cannot be written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        self._lock = threading.Lock()  # one statement at a time on the one connection
        self._closed = False
        self._unsettled: list[tuple[str, int]] = []
        with self._explained():
            if self.path != _MEMORY:
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            # It never waits by itself, since that would block a whole event loop.
            self._database = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._patiently(self._prepare)
        except StoreError:
            self._database.close()
            raise

    def get(self, key: str) -> Completion | None:
        """Return the stored answer, or None."""
        return self._patiently(lambda: self._get(key))

    async def aget(self, key: str) -> Completion | None:
        """Return the stored answer, or None."""
        return await self._apatiently(lambda: self._get(key))

    def put(self, key: str, lm_identity: str, completion: Completion) -> None:
        """Commit an answer; the first one stored under a key stays."""
        self._patiently(lambda: self._put(key, lm_identity, completion))

    async def aput(self, key: str, lm_identity: str, completion: Completion) -> None:
        """Commit an answer; the first one stored under a key stays."""
        await self._apatiently(lambda: self._put(key, lm_identity, completion))

    def open_attempt(self, study: str, role: str, reserved: Mapping[str, float], lm: str = "") -> int:
        """Commit an attempt at an LM with its worst case before it is sent, and return its number."""
        return self._patiently(lambda: self._open_attempt(study, role, reserved, lm))

    async def aopen_attempt(self, study: str, role: str, reserved: Mapping[str, float], lm: str = "") -> int:
        """Commit an attempt at an LM with its worst case before it is sent, and return its number."""
        return await self._apatiently(lambda: self._open_attempt(study, role, reserved, lm))

    def settle_attempt(self, number: int, bill: Mapping[str, float]) -> None:
        """Note what an attempt was charged; written with the next commit, until then its worst case counts."""
        with self._lock:
            self._unsettled.append((json.dumps(dict(bill)), number))

    def spent(self, study: str) -> dict[str, dict[str, float]]:
        """Return what a study's attempts were charged, by role; an attempt without a bill at its worst case."""
        self.flush()
        spent: dict[str, dict[str, float]] = {}
        for role, amounts in self._patiently(lambda: self._attempts(study)):
            total = spent.setdefault(role, {})
            for name, value in json.loads(amounts).items():
                total[name] = total.get(name, 0.0) + value
        return spent

    def value(self, key: str) -> Any:
        """Return a small JSON value, or None."""
        return self._patiently(lambda: self._value(key))

    def set_value(self, key: str, value: Any) -> None:
        """Commit a small JSON value."""
        self._patiently(lambda: self._set_value(key, value))

    async def aset_value(self, key: str, value: Any) -> None:
        """Commit a small JSON value."""
        await self._apatiently(lambda: self._set_value(key, value))

    def values(self, prefix: str) -> dict[str, Any]:
        """Return all small JSON values whose keys begin so, by the rest of the key."""
        return self._patiently(lambda: self._values(prefix))

    def flush(self) -> None:
        """Write what waits for the next commit."""
        self._patiently(self._write_unsettled)

    async def aflush(self) -> None:
        """Write what waits for the next commit."""
        await self._apatiently(self._write_unsettled)

    def close(self) -> None:
        """Flush and close; closing twice is harmless."""
        self.flush()
        with self._lock:
            self._closed = True
            self._database.close()

    def __del__(self) -> None:
        # A store that was dropped without close() must not warn from the interpreter's shutdown.
        database = getattr(self, "_database", None)
        if database is not None and not self._closed:
            database.close()

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """Return what one attempt at the file returns, blocking this thread while another process holds it."""
        end = time.monotonic() + _WAIT_FOR_OTHERS
        while True:
            try:
                return attempt()
            except _Busy:
                if time.monotonic() >= end:
                    raise
            time.sleep(_BETWEEN_ATTEMPTS)

    async def _apatiently(self, attempt: Callable[[], T]) -> T:
        """Return what one attempt at the file returns; this loop goes on while another process holds it."""
        end = time.monotonic() + _WAIT_FOR_OTHERS
        while True:
            try:
                return attempt()
            except _Busy:
                if time.monotonic() >= end:
                    raise
            await asyncio.sleep(_BETWEEN_ATTEMPTS)

    def _get(self, key: str) -> Completion | None:
        with self._lock, self._explained():
            row = self._database.execute(
                "SELECT answer, usage, finish_reason FROM answers WHERE key = ?", (key,)
            ).fetchone()
            return None if row is None else _completion(*row)

    def _put(self, key: str, lm_identity: str, completion: Completion) -> None:
        usage = None if completion.usage is None else json.dumps(_usage_json(completion.usage))
        row = (key, lm_identity, json.dumps(_answer_json(completion)), usage, completion.finish_reason)
        with self._lock, self._explained(), self._transaction():
            self._database.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", row)

    def _open_attempt(self, study: str, role: str, reserved: Mapping[str, float], lm: str) -> int:
        row = (study, role, json.dumps(dict(reserved)), lm)
        with self._lock, self._explained(), self._transaction():
            cursor = self._database.execute("INSERT INTO attempts (study, role, reserved, lm) VALUES (?, ?, ?, ?)", row)
            return int(cursor.lastrowid or 0)

    def _attempts(self, study: str) -> list[Any]:
        with self._lock, self._explained():
            return self._database.execute(
                "SELECT role, COALESCE(bill, reserved) FROM attempts WHERE study = ?", (study,)
            ).fetchall()

    def _count_look(self, test_ids_hash: str, study: str) -> int:
        with self._lock, self._explained(), self._transaction():
            self._database.execute("INSERT OR IGNORE INTO looks VALUES (?, ?)", (test_ids_hash, study))
            row = self._database.execute("SELECT COUNT(*) FROM looks WHERE test_ids = ?", (test_ids_hash,)).fetchone()
            return int(row[0])

    def _value(self, key: str) -> Any:
        with self._lock, self._explained():
            row = self._database.execute("SELECT value FROM vals WHERE key = ?", (key,)).fetchone()
            return None if row is None else json.loads(row[0])

    def _set_value(self, key: str, value: Any) -> None:
        with self._lock, self._explained(), self._transaction():
            self._database.execute("INSERT OR REPLACE INTO vals VALUES (?, ?)", (key, json.dumps(value)))

    def _values(self, prefix: str) -> dict[str, Any]:
        with self._lock, self._explained():
            rows = self._database.execute(
                "SELECT key, value FROM vals WHERE substr(key, 1, ?) = ?", (len(prefix), prefix)
            ).fetchall()
            return {key[len(prefix) :]: json.loads(value) for key, value in rows}

    def _write_unsettled(self) -> None:
        with self._lock, self._explained():
            if self._unsettled and not self._closed:
                with self._transaction():
                    pass

    def _prepare(self) -> None:
        with self._lock, self._explained():
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute(
                "PRAGMA synchronous = NORMAL"
            )  # survives the death of the process, which is promised
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version > _VERSION:
                raise StoreError(f"{self.path} was written by a newer luthier (store version {version}).")
            self._database.executescript(_TABLES)
            if not any(column[1] == "lm" for column in self._database.execute("PRAGMA table_info(attempts)")):
                self._add_lm()
            self._database.execute(f"PRAGMA user_version = {_VERSION}")
            if self._is_small() and self._database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise StoreError(
                    f"{self.path} is damaged; move it away and run again (its answers will be paid again)."
                )

    def _add_lm(self) -> None:
        """Let attempts name their LM, in a store from before they did."""
        try:
            self._database.execute("ALTER TABLE attempts ADD COLUMN lm TEXT")
        except sqlite3.OperationalError as error:
            if "duplicate column" not in str(error):  # another process was faster
                raise

    def _is_small(self) -> bool:
        # The check reads every page; in a large store damage is reported when it is met.
        return self.path != _MEMORY and os.path.getsize(self.path) <= _CHECKED_BYTES

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._settle_rows()
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # a full disk has ended it already
                self._database.execute("ROLLBACK")
            raise
        self._unsettled.clear()

    def _settle_rows(self) -> None:
        if self._unsettled:
            self._database.executemany("UPDATE attempts SET bill = ? WHERE number = ?", self._unsettled)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            name = getattr(error, "sqlite_errorname", "")
            if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise _Busy(
                    f"{self.path}: {error}: another process holds it; stop that, or use another store."
                ) from error
            if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
                raise StoreError(
                    f"{self.path}: {error}: is the disk full? Nothing recorded is lost; make room, then run again."
                ) from error
            raise StoreError(f"{self.path}: {error}; the store is damaged or cannot be written.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self.path} holds a row that cannot be read ({error}); the store is damaged.") from error


def _answer_json(completion: Completion) -> dict[str, Any]:
    out: dict[str, Any] = {"text": completion.text}
    if completion.model:
        out["model"] = completion.model
    if completion.tool_calls:
        out["tool_calls"] = [[call.id, call.name, call.arguments] for call in completion.tool_calls]
    if completion.refusal is not None:
        out["refusal"] = completion.refusal
    if completion.raw is not None:
        out["raw"] = completion.raw
    return out


def _usage_json(usage: Usage) -> list[int]:
    counts = [usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.calls]
    return [*counts, usage.reasoning_tokens] if usage.reasoning_tokens else counts


def _completion(answer: str, usage: str | None, finish_reason: Any) -> Completion:
    fields = json.loads(answer)
    return Completion(
        text=fields["text"],
        finish_reason=finish_reason,
        usage=None if usage is None else Usage(*json.loads(usage)),
        model=fields.get("model", ""),
        tool_calls=tuple(ToolCall(*call) for call in fields.get("tool_calls", ())),
        refusal=fields.get("refusal"),
        raw=fields.get("raw"),
    )
