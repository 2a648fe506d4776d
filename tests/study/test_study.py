from __future__ import annotations

import asyncio
import errno
import json
import math
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import ConfigError, JournalError, StudyMismatch
from luthier.study.events import AskEvent, DoneEvent, Event, ManifestEvent, SplitEvent, UnknownEvent, read, to_json
from luthier.study.journal import Journal, event_data, read_journal
from luthier.study.manifest import find_differences
from luthier.study.study import Study
from tests.study import toy


def give(value: Any) -> Any:
    async def compute() -> Any:
        return value

    return compute


def step(name: str, **data: Any) -> Event:
    """Return an event with these fields alone."""
    return read({"event": name, **data})


async def refuse() -> Any:
    raise AssertionError("a recorded step must not run again")


def changed(**changes: Any) -> dict[str, Any]:
    return {**toy.MANIFEST, **changes}


def test_a_step_is_computed_once_and_read_ever_after(tmp_path: Path) -> None:
    with Study.open(tmp_path, toy.MANIFEST) as study:
        first = asyncio.run(study.step(SplitEvent, give(step("split", train=("a", "b"), share=0.1))))
    with Study.open(tmp_path, toy.MANIFEST) as study:
        assert asyncio.run(study.step(SplitEvent, refuse)) == first
        assert event_data(to_json(first)) == {"train": ["a", "b"], "share": 0.1}
        assert [event.name for event in study.events] == ["manifest", "split"]


def test_a_step_that_fails_leaves_nothing_and_runs_again(tmp_path: Path) -> None:
    with Study.open(tmp_path, toy.MANIFEST) as study, pytest.raises(AssertionError):
        asyncio.run(study.step(SplitEvent, refuse))
    with Study.open(tmp_path, toy.MANIFEST) as study:
        made = asyncio.run(study.step(SplitEvent, give(step("split", x=1))))
        assert event_data(to_json(made)) == {"x": 1}


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([1], TypeError),
        ({"x": 1}, TypeError),
        (UnknownEvent(unknown={"x": math.nan}), ValueError),
        (UnknownEvent(unknown={"x": object()}), TypeError),
        (UnknownEvent(unknown={"seq": 1}), ValueError),
    ],
)
def test_a_result_that_a_journal_cannot_hold_is_refused_before_it_is_written(
    tmp_path: Path, value: Any, error: type[Exception]
) -> None:
    with Study.open(tmp_path, toy.MANIFEST) as study:
        with pytest.raises(error):
            asyncio.run(study.step(UnknownEvent, give(value), part="bad"))
        assert len(study.events) == 1


def test_step_names_are_unique(tmp_path: Path) -> None:
    with Study.open(tmp_path, toy.MANIFEST) as study:
        asyncio.run(study.step(UnknownEvent, give(UnknownEvent()), part="a"))
        taken: list[tuple[type[Event], str]] = [(UnknownEvent, "a"), (AskEvent, ""), (ManifestEvent, "")]
        for kind, part in taken:
            with pytest.raises(ValueError, match="taken"):
                asyncio.run(study.step(kind, give(UnknownEvent()), part=part))


def test_listeners_get_every_event_as_it_is_written_and_transient_ones(tmp_path: Path) -> None:
    heard: list[Mapping[str, Any]] = []
    with Study.open(tmp_path, toy.MANIFEST, on_event=heard.append) as study:
        study.notify(step("rollout", value=1))
        study.append(DoneEvent(decision="keep"))
        assert study.finished
    assert [event["event"] for event in heard] == ["manifest", "rollout", "done"]
    assert heard[1]["transient"] is True
    assert [heard[0], heard[2]] == read_journal(tmp_path / "journal.jsonl")
    assert set(heard[2]) == {"v", "seq", "event", "time", "decision"}


def test_another_study_is_refused_with_every_difference_named(tmp_path: Path) -> None:
    Study.open(tmp_path, toy.MANIFEST).close()
    with pytest.raises(StudyMismatch) as caught:
        Study.open(tmp_path, changed(seed=1, code={"m": "2", "extra": True}))
    text = str(caught.value)
    for part in (
        "seed: was 0, is 1",
        'code.m: was "1", is "2"',
        "code.extra: was absent, is true",
        "another study directory",
    ):
        assert part in text
    Study.open(tmp_path, toy.MANIFEST).close()


def test_differences_name_where_they_are() -> None:
    old = {"a": [{"x": 1}, 2], "b": "s", "c": [1], "d": 1}
    new = {"a": [{"x": 2}, 2], "b": "s", "c": [1, 2], "d": True}
    assert find_differences(old, new) == ["a[0].x: was 1, is 2", "c: was [1], is [1, 2]", "d: was 1, is true"]
    assert find_differences(old, json.loads(json.dumps(old))) == []


