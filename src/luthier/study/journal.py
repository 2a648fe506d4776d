"""The journal: what happened in a study, one JSON line per event, appended and never changed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from luthier.errors import JournalError
from luthier.study.events import Event, read, read_all, to_json

VERSION = 1
"""Version of the events; a reader refuses newer ones."""
_ENVELOPE = ("v", "seq", "event", "time")
_TIMES = ("time", "seconds")
_SUM = b',"sum":"'
_SUM_DIGITS = 8


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Return the events of a journal that another process may be writing; empty where there is none yet.

    Raises:
        JournalError: a line is damaged, or written by a newer luthier.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return _decode(path, content)


def event_data(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an event says, without version, number, name, and time."""
    return {key: value for key, value in event.items() if key not in _ENVELOPE}


def without_times(value: Any) -> Any:
    """Return events (or any part of one) without times, for comparing what two studies did."""
    if isinstance(value, Mapping):
        return {key: without_times(part) for key, part in value.items() if key not in _TIMES}
    if isinstance(value, list | tuple):
        return [without_times(part) for part in value]
    return value


def envelope(number: int | None, event: Event) -> dict[str, Any]:
    """Return an event as it is written and as listeners get it.

    Raises:
        ValueError: it has a field with a name of the envelope.
    """
    clash = [key for key in _ENVELOPE if key in event.unknown]
    if clash:
        raise ValueError(f"event {event.name!r}: {', '.join(clash)} is set by the journal")
    numbered = {} if number is None else {"seq": number}
    data = event_data(to_json(event))
    return {"v": VERSION, **numbered, "event": event.name, "time": datetime.now(UTC).isoformat(), **data}


class Journal:
    """A journal open for writing; the caller holds the study's lock."""

    def __init__(self, path: Path) -> None:
        """Open the journal, dropping a torn last line: its event never counted.

        Raises:
            JournalError: a line is damaged, or written by a newer luthier.
        """
        self._path = path
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        # Unbuffered: after a failed write nothing may be left to be written later, elsewhere.
        self._file = os.fdopen(handle, "r+b", buffering=0)
        try:
            content = self._file.read()
            self.events = read_all(_decode(path, content))
            self._end = content.rfind(b"\n") + 1
            self._file.truncate(self._end)
            self._file.seek(self._end)
        except BaseException:
            self._file.close()
            raise

    def append(self, event: Event) -> Event:
        """Write one event to disk, for good, and return it as a reader will see it.

        Raises:
            TypeError: it has something that JSON cannot hold.
            ValueError: it has a NaN or an infinity, or a field with a name of the envelope.
            JournalError: the disk did not take it; the journal stays as it was.
        """
        line = json.dumps(envelope(len(self.events), event), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        self._write(_summed(line.encode()) + b"\n")
        written = read(json.loads(line))
        self.events.append(written)
        return written

    def _write(self, line: bytes) -> None:
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
                self._file.seek(self._end)
            raise JournalError(f"cannot write {self._path}: {error.strerror or error}") from error
        self._end += len(line)

    def clear(self) -> None:
        """Take back every event: for a study that began, but came to nothing yet."""
        self._file.truncate(0)
        self._file.seek(0)
        os.fsync(self._file.fileno())
        self.events, self._end = [], 0

    def close(self) -> None:
        """Close the file; further appends fail."""
        self._file.close()


def _summed(line: bytes) -> bytes:
    """Return an event's line with its check sum as the last field."""
    return line[:-1] + _SUM + _sum(line) + b'"}'


def _sum(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=_SUM_DIGITS // 2).hexdigest().encode()


def _is_whole(line: bytes) -> bool:
    """Say whether a line is as it was written; one without a sum, from before there were any, is taken as it is."""
    said, digits = line[: -_SUM_DIGITS - 2], line[-_SUM_DIGITS - 2 : -2]
    return not said.endswith(_SUM) or _sum(said.removesuffix(_SUM) + b"}") == digits


def _decode(path: Path, content: bytes) -> list[dict[str, Any]]:
    events = []
    for number, whole in enumerate(io.BytesIO(content)):  # which copies one line at a time
        if not whole.endswith(b"\n"):
            break  # torn: it never counted
        line = whole[:-1]
        where = f"{path}, line {number + 1}"
        try:
            event = json.loads(line)
        except ValueError as error:
            raise JournalError(f"{where}: damaged ({error}); restore the file from a copy") from error
        if not isinstance(event, dict) or not isinstance(event.get("v"), int) or "event" not in event:
            raise JournalError(f"{where}: not an event of a study")
        if event["v"] > VERSION:
            raise JournalError(
                f"{where}: version {event['v']} is newer than this luthier reads ({VERSION}); upgrade luthier"
            )
        if event.get("seq") != number:
            raise JournalError(f"{where}: event {event.get('seq')} stands where {number} should; lines were lost")
        if not _is_whole(line):
            raise JournalError(f"{where}: damaged (its sum is wrong); restore the file from a copy")
        event.pop("sum", None)
        events.append(event)
    return events
