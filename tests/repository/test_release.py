"""What is published: version, changelog, pins, and nothing of the machine it was made on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import luthier
from tests.repository.sources import ROOT, pyproject, shown, text_files

# Written in two halves, so that this file does not find itself.
_MACHINE = [
    "/" + "root/.",
    "/" + "work/",
    "/" + "tmp/brief",
    "/" + "opt/",
    "pypi" + ".org/simple",
    "files." + "pythonhosted",
    "registry." + "npmjs",
    "--index" + "-url",
    "--find" + "-links",
]
_HOME = re.compile(r"/(?:home|Users)/(?!user\b|you\b|me\b)\w+/")


def test_the_changelog_starts_with_unreleased_and_then_this_version() -> None:
    headings = re.findall(r"^## \[?([^\]\s]+)\]?", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", luthier.__version__]


def test_every_changelog_entry_is_one_short_sentence() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = [" ".join(entry.split()) for entry in re.findall(r"^- (.*(?:\n  .*)*)", text, re.MULTILINE)]
    assert entries
    assert not [entry for entry in entries if len(entry.split()) > 25 or not entry.endswith(".")]


@pytest.mark.parametrize("kind", ["dev", "integrations"])
def test_every_pin_has_its_hashes(kind: str) -> None:
    assert not [name for name, block in _pins(kind).items() if "--hash=sha256:" not in block]


def test_every_dependency_is_pinned() -> None:
    wanted = [*pyproject()["project"]["dependencies"], *_wanted(ROOT / "requirements-dev.in")]
    assert not _names(wanted) - _pins("dev").keys(), "run `make pins`"
    extras = [line for extra in pyproject()["project"]["optional-dependencies"].values() for line in extra]
    assert not _names(extras) - _pins("dev").keys() - _pins("integrations").keys(), "run `make pins`"


def _names(lines: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_-]", line)[0].lower() for line in lines}


def test_no_file_tells_of_the_machine_it_was_made_on() -> None:
    found = [
        f"{shown(path)}: {word}"
        for path in text_files()
        if (text := _text(path)) is not None
        for word in [w for w in _MACHINE if w in text] + _HOME.findall(text)
        if not _about_pip(path, word)
    ]
    assert not found


def _about_pip(path: Path, word: str) -> bool:
    # `make pins` tells pip-compile to leave addresses out.
    return path.name == "Makefile" and word in ("--index" + "-url", "--find" + "-links")


def _pins(kind: str) -> dict[str, str]:
    text = (ROOT / f"requirements-{kind}.txt").read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
    return {block.split("==")[0].lower(): block for block in blocks if "==" in block}


def _wanted(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
