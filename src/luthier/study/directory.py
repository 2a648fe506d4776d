"""A study's directory: its files, its privacy, and its one writer."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

from luthier.errors import ConfigError

_LOCK_OFFSET = 1 << 30
"""Where Windows locks a byte: beyond the text, which must stay readable for others."""


class StudyDirectory:
    """Names the files of a study; makes and locks nothing until asked."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.manifest = self.path / "manifest.json"
        self.journal = self.path / "journal.jsonl"
        self.store = self.path / "store.sqlite"
        self.prompts = self.path / "prompts"
        self.report = self.path / "report.html"
        self._lock = self.path / ".lock"
        self._gitignore = self.path / ".gitignore"

    def prepare(self) -> None:
        """Make the directory, readable by its owner alone and ignored by git; one that is there is kept.

        Raises:
            ConfigError: the path cannot be written, or holds something that is no study.
        """
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True, mode=0o700)
            elif not self._is_ours():
                raise ConfigError(f"{self.path} is not empty and holds no study; name a directory of its own")
            self.path.chmod(0o700)
            if not self._gitignore.exists():
                self._gitignore.write_text("*\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write the study directory {self.path}: {error.strerror or error}") from error

    def lock(self) -> Lock:
        """Become the study's one writer.

        Raises:
            ConfigError: another process is; the message names it.
        """
        return Lock(self._lock)

    def _is_ours(self) -> bool:
        if self.journal.exists() or self.manifest.exists() or self._lock.exists():
            return True
        ours = {self.store.name, self.prompts.name, self.report.name, self._gitignore.name}
        return all(entry.name.split("-")[0] in ours for entry in self.path.iterdir())


class Lock:
    """An operating system's lock on a file: freed when its holder ends, in whichever way."""

    def __init__(self, path: Path) -> None:
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
        try:
            _lock(self._handle)
        except OSError as error:
            os.close(self._handle)
            raise ConfigError(f"{path.parent} is being written by {_holder(path)}; wait for it or stop it") from error
        note = json.dumps({"pid": os.getpid(), "host": platform.node()}).encode()
        os.ftruncate(self._handle, 0)
        os.write(self._handle, note)

    def release(self) -> None:
        """Let another process write."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _holder(path: Path) -> str:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return f"process {note['pid']} on {note['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        os.lseek(handle, _LOCK_OFFSET, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
