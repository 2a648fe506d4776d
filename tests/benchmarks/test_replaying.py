"""The replay benchmark as a whole: what it refuses, what it keeps to, and what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.replay.replaying import about, as_markdown, kinds, nulls, run
from benchmarks.replay.strategies import ABOUT, STRATEGIES
from benchmarks.replay.synthetic import synthetic
from benchmarks.replay.table import OutcomeTable
from luthier.errors import ConfigError, DataError
from luthier.search.space import Space, Variable
from tests.cli.project import benchmarks
from tests.repository.sources import ROOT

LEAST = 160
"""For all strategies on 45 examples: three full evaluations and a minibatch of 25."""


def test_a_budget_too_small_for_a_strategy_is_refused_and_the_least_is_named() -> None:
    with pytest.raises(ConfigError, match=f"'TPE, minibatch 25'; the least .* is {LEAST}$") as refused:
        run("synthetic:additive", [], evaluations=LEAST - 1, seeds=1)
    assert "'random, full'" not in str(refused.value), "that one needs no more than a full evaluation"
    with pytest.raises(ConfigError, match=r"null tables.*the least"):
        nulls([], evaluations=100, studies=1)
    with pytest.raises(ConfigError, match="the least that all strategies can keep to is 45"):
        run("synthetic:additive", ["random, full"], evaluations=44, seeds=1)


def test_at_the_least_budget_every_strategy_searches_and_none_overspends() -> None:
    fast = [name for name in STRATEGIES if "Gaussian" not in name]
    for evaluations in (LEAST, 340):  # where the paper's schedule by itself would take 170, and 365
        found = run("synthetic:additive", fast, evaluations=evaluations, seeds=2).found
        spent = {replayed.evaluations for one in found.values() for replayed in one.replays}
        assert min(spent) >= 45 and max(spent) <= evaluations


def test_the_command_refuses_before_anything_is_replayed(tmp_path: Path) -> None:
    table = tmp_path / "small.json"
    synthetic("additive", 0, variables=2, levels=3, examples=40).save(table)
    done = benchmarks(
        tmp_path,
        "replay", str(table), "--strategy", "random, minibatch 10", "--evaluations", "100", "--seeds", "2",
        "--null-studies", "5",
    )  # fmt: skip
    assert done.returncode == 2
    assert "null tables" in done.stderr and "145" in done.stderr and "evaluations  " not in done.stderr


def test_what_is_no_file_is_answered_with_the_tables_that_need_none() -> None:
    with pytest.raises(DataError, match=r"there is no file addditive: .*one of synthetic:additive, "):
        run("addditive", [], evaluations=300, seeds=1)


def test_names_of_strategies_are_quoted_as_they_have_commas() -> None:
    with pytest.raises(ConfigError, match=r"no strategy is called 'random'.*'random, full', 'random, minibatch 10'"):
        run("synthetic:additive", ["random"], evaluations=300, seeds=1)


def test_of_a_chain_it_is_said_that_not_all_points_were_scored() -> None:
    told = as_markdown([run("synthetic:chain-4", ["random, full"], evaluations=100, seeds=2)])
    assert "No variance shares: not all points of this space were scored." in told


def test_the_page_names_every_kind_of_synthetic_table() -> None:
    named = re.findall(r"`([\w-]+)`", (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8"))
    assert set(kinds()) <= set(named)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"examples": [], "outcomes": [""] * 2}, "too few examples"),
        ({"examples": [["a", "x"]], "outcomes": ["1"] * 2}, "too few examples"),
        ({"examples": [["a", "x"], ["b", "y"]], "outcomes": ["10"] * 2}, "too few examples"),
        ({"examples": [["a", "x"]] * 2, "outcomes": ["10"] * 2}, "example 'a' is there 2 times"),
        ({"examples": ["ab", "cd"], "outcomes": ["10"] * 2}, r"examples are \[id, class\], not 'ab'"),
        ({"late": ["b"]}, "not a recorded table"),
        ({"late": {"v": {"b": "soon"}}}, "not a recorded table"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_what_is_wrong(
    changed: dict[str, Any], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "table.json"
    OutcomeTable("t", Space((Variable("v", ("a", "b")),)), ("e", "f"), {}, ("10", "01")).save(file)
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changed), encoding="utf-8")
    with pytest.raises(DataError, match=said):
        run(str(file), [], evaluations=300, seeds=1)


def test_a_field_too_small_for_a_race_is_scored_in_full(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    ids = tuple(f"e{i}" for i in range(40))
    OutcomeTable("t", Space((Variable("v", ("a", "b")),)), ids, {}, ("0" * 40, "1" * 40)).save(file)
    (replayed,) = run(str(file), ["F-race"], evaluations=300, seeds=1).found["F-race"].replays
    assert (replayed.test, replayed.evaluations) == (1.0, 18)


def test_everything_listed_says_what_it_is() -> None:
    assert ABOUT.keys() == STRATEGIES.keys()
    assert all(about(kind) for kind in kinds())


def test_tables_are_printed_whole_whatever_the_width_and_without_an_empty_column() -> None:
    done = benchmarks(
        ROOT, "replay", "synthetic:additive", "--seeds", "2", "--strategy", "random, full",
        "--strategy", "labelled few-shot", "--null-studies", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    head, first = done.stderr.splitlines()[1:3]
    assert head.split()[-1] == "trials" and len(first) > 60
    assert "null tables: adopted by mistake" in done.stderr and "0 of 2" in done.stderr