def test_the_budget_may_be_raised_but_not_lowered_and_the_journal_stays_the_same(tmp_path: Path) -> None:
    Study.open(tmp_path, toy.MANIFEST).close()
    before = (tmp_path / "journal.jsonl").read_bytes()
    Study.open(tmp_path, changed(budget={"usd": 2.0, "lm_calls": None})).close()
    assert (tmp_path / "journal.jsonl").read_bytes() == before
    for lower in ({"usd": 1.0, "lm_calls": None}, {"usd": 2.0, "lm_calls": 5}):
        with pytest.raises(StudyMismatch, match="may only be raised"):
            Study.open(tmp_path, changed(budget=lower))
    Study.open(tmp_path, changed(budget=None)).close()
    with pytest.raises(StudyMismatch, match="may only be raised"):
        Study.open(tmp_path, changed(budget={"usd": 9.0, "lm_calls": None}))


def test_an_accepted_change_is_kept_for_the_next_time(tmp_path: Path) -> None:
    Study.open(tmp_path, toy.MANIFEST).close()
    repaired = changed(code={"m": "2"})
    with pytest.raises(StudyMismatch):
        Study.open(tmp_path, repaired)
    Study.open(tmp_path, repaired, accept=("code",)).close()
    Study.open(tmp_path, repaired).close()


def test_a_lost_manifest_is_written_again_from_the_journal(tmp_path: Path) -> None:
    Study.open(tmp_path, toy.MANIFEST).close()
    manifest = tmp_path / "manifest.json"
    manifest.unlink()
    with pytest.raises(StudyMismatch):
        Study.open(tmp_path, changed(seed=7))
    Study.open(tmp_path, toy.MANIFEST).close()
    assert json.loads(manifest.read_text(encoding="utf-8")) == toy.MANIFEST
    manifest.write_text("{", encoding="utf-8")
    with pytest.raises(JournalError, match=r"manifest\.json: damaged"):
        Study.open(tmp_path, toy.MANIFEST)


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_the_directory_is_private_and_ignored_by_git(tmp_path: Path) -> None:
    with Study.open(tmp_path / "runs" / "one", toy.MANIFEST) as study:
        assert stat.S_IMODE(study.directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((study.directory / "journal.jsonl").stat().st_mode) == 0o600
        assert (study.directory / ".gitignore").read_text(encoding="utf-8") == "*\n"
        assert study.store_path == study.directory / "store.sqlite"


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("", encoding="utf-8")
    mode = tmp_path.stat().st_mode
    with pytest.raises(ConfigError, match="not empty and holds no study"):
        Study.open(tmp_path, toy.MANIFEST)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]
    assert tmp_path.stat().st_mode == mode


def test_a_path_that_cannot_be_a_directory_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="file"):
            Study.open(path, toy.MANIFEST)


def test_a_torn_last_line_is_dropped_by_readers_and_cut_off_by_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append(step("manifest", a="é"))
    journal.append(DoneEvent(decision="keep"))
    journal.close()
    content = path.read_bytes()
    path.write_bytes(content + b'{"v":1,"seq":2,"ev')
    assert len(read_journal(path)) == 2
    assert path.read_bytes() != content
    Journal(path).close()
    assert path.read_bytes() == content
    assert event_data(read_journal(path)[0]) == {"a": "é"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"v":1,"seq":1', "line 2: damaged"),
        (b"\xff\xfe", "line 2: damaged"),
        (b"[]", "line 2: not an event"),
        (b'{"v":2,"seq":1,"event":"x"}', "version 2 is newer than this luthier reads"),
        (b'{"v":1,"seq":5,"event":"x"}', "lines were lost"),
    ],
)
def test_damage_in_the_middle_is_an_error_that_names_the_line(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "journal.jsonl"
    content = b'{"v":1,"seq":0,"event":"manifest"}\n' + line + b'\n{"v":1,"seq":2,"event":"done"}\n'
    path.write_bytes(content)
    for reader in (read_journal, Journal):
        with pytest.raises(JournalError, match=message):
            reader(path)
    assert path.read_bytes() == content


def test_a_change_that_leaves_json_whole_is_found_too(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append(step("baseline", mean=0.25))
    journal.append(DoneEvent(decision="keep"))
    journal.close()
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.75"))
    with pytest.raises(JournalError, match="line 1: damaged"):
        read_journal(path)


def test_a_journal_that_does_not_exist_has_no_events(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "journal.jsonl") == []


def test_a_full_disk_is_a_clear_error_and_leaves_the_journal_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Study.open(tmp_path, toy.MANIFEST) as study:
        before = (tmp_path / "journal.jsonl").read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(JournalError, match="No space left"):
                study.append(DoneEvent(decision="keep"))
        assert (tmp_path / "journal.jsonl").read_bytes() == before
        study.append(DoneEvent(decision="keep"))
    assert [event["seq"] for event in read_journal(tmp_path / "journal.jsonl")] == [0, 1]
