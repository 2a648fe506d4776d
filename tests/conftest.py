"""What holds for every test."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from luthier.study.looks import LOOKS_VARIABLE
from tests.lengths import examples

settings.register_profile("luthier", max_examples=examples(100))
settings.load_profile("luthier")
# A shell that starts tests in the background has them, and all their children, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What was imported stays to the end: no collection of garbage needs to look through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_waits_for_the_disk() -> Iterator[None]:
    """Tests kill processes, but cut no power: whether written bytes have left the machine's memory shows nowhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process remembers its keys for good; a test's "secret" must not be masked in the texts of the next one."""
    monkeypatch.setattr("luthier.lm.redact._known", set())


@pytest.fixture(scope="module", autouse=True)
def no_looks_of_other_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Studies that fixtures of a module make are counted nowhere else, least of all in the user's own directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LOOKS_VARIABLE, str(tmp_path_factory.mktemp("looks") / "looks.sqlite"))
        yield


@pytest.fixture(autouse=True)
def no_looks_of_other_tests(no_looks_of_other_modules: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A test's studies are the first to look at their test examples."""
    monkeypatch.setenv(LOOKS_VARIABLE, str(tmp_path.with_name(f"{tmp_path.name}-looks") / "looks.sqlite"))
