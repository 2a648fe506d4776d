"""Where tasks get their data beside the user's folder and packages: a file of a public repository."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from luthier.demo.packaged import DATA_DIR
from luthier.errors import DataError, WeightsError
from luthier.lm.local.weights import cache_dir
from luthier.net.fetch import download

RAW = "https://raw.githubusercontent.com"


@dataclass(frozen=True, slots=True)
class RepositoryFile:
    """A file of a public repository at one commit."""

    repository: str
    commit: str
    path: str
    blob: str
    """The first twelve digits of git's own hash of the content, by which it is verified."""


def repository_file(file: RepositoryFile) -> bytes:
    """Return a repository's file: from the cache, or fetched and verified.

    Raises:
        DataError: it could not be had, or is not the file expected.
    """
    cached = cache_dir().parent / "data" / f"{file.blob}-{Path(file.path).name}"
    if not cached.is_file():
        cached.parent.mkdir(parents=True, exist_ok=True)
        try:
            download(f"{RAW}/{file.repository}/{file.commit}/{file.path}", cached)
        except WeightsError as error:
            raise DataError(
                f"{file.path} of {file.repository} could not be fetched ({error}); set {DATA_DIR} to a folder that "
                f"holds the data"
            ) from error
    content = cached.read_bytes()
    found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if not found.startswith(file.blob):
        cached.unlink()
        raise DataError(f"{file.path} of {file.repository} is not the file expected (git's hash of it is {found})")
    return content


def missing(what: str) -> DataError:
    """Return the error for data that only the user's folder can hold."""
    return DataError(
        f"{what} must be given: set {DATA_DIR} to a folder that holds it (docs/tasks.md says in what form)"
    )
