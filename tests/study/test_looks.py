"""Looks at test examples are counted across studies, and what cannot be counted is said."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from luthier.canonical import content_hash
from luthier.study.looks import LookCounter, looks_file


def ids(first: int, last: int) -> list[str]:
    return [f"example {number}" for number in range(first, last)]


def counter(path: Path) -> LookCounter:
    return LookCounter((path / "looks.sqlite",))


def looks(path: Path, sets: Sequence[list[str]]) -> list[int]:
    return [counter(path).take_look(examples, f"study {n}", "o").number for n, examples in enumerate(sets)]


def test_every_further_study_that_looks_at_the_same_examples_is_counted(tmp_path: Path) -> None:
    assert looks(tmp_path, [ids(0, 40)] * 4) == [1, 2, 3, 4]


def test_the_same_study_with_the_same_outcome_is_one_look_and_stays_the_one_it_was(tmp_path: Path) -> None:
    counted = [("a", "x"), ("b", "x"), ("a", "x"), ("b", "x"), ("a", "y")]
    assert [counter(tmp_path).take_look(ids(0, 40), *each).number for each in counted] == [1, 2, 1, 2, 3]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (ids(0, 40), ids(0, 40)[::-1], True),
        (ids(0, 40), ids(19, 59), True),  # 21 of 40
        (ids(0, 40), ids(20, 60), False),  # half is not more than half
        (ids(0, 40), ids(40, 80), False),
        (ids(0, 300), ids(0, 24), True),  # a part of a larger set
        (ids(0, 24), ids(11, 311), True),  # 13 of the smaller set's 24
        (ids(0, 24), ids(12, 312), False),
    ],
)
def test_sets_that_share_more_than_half_count_as_the_same(
    tmp_path: Path, first: list[str], second: list[str], same: bool
) -> None:
    assert looks(tmp_path, [first, second]) == [1, 2 if same else 1]
    assert counter(tmp_path).next_look(second, "another").number == (3 if same else 2)


def test_asking_which_look_comes_next_writes_nothing_and_knows_of_the_others_only(tmp_path: Path) -> None:
    assert counter(tmp_path / "none").next_look(ids(0, 40), "a").number == 1
    assert not (tmp_path / "none").exists()
    looks(tmp_path, [ids(0, 40)] * 2)
    assert counter(tmp_path).next_look(ids(0, 40), "new").number == 3
    assert counter(tmp_path).next_look(ids(0, 40), "study 0").number == 1, "a study that is repeated"


def test_looks_of_several_files_are_taken_together_each_once(tmp_path: Path) -> None:
    mine, shared = tmp_path / "mine", tmp_path / "shared"
    LookCounter((mine,)).take_look(ids(0, 40), "a", "o")
    LookCounter((shared,)).take_look(ids(0, 40), "b", "o")
    assert LookCounter((mine, shared)).take_look(ids(0, 40), "c", "o").number == 3
    assert LookCounter((shared, mine)).take_look(ids(0, 40), "d", "o").number == 4
    assert LookCounter((mine,)).take_look(ids(0, 40), "e", "o").number == 4


def test_looks_in_a_store_of_luthier_010_count(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "looks.sqlite") as old:
        old.execute("CREATE TABLE looks (test_ids TEXT NOT NULL, study TEXT NOT NULL)")
        old.executemany("INSERT INTO looks VALUES (?, ?)", [(content_hash(ids(0, 9)), each) for each in "abc"])
    old.close()
    assert looks(tmp_path, [ids(0, 9)]) == [4]
    assert looks(tmp_path, [ids(20, 29)]) == [1]


ONE_LOOK = """
import sys
from pathlib import Path
from luthier.study.looks import LookCounter

path, me = sys.argv[1:]
for n in range(10):
    found = LookCounter((Path(path),)).take_look([f"example {i}" for i in range(300)], f"{me}/{n}", "o")
    assert not found.warnings, found.warnings
    print(found.number)
"""


def test_studies_that_end_at_the_same_time_all_have_a_number_of_their_own(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ONE_LOOK, str(tmp_path / "deep" / "looks.sqlite")]
    children = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "abcd"]
    numbers = [int(line) for child in children for line in child.communicate(timeout=60)[0].split()]
    assert sorted(numbers) == list(range(1, 41))


def test_only_hashes_are_written_and_for_their_owner_alone(tmp_path: Path) -> None:
    secret = ["patient Anna Muster", "patient Bert Beispiel"]
    counter(tmp_path / "deep").take_look(secret, "study", "o")
    file = tmp_path / "deep" / "looks.sqlite"
    assert b"Anna" not in file.read_bytes() and b"patient" not in file.read_bytes()
    if sys.platform != "win32":
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize("damage", ["a directory", "no database", "below a file", "another table", "locked"])
def test_a_file_that_cannot_be_used_is_named_and_breaks_nothing(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.study.looks._WAIT_FOR_OTHERS", 0.05)
    bad, good = tmp_path / "bad", tmp_path / "good"
    if damage == "a directory":
        bad.mkdir()
    elif damage == "no database":
        bad.write_text("These are notes of mine, and they must stay. " * 200, encoding="utf-8")
    elif damage == "below a file":
        bad.write_text("", encoding="utf-8")
        bad = bad / "looks.sqlite"
    else:
        holder = sqlite3.connect(bad, isolation_level=None)
        if damage == "another table":
            holder.execute("CREATE TABLE test_looks (something TEXT)")
            holder.close()
        else:
            holder.execute("BEGIN EXCLUSIVE")
    kept = bad.read_bytes() if damage == "no database" else b""
    LookCounter((good,)).take_look(ids(0, 40), "a", "o")
    found = LookCounter((bad, good)).take_look(ids(0, 40), "b", "o")
    assert found.number == 2, "the others are counted all the same"
    (warning,) = found.warnings
    assert str(bad) in warning and "LUTHIER_LOOKS" in warning
    assert LookCounter((bad,)).take_look(ids(0, 40), "c", "o").number == 1
    if damage == "no database":
        assert bad.read_bytes() == kept
    if damage == "locked":
        holder.close()


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "geteuid"), reason="rights are another matter there")
def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    try:
        assert counter(tmp_path / "deep").take_look(ids(0, 40), "a", "o").warnings
    finally:
        tmp_path.chmod(0o700)


class TestWhereLooksAreCounted:
    def test_the_variable_decides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LUTHIER_LOOKS", "~/team/looks.sqlite")
        assert looks_file() == Path.home() / "team" / "looks.sqlite"

    @pytest.mark.skipif(sys.platform != "linux", reason="XDG is for Linux")
    def test_else_it_is_the_users_data_directory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("LUTHIER_LOOKS")
        monkeypatch.setenv("XDG_DATA_HOME", "/data")
        assert looks_file() == Path("/data/luthier/looks.sqlite")
        monkeypatch.delenv("XDG_DATA_HOME")
        assert looks_file() == Path.home() / ".local" / "share" / "luthier" / "looks.sqlite"

    def test_no_test_writes_to_it(self, tmp_path: Path) -> None:
        assert looks_file().is_relative_to(tmp_path.parent)
