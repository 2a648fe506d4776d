"""Cuts are exact, disjoint, stratified, and depend on nothing but the inputs and the seed."""

from __future__ import annotations

import inspect
import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import DataError
from luthier.evaluation.data import Row, load_rows
from luthier.evaluation.splits import Split, Splits, blocks, split, usual_sizes
from tests.lengths import examples


def classify(text: str) -> str:
    return text


PARAMETERS = tuple(inspect.signature(classify).parameters.values())
PROGRAM: Any = SimpleNamespace(function=classify)


def table(n: int, classes: int = 3) -> list[dict[str, Any]]:
    return [{"text": f"text {i}", "label": f"class {i % classes}"} for i in range(n)]


def parts(cut: Split) -> list[tuple[Row, ...]]:
    return [cut.train, cut.val, cut.test]


def sizes(cut: Split) -> tuple[int, int, int]:
    return len(cut.train), len(cut.val), len(cut.test)


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (2, (1, 1, 0)),
        (30, (15, 15, 0)),
        (59, (30, 29, 0)),
        (60, (15, 21, 24)),
        (99, (25, 34, 40)),
        (100, (25, 35, 40)),
        (150, (38, 52, 60)),
        (500, (125, 175, 200)),
        (2000, (1400, 300, 300)),
    ],
)
def test_sizes_follow_the_number_of_examples(n: int, expected: tuple[int, int, int]) -> None:
    assert sizes(split(table(n), PROGRAM)) == expected


@pytest.mark.parametrize("n", [*range(61, 1300), 5000, 20_001])
def test_one_example_more_makes_no_part_smaller(n: int) -> None:
    fewer, more = usual_sizes(n - 1), usual_sizes(n)
    assert fewer.train <= more.train and fewer.val <= more.val and fewer.test <= more.test
    assert more.train + more.val + more.test == n
    assert abs(more.test - min(300, 0.4 * n)) < 1 and abs(more.val - min(300, 0.35 * n)) < 1


def test_one_example_is_too_few() -> None:
    with pytest.raises(DataError, match="at least 2"):
        usual_sizes(1)


@given(n=st.integers(2, 400), classes=st.integers(1, 25), seed=st.integers(0, 5))
@settings(max_examples=examples(60), deadline=None)
def test_every_row_is_in_exactly_one_part_of_the_exact_size(n: int, classes: int, seed: int) -> None:
    cut = split(table(n, classes), PROGRAM, split_seed=seed)
    wanted = usual_sizes(n)
    assert sizes(cut) == (wanted.train, wanted.val, wanted.test)
    ids = [row.id for part in parts(cut) for row in part]
    assert sorted(ids) == sorted(row.id for row in load_rows(table(n, classes), PARAMETERS))


@given(n=st.integers(60, 300), classes=st.integers(2, 20), seed=st.integers(0, 5))
@settings(max_examples=examples(60), deadline=None)
def test_every_part_has_its_share_of_every_class(n: int, classes: int, seed: int) -> None:
    cut = split(table(n, classes), PROGRAM, split_seed=seed)
    whole = Counter(row.stratum for part in parts(cut) for row in part)
    if "" in whole or min(whole.values()) < 3:
        return
    for part in parts(cut):
        found = Counter(row.stratum for row in part)
        for name, count in whole.items():
            assert abs(found[name] - count * len(part) / n) < 2


@given(
    groups=st.lists(st.integers(1, 6), min_size=20, max_size=60),
    twins=st.lists(st.integers(0, 59), max_size=5),
    seed=st.integers(0, 3),
)
@settings(max_examples=examples(60), deadline=None)
def test_groups_and_equal_inputs_stay_whole(groups: list[int], twins: list[int], seed: int) -> None:
    rows = [
        {"text": f"text {g}/{i}", "label": f"class {i % 2}", "customer": f"customer {g}"}
        for g, size in enumerate(groups)
        for i in range(size)
    ]
    rows += [{**rows[i % len(rows)], "customer": f"twin {i}"} for i in twins]
    cut = split(rows, PROGRAM, group="customer", split_seed=seed)
    for one in parts(cut):
        for other in parts(cut):
            if one is not other:
                assert not {row.content for row in one} & {row.content for row in other}
                assert not {row.group for row in one} & {row.group for row in other}
    wanted = usual_sizes(len(rows))
    # Whole groups of up to six may miss the exact size; never by a whole group, and never above it.
    assert wanted.test - 6 < len(cut.test) <= wanted.test
    assert wanted.val - 6 < len(cut.val) <= wanted.val


def test_sizes_are_exact_wherever_whole_groups_allow_it() -> None:
    rows = [
        {"text": f"{g}/{i}", "label": "x", "group": g} for g, size in enumerate([3] * 39 + [2] * 2) for i in range(size)
    ]
    cut = split(rows, PROGRAM, group="group", sizes=(39, 41, 41))
    assert sizes(cut) == (39, 41, 41)


