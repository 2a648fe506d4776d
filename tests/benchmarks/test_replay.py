"""Recorded tables, and strategies replayed on them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.replay.chains import LENGTHS, Chain
from benchmarks.replay.instrument import false_adopts, variance_shares
from benchmarks.replay.live_table import LiveTable
from benchmarks.replay.replay import VAL_SHARE, Problem, cut, replay
from benchmarks.replay.replaying import as_html, as_markdown, run
from benchmarks.replay.strategies import STRATEGIES
from benchmarks.replay.synthetic import BEST, KINDS, LATE, NULLS, ORIGINAL, null_table, synthetic
from benchmarks.replay.table import OutcomeTable
from luthier.errors import ConfigError, DataError
from luthier.search.space import Point, Space
from luthier.search.trial import Ask, Purpose, Strategy, Trial
from tests.cli.project import benchmarks
from tests.repository.sources import ROOT

EVALUATIONS = 250


def spending(name: str, evaluations: int = EVALUATIONS) -> object:
    def make(problem: Problem) -> Strategy:
        return STRATEGIES[name](problem, evaluations)

    return make


def test_a_table_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    table = synthetic("pairs", 3, variables=2, levels=3, examples=20)
    table.save(tmp_path / "table.json")
    assert OutcomeTable.load(tmp_path / "table.json") == table


@pytest.mark.parametrize(
    ("name", "value"),
    [("format", 9), ("outcomes", ["1"]), ("outcomes", None), ("examples", [["a"]]), ("variables", [{"name": "x"}])],
)
def test_a_damaged_table_is_refused_with_its_name(tmp_path: Path, name: str, value: object) -> None:
    file = tmp_path / "table.json"
    synthetic("additive", 0, variables=2, levels=2, examples=8).save(file)
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), name: value}), encoding="utf-8")
    with pytest.raises(DataError, match="table"):
        OutcomeTable.load(file)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_ends_within_its_evaluations_and_repeats_itself(name: str) -> None:
    table = synthetic("additive", 1)
    first, again = (replay(table, spending(name), seed=4) for _ in range(2))  # type: ignore[arg-type]
    assert first == again
    assert first.evaluations <= EVALUATIONS
    assert first.curve[-1][1] == first.test


def test_val_and_test_share_nothing_and_have_every_class() -> None:
    table = synthetic("class-structured", 2)
    val, test = cut(table, 7)
    assert not set(val) & set(test)
    assert len(val) == pytest.approx(VAL_SHARE * len(table.examples), abs=2)
    assert {table.classes[e] for e in val} == {table.classes[e] for e in test}
    assert cut(table, 8) != (val, test)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_synthetic_tables_hold_the_original_and_the_best_fixed(kind: str) -> None:
    tables = [synthetic(kind, seed, examples=300) for seed in range(4)]
    original = sum(t.mean(t.space.original, t.examples) for t in tables) / len(tables)
    assert original == pytest.approx(ORIGINAL, abs=0.04)
    best = sum(max(t.mean(point, t.examples) for point in t.points) for t in tables) / len(tables)
    assert best == pytest.approx(BEST, abs=0.05)


def test_synthetic_tables_are_made_of_what_the_recorded_one_is_made_of() -> None:
    recorded = variance_shares(OutcomeTable.load(ROOT / "benchmarks" / "tables" / "iris-two-stage.json"))
    drawn = [variance_shares(synthetic("additive", seed)) for seed in range(12)]
    for name in ("class", "example", "candidate x class"):
        assert sum(shares[name] for shares in drawn) / 12 == pytest.approx(recorded[name], abs=0.05)


def test_a_part_of_a_table_has_the_outcomes_of_the_programs_that_differ_there_alone() -> None:
    table = synthetic("pairs", 3)
    name = table.space.variables[-1].name
    part = table.part(lambda variable: variable.name == name)
    assert len(part.points) == len(table.space.variables[-1].levels)
    assert {part.space.original} == {table.space.original}
    assert all(part.rows[point] == table.rows[point] for point in part.points)


def test_variance_shares_add_up_and_say_what_a_table_is_made_of() -> None:
    additive = variance_shares(synthetic("additive", 5, examples=300))
    pairs = variance_shares(synthetic("pairs", 5, examples=300))
    assert sum(additive.values()) == pytest.approx(1.0)
    assert additive["variables"] > 3 * additive["pairs"]
    assert pairs["pairs"] > additive["pairs"]


@pytest.mark.parametrize("kind", NULLS)
def test_a_study_on_a_null_table_is_rarely_adopted(kind: str) -> None:
    tables = [null_table(kind, seed, variables=2) for seed in range(40)]
    adopted, studies, _ = false_adopts(tables, STRATEGIES["random, minibatch 10"], evaluations=150)
    assert studies == 40
    assert adopted <= 5  # 2.5 % are expected: more than 5 of 40 has a chance below one in a thousand


def test_a_strong_effect_is_found_by_more_than_chance() -> None:
    compared = run("synthetic:demos-dominate", ["random, full", "TPE, minibatch 5"], evaluations=300, seeds=8)
    assert compared.found["TPE, minibatch 5"].gain > 0.05


def test_the_page_and_the_tables_name_every_strategy() -> None:
    compared = run("synthetic:pipeline", ["F-race", "successive halving"], evaluations=200, seeds=2)
    for text in (as_html([compared]), as_markdown([compared])):
        assert "F-race" in text
        assert "successive halving" in text


def test_an_unknown_strategy_or_kind_is_named() -> None:
    with pytest.raises(ConfigError, match="F-race"):
        run("synthetic:additive", ["magic"], evaluations=100, seeds=1)
    with pytest.raises(ConfigError, match="parse-cliff"):
        synthetic("magic", 0)


def test_replaying_from_the_command_line(tmp_path: Path) -> None:
    table = tmp_path / "small.json"
    synthetic("additive", 0, variables=2, levels=3, examples=40).save(table)
    done = benchmarks(
        tmp_path,
        "replay", str(table), "--strategy", "random, full", "--evaluations", "60", "--seeds", "3",
        "--html", str(tmp_path / "page.html"), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)["tables"]
    assert len(one["strategies"]["random, full"]["test"]) == 3
    assert "random, full" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_what_the_list_names_can_be_copied_to_the_other_commands(tmp_path: Path) -> None:
    told = [line.strip().split("  ", 1) for line in benchmarks(tmp_path, "list").stderr.splitlines()]
    assert {"iris", "mipro0/paper", "random, minibatch 10", "synthetic:chain-16"} <= {name for name, *_ in told}
    assert "surrogate" in dict(line for line in told if len(line) == 2)["mipro"]


def test_graded_tables_hold_tenths_and_are_read_back(tmp_path: Path) -> None:
    table = synthetic("graded", 1, variables=2, levels=3, examples=30)
    values = {o.value for p in table.points for o in table.observe(Ask(p, table.examples, Purpose.FULL))}
    assert values <= {tenths / 10 for tenths in range(11)} and len(values) > 5
    table.save(tmp_path / "graded.json")
    assert OutcomeTable.load(tmp_path / "graded.json") == table


def test_levels_that_arrive_late_are_not_asked_for_early_and_are_asked_for_then(tmp_path: Path) -> None:
    table = synthetic("late-levels", 1)
    assert table.space_at(0).size == 2**4 and table.space_at(LATE).size == table.space.size == 4**4
    asked: list[tuple[int, Point]] = []

    class Watched:
        def __init__(self, inner: Strategy) -> None:
            self.inner = inner

        def ask(self, space: Space, history: Sequence[Trial], pending: Sequence[Ask], rng: random.Random) -> Ask | None:
            ask = self.inner.ask(space, history, pending, rng)
            if ask is not None:
                asked.append((len(history), ask.point))
            return ask

    replay(table, lambda problem: Watched(STRATEGIES["TPE, minibatch 5"](problem, EVALUATIONS)), seed=2)
    late = {(name, level) for name, levels in table.late.items() for level in levels}
    assert not any(late & set(point.items()) for number, point in asked if number < LATE)
    assert any(late & set(point.items()) for number, point in asked if number >= LATE)
    table.save(tmp_path / "late.json")
    assert OutcomeTable.load(tmp_path / "late.json") == table


def test_duplicated_levels_answer_exactly_alike() -> None:
    table = synthetic("duplicates", 3)
    twin = {"l0": "l2", "l1": "l3", "l2": "l0", "l3": "l1"}
    assert all(table.rows[point] == table.rows[Point({n: twin[x] for n, x in point.items()})] for point in table.points)
    assert len(set(table.outcomes)) <= 2**4


@pytest.mark.parametrize("length", LENGTHS)
def test_chains_of_every_length_hold_the_original_and_the_best_fixed(length: int) -> None:
    chains = [Chain(length, seed) for seed in range(10)]
    assert all(len(chain.space.variables) == 2 * length for chain in chains)
    original = sum(chain.mean(chain.space.original, chain.examples) for chain in chains) / 10
    best = sum(chain.mean(chain.best(chain.examples), chain.examples) for chain in chains) / 10
    assert original == pytest.approx(ORIGINAL, abs=0.07) and best == pytest.approx(BEST, abs=0.07)
    again = Chain(length, 3)
    assert again.observe(Ask(again.space.original, again.examples, Purpose.FULL)) == chains[3].observe(
        Ask(chains[3].space.original, again.examples, Purpose.FULL)
    )


@pytest.mark.parametrize("name", [name for name in STRATEGIES if "25" not in name])
def test_every_strategy_goes_through_a_chain_of_sixteen(name: str) -> None:
    found = replay(Chain(16, 0), spending(name), seed=1)  # type: ignore[arg-type]
    assert found.evaluations <= EVALUATIONS


def test_a_live_table_runs_each_cell_once_and_remembers_it(tmp_path: Path) -> None:
    truth, ran = synthetic("additive", 7, variables=2, levels=3, examples=40), list[tuple[Point, str]]()

    def run_cells(point: Point, examples: Sequence[str]) -> dict[str, str]:
        ran.extend((point, example) for example in examples)
        return {example: truth.rows[point][truth.columns[example]] for example in examples}

    def live() -> LiveTable:
        return LiveTable("live", truth.space, truth.examples, run_cells, tmp_path / "cells.jsonl", truth.classes)

    make = spending("TPE, minibatch 5", 120)
    found = replay(live(), make, seed=1)  # type: ignore[arg-type]
    assert (found.chosen, found.test) == (replay(truth, make, seed=1).chosen, replay(truth, make, seed=1).test)  # type: ignore[arg-type]
    assert len(set(ran)) == len(ran) < truth.space.size * len(truth.examples)
    paid = len(ran)
    assert replay(live(), make, seed=1) == found and len(ran) == paid  # type: ignore[arg-type]
    silent = LiveTable("silent", truth.space, truth.examples, lambda point, examples: {}, tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="no outcome for example 'e0'"):
        silent.mean(truth.space.original, truth.examples)
    assert not (tmp_path / "none.jsonl").exists(), "nothing is kept of what was not told"
    (tmp_path / "cells.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"cells\.jsonl, line 1"):
        live().mean(truth.space.original, truth.examples)


def test_one_level_of_each_variable_makes_all_answers_unreadable() -> None:
    table = synthetic("parse-cliff", 3)
    cliff = {point for point, row in table.rows.items() if set(row) == {"u"}}
    assert len(cliff) == 256 - 81 and table.space.original not in cliff
    assert not any("u" in row for point, row in table.rows.items() if point not in cliff)
    assert max(table.mean(point, table.examples) for point in table.points) == pytest.approx(BEST, abs=0.1)


def test_a_chain_whose_original_would_be_best_everywhere_is_drawn_again() -> None:
    table = Chain(2, 209)
    assert table.best(table.examples) != table.space.original


def test_who_fell_out_of_a_race_stays_out() -> None:
    for seed in range(12):
        raced: list[Ask] = []

        def make(problem: Problem, raced: list[Ask] = raced) -> Strategy:
            return Noted(STRATEGIES["F-race"](problem, 600), raced)

        replay(synthetic("additive", seed), make, seed)
        seen: dict[Point, int] = {}
        for ask in (ask for ask in raced if ask.purpose is Purpose.RACE):
            seen[ask.point] = seen.get(ask.point, 0) + 1
            assert seen[ask.point] == max(seen.values()), "nobody comes back once others have gone on"


@dataclass(frozen=True)
class Noted:
    """Writes down what a strategy asks."""

    inner: Strategy
    asked: list[Ask]

    def ask(self, space: Space, history: Sequence[Trial], pending: Sequence[Ask], rng: random.Random) -> Ask | None:
        found = self.inner.ask(space, history, pending, rng)
        self.asked.extend([] if found is None else [found])
        return found
