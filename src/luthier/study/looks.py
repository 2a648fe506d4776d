"""Looks at test examples, counted across studies: each further look makes it likelier that chance alone is adopted."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from luthier.canonical import content_hash

LOOKS_VARIABLE = "LUTHIER_LOOKS"
_WAIT_FOR_OTHERS = 10.0  # seconds, where studies end at the same time

_TABLE = """
CREATE TABLE IF NOT EXISTS test_looks (
    study TEXT NOT NULL, outcome TEXT NOT NULL, look INTEGER NOT NULL, examples TEXT NOT NULL,
    PRIMARY KEY (study, outcome)
) WITHOUT ROWID
"""


def looks_file() -> Path:
    """Return the file in which this user's looks are counted: ``LUTHIER_LOOKS``, else one in the data directory."""
    if given := os.environ.get(LOOKS_VARIABLE):
        return Path(given).expanduser()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "luthier" / "looks.sqlite"


@dataclass(frozen=True, slots=True)
class CountedLook:
    """The nth look at the same test examples."""

    number: int
    """From 1."""
    warnings: tuple[str, ...] = ()
    """Which files could not be read or written, so that looks may be missing from the count."""


@dataclass(frozen=True, slots=True)
class LookCounter:
    """Counts looks in one or more SQLite files, each of which may serve several processes at once.

    Two sets of examples are the same where they share more than half of the smaller one. A study that is run again,
    and comes to the same outcome, is the same look. A file that cannot be used is named in the warnings; counting
    goes on without it.

    Args:
        files: made where they are missing; they hold hashes only.
    """

    files: tuple[Path, ...]

    def next_look(self, examples: Collection[str], study: str) -> CountedLook:
        """Return which look the study's would be if it came now, or was if it has come; nothing is written.

        Args:
            examples: ids of the test examples.
            study: what names the study.
        """
        count = _Count(frozenset(map(_short, examples)), content_hash(sorted(examples)))
        for file in self.files:
            with count.noting_failures(file):
                if file.exists():
                    with _opened(file) as database:
                        count.read(database)
        own = [number for (known, _), number in count.known.items() if known == study]
        return CountedLook(max(own, default=1 + len(count.known)), tuple(count.warnings))

    def take_look(self, examples: Collection[str], study: str, outcome: str) -> CountedLook:
        """Record that the study looked at these examples, and return which look that was.

        Args:
            examples: ids of the test examples.
            study: what names the study.
            outcome: hash of what was compared and what came out.
        """
        count = _Count(frozenset(map(_short, examples)), content_hash(sorted(examples)))
        with ExitStack() as closing:
            opened: list[tuple[Path, sqlite3.Connection]] = []
            for file in sorted(set(self.files)):  # in one order, lest two processes wait for each other
                with count.noting_failures(file):
                    database = closing.enter_context(_opened(file))
                    database.execute("BEGIN IMMEDIATE")
                    database.execute(_TABLE)
                    count.read(database)
                    opened.append((file, database))
            number = count.known.get((study, outcome), 1 + len(count.known))
            row = (study, outcome, number, " ".join(sorted(count.examples)))
            for file, database in opened:
                with count.noting_failures(file):
                    database.execute("INSERT OR IGNORE INTO test_looks VALUES (?, ?, ?, ?)", row)
                    database.execute("COMMIT")
        return CountedLook(number, tuple(count.warnings))


@dataclass(slots=True)
class _Count:
    """The looks that all files have at the same examples."""

    examples: frozenset[str]
    whole: str
    """The hash that stores of luthier 0.1.0 have of the set."""
    known: dict[tuple[str, str], int] = field(default_factory=dict)
    """By study and outcome, which look it was."""
    warnings: list[str] = field(default_factory=list)

    def read(self, database: sqlite3.Connection) -> None:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        if "test_looks" in tables:
            for study, outcome, number, examples in database.execute("SELECT * FROM test_looks"):
                theirs = frozenset(examples.split())
                if 2 * len(self.examples & theirs) > min(len(self.examples), len(theirs)):
                    self.known[study, outcome] = number
        if "looks" in tables:
            for (study,) in database.execute("SELECT study FROM looks WHERE test_ids = ?", (self.whole,)):
                self.known[study, ""] = 1

    @contextmanager
    def noting_failures(self, file: Path) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            text = (
                f"looks at the test examples cannot be counted in {file} ({error}), so the interval may be narrower "
                f"than earlier studies allow; make the file writable, or name another with {LOOKS_VARIABLE}"
            )
            if text not in self.warnings:
                self.warnings.append(text)


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    database = sqlite3.connect(file, timeout=_WAIT_FOR_OTHERS, isolation_level=None)
    try:
        yield database
    finally:
        database.close()  # what was not committed is rolled back


def _short(example: str) -> str:
    """Return a hash of an example's id, as short as tells apart the examples of one person."""
    return hashlib.blake2b(example.encode(), digest_size=8).hexdigest()