@given(seed=st.integers(0, 1000), split_seed=st.integers(0, 3))
@settings(max_examples=examples(30), deadline=None)
def test_the_order_of_the_rows_does_not_matter(seed: int, split_seed: int) -> None:
    rows = table(120)
    shuffled = rows[:]
    random.Random(seed).shuffle(shuffled)
    assert split(rows, PROGRAM, split_seed=split_seed).ids() == split(shuffled, PROGRAM, split_seed=split_seed).ids()


def test_another_split_seed_cuts_differently() -> None:
    assert split(table(120), PROGRAM).ids() != split(table(120), PROGRAM, split_seed=1).ids()


def test_given_sizes_are_taken() -> None:
    cut = split(table(150), PROGRAM, sizes=(45, 45, 60))
    assert sizes(cut) == (45, 45, 60)
    assert [Counter(row.stratum for row in part) for part in parts(cut)] == [
        {f"class {i}": size for i in range(3)} for size in (15, 15, 20)
    ]
    assert sizes(split(table(150), PROGRAM, sizes=(10, 20, 30))) == (10, 20, 30)


@pytest.mark.parametrize("wrong", [(50, 50, 51), (-1, 10, 10), (10, 0, 10)])
def test_impossible_sizes_are_told(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(DataError, match="cannot be cut from 150 examples"):
        split(table(150), PROGRAM, sizes=wrong)


def test_one_group_of_everything_is_told() -> None:
    with pytest.raises(DataError, match="groups are too large"):
        split([{**row, "g": 1} for row in table(100)], PROGRAM, group="g")


def test_rows_are_found_by_id() -> None:
    cut = split(table(100), PROGRAM)
    row = cut.val[3]
    assert cut.row(row.id) is row
    assert cut.rows[cut.test[0].id] is cut.test[0]
    assert cut.input_names == ("text",)
    assert cut.label_names == ("label",)


class TestGivenSplits:
    def test_they_are_kept_as_they_are(self) -> None:
        rows = table(30)
        cut = split(Splits(rows[:10], rows[10:20], rows[20:]), PROGRAM)
        assert [row.example["text"] for row in cut.test] == [row["text"] for row in rows[20:]]
        assert cut.val[0].stratum == "class 1"

    def test_without_a_test_part_there_is_no_verdict(self) -> None:
        rows = table(20)
        assert split(Splits(rows[:10], rows[10:]), PROGRAM).test == ()
        assert split(Splits(rows[:10], rows[10:], []), PROGRAM).test == ()

    def test_they_unpack(self) -> None:
        train, val, test = Splits(1, 2, 3)
        assert (train, val, test) == (1, 2, 3)

    def test_equal_inputs_in_two_parts_are_told_with_the_example(self) -> None:
        rows = table(30)
        relabelled = {**rows[3], "label": "other"}
        with pytest.raises(DataError, match=r"train and test must not share.*'text 3'"):
            split(Splits(rows[:10], rows[10:20], [*rows[20:], relabelled]), PROGRAM)

    def test_a_group_in_two_parts_is_told(self) -> None:
        rows = [{**row, "g": i // 11} for i, row in enumerate(table(30))]
        with pytest.raises(DataError, match="the group '0'"):
            split(Splits(rows[:10], rows[10:20], rows[20:]), PROGRAM, group="g")

    def test_sizes_do_not_go_with_them(self) -> None:
        rows = table(30)
        with pytest.raises(DataError, match="cannot be given together"):
            split(Splits(rows[:10], rows[10:20], rows[20:]), PROGRAM, sizes=(1, 1, 1))


class TestBlocks:
    @given(n=st.integers(1, 80), size=st.integers(1, 30), classes=st.integers(1, 5), seed=st.integers(0, 5))
    @settings(max_examples=examples(80), deadline=None)
    def test_every_id_comes_once_before_any_comes_again(self, n: int, size: int, classes: int, seed: int) -> None:
        rows = load_rows(table(n, classes), PARAMETERS)
        made = blocks(rows, size, seed)
        assert made == blocks(rows, size, seed)
        assert all(len(block) == min(size, n) == len(set(block)) for block in made)
        stream = [id for block in (*made, *made) for id in block]
        for start in range(0, len(stream) - n + 1, n):
            assert len(set(stream[start : start + n])) == n

    def test_every_block_has_its_share_of_every_class(self) -> None:
        rows = load_rows(table(45), PARAMETERS)
        strata = {row.id: row.stratum for row in rows}
        for block in blocks(rows, 9, seed=3):
            assert Counter(strata[id] for id in block) == {"class 0": 3, "class 1": 3, "class 2": 3}

    def test_another_seed_makes_other_blocks(self) -> None:
        rows = load_rows(table(45), PARAMETERS)
        assert blocks(rows, 9, seed=1) != blocks(rows, 9, seed=2)

    def test_no_block_of_nothing(self) -> None:
        with pytest.raises(ValueError, match="no blocks"):
            blocks([], 5, seed=0)
        with pytest.raises(ValueError, match="no blocks"):
            blocks(load_rows(table(5), PARAMETERS), 0, seed=0)
