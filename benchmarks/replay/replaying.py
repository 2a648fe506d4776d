"""The replay benchmark as a whole: which tables, which strategies, and what is told of them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.replay.chains import LENGTHS, Chain
from benchmarks.replay.instrument import REFERENCE, Found, compare, false_adopts, interval, variance_shares
from benchmarks.replay.replay import Problem, cut
from benchmarks.replay.strategies import CLOSING, STRATEGIES, Make, Race
from benchmarks.replay.synthetic import ABOUT, KINDS, NULLS, null_table, synthetic
from benchmarks.replay.table import OutcomeTable, Table
from benchmarks.suites.page import curves, markdown, page, section, table
from luthier.errors import ConfigError, DataError
from luthier.search.halving import SuccessiveHalving
from luthier.search.schedule import MinibatchSchedule
from luthier.search.space import Space
from luthier.search.trial import Ask, Strategy, Trial

SYNTHETIC, CHAIN = "synthetic:", "chain-"
HEAD = ("strategy", "test", "95 %", "gain", "gap", "evaluations", "trials", f"minus {REFERENCE}, 95 %")


@dataclass(frozen=True, slots=True)
class Compared:
    """What strategies found on one kind of table."""

    name: str
    evaluations: int
    seeds: int
    found: Mapping[str, Found]
    shares: Mapping[str, float]

    @property
    def head(self) -> tuple[str, ...]:
        """The table's head; nothing is compared with a reference that was not replayed, or is alone."""
        return HEAD if REFERENCE in self.found and len(self.found) > 1 else HEAD[:-1]

    def rows(self) -> list[list[str]]:
        """Return the table's rows, best first."""
        reference = self.found.get(REFERENCE)
        rows = []
        for name, found in sorted(self.found.items(), key=lambda item: -item[1].test):
            low, high = interval([replayed.test for replayed in found.replays])
            minibatches, full = found.trials
            against = "" if reference is None or found is reference else _points(*found.minus(reference))
            rows.append(
                [
                    name,
                    f"{100 * found.test:.1f} %",
                    f"{100 * low:.1f} to {100 * high:.1f}",
                    f"{100 * found.gain:+.1f}",
                    f"{100 * found.gap:+.1f}",
                    f"{found.evaluations:.0f}",
                    f"{minibatches:.0f} + {full:.0f}",
                    against,
                ][: len(self.head)]
            )
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON."""
        return {
            "table": self.name,
            "evaluations": self.evaluations,
            "seeds": self.seeds,
            "variance shares": {name: round(share, 4) for name, share in self.shares.items()},
            "strategies": {
                name: {
                    "test": [round(replayed.test, 4) for replayed in found.replays],
                    "gain": round(found.gain, 4),
                    "gap": round(found.gap, 4),
                    "evaluations": round(found.evaluations, 1),
                    "trials": [round(trials, 1) for trials in found.trials],
                }
                for name, found in self.found.items()
            },
        }


def run(source: str, strategies: Sequence[str], *, evaluations: int, seeds: int) -> Compared:
    """Replay strategies on a table's file, or on synthetic tables of a kind, one a seed.

    Args:
        source: a file, or ``synthetic:KIND``.
        strategies: names; empty takes all.
        evaluations: that each may spend; none spends more.
        seeds: how many.

    Raises:
        ConfigError: a strategy or a kind is unknown, or the evaluations are too few for a strategy.
        DataError: the file is not a table.
    """
    chosen = _strategies(strategies)
    tables = tables_of(source, seeds)
    _check_enough(source, tables, chosen, evaluations, seeds)
    found = compare(tables, chosen, evaluations=evaluations, seeds=seeds)
    first = tables[0]
    return Compared(
        source, evaluations, seeds, found, variance_shares(first) if isinstance(first, OutcomeTable) else {}
    )


def tables_of(source: str, seeds: int) -> Sequence[Table]:
    """Return the tables that a name stands for: a recorded one, or a synthetic one for each seed.

    Raises:
        ConfigError: there is no such kind.
        DataError: the file is not a table.
    """
    if not source.startswith(SYNTHETIC):
        if not Path(source).is_file():
            known = ", ".join(f"{SYNTHETIC}{kind}" for kind in kinds())
            raise DataError(f"there is no file {source}: give a recorded table's file, or one of {known}")
        recorded = OutcomeTable.load(Path(source))
        if not all(cut(recorded, 0)):
            raise DataError(f"{source} has too few examples of a class to cut val and test from")
        return [recorded]
    kind = source.removeprefix(SYNTHETIC)
    if kind not in kinds():
        raise ConfigError(f"no synthetic table is called {kind!r}; there are {', '.join(kinds())}")
    if kind.startswith(CHAIN):
        return [Chain(int(kind.removeprefix(CHAIN)), seed) for seed in range(seeds)]
    return [synthetic(kind, seed) for seed in range(seeds)]


def nulls(strategies: Sequence[str], *, evaluations: int, studies: int) -> list[list[str]]:
    """Return, by strategy and kind of null table, how many of so many studies would adopt what is no better.

    Raises:
        ConfigError: a strategy is unknown, or the evaluations are too few for one.
    """
    check_nulls(strategies, evaluations=evaluations)
    rows = []
    for kind in NULLS:
        tables = [null_table(kind, seed) for seed in range(studies)]
        for name, make in _strategies(strategies).items():
            adopted, n, (low, high) = false_adopts(tables, make, evaluations=evaluations)
            rate = f"{100 * adopted / n:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
            rows.append([kind, name, f"{adopted} of {n}", rate])
    return rows


def check_nulls(strategies: Sequence[str], *, evaluations: int) -> None:
    """Check, before anything is replayed, that strategies can be replayed on null tables.

    Raises:
        ConfigError: a strategy is unknown, or the evaluations are too few for one.
    """
    _check_enough("null tables", [null_table(kind, 0) for kind in NULLS], _strategies(strategies), evaluations, 1)


def kinds() -> tuple[str, ...]:
    """Return the kinds of synthetic tables."""
    return (*KINDS, *(f"{CHAIN}{length}" for length in LENGTHS))


def about(kind: str) -> str:
    """Return what a kind of synthetic table is, in a sentence."""
    if kind.startswith(CHAIN):
        return f"{kind.removeprefix(CHAIN)} predictors in a row; outcomes are drawn when they are asked for."
    return ABOUT[kind]


def as_html(compared: Sequence[Compared], null_rows: Sequence[Sequence[str]] = ()) -> str:
    """Return the page: a chart and a table for each kind of table."""
    parts = [
        section(
            f"{one.name}, {one.evaluations} evaluations, {one.seeds} seeds",
            curves({name: found.curve() for name, found in one.found.items()}),
            table(one.head, one.rows()),
        )
        for one in compared
    ]
    if null_rows:
        parts.append(section(f"Null tables: adopted by mistake. {NULL_NOTE}", table(NULL_HEAD, null_rows)))
    lead = "Test score of the best point shown so far, against evaluations spent; bands are 95 % intervals of the mean."
    return page("Strategies on recorded and synthetic tables", lead, parts)


def as_markdown(compared: Sequence[Compared], null_rows: Sequence[Sequence[str]] = ()) -> str:
    """Return the tables as Markdown."""
    parts = ["# Strategies on recorded and synthetic tables\n"]
    for one in compared:
        shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in one.shares.items())
        title = f"## {one.name}, {one.evaluations} evaluations, {one.seeds} seeds\n"
        told = f"Variance shares (first table): {shares}." if shares else _NO_SHARES
        parts.append(f"{title}\n{told}\n\n{markdown(one.head, one.rows())}")
    if null_rows:
        parts.append(f"## Null tables: adopted by mistake\n\n{NULL_NOTE}\n\n{markdown(NULL_HEAD, null_rows)}")
    return "\n".join(parts)


NULL_NOTE = "On `ignored` every point scores alike, so nothing can be adopted: it checks the counting."
NULL_HEAD = ("null table", "strategy", "adopted", "rate, 95 %")
_NO_SHARES = "No variance shares: not all points of this space were scored."


def _strategies(names: Sequence[str]) -> Mapping[str, Make]:
    unknown = [name for name in names if name not in STRATEGIES]
    if unknown:
        # In quotes, as the names have commas in them.
        raise ConfigError(f"no strategy is called {unknown[0]!r}; there are {', '.join(map(repr, STRATEGIES))}")
    return {name: _kept(make) for name, make in STRATEGIES.items() if not names or name in names}


@dataclass(frozen=True, slots=True)
class _Kept:
    """A strategy that ends before an ask that its evaluations do not pay for.

    The paper's schedule reckons with the tenth of a full evaluation a trial, and so spends up to one more.
    """

    inner: Strategy
    evaluations: int

    def ask(self, space: Space, history: Sequence[Trial], pending: Sequence[Ask], rng: random.Random) -> Ask | None:
        ask = self.inner.ask(space, history, pending, rng)
        asked = [*(trial.ask for trial in history if not trial.prior), *pending, *([] if ask is None else [ask])]
        return ask if sum(len(each.examples) for each in asked) <= self.evaluations else None


def _kept(make: Make) -> Make:
    return lambda problem, evaluations: _Kept(make(problem, evaluations), evaluations)


def _check_enough(
    source: str, tables: Sequence[Table], chosen: Mapping[str, Make], evaluations: int, seeds: int
) -> None:
    """Raise where a strategy could not both explore and score its choice in full."""
    cuts = [(cut(tables[seed % len(tables)], seed)[0], tables[seed % len(tables)]) for seed in range(seeds)]
    val, table = max(cuts, key=lambda one: len(one[0]))
    problem = Problem(table.space_at(0), val, seed=0)

    def short(given: int) -> list[str]:
        return [name for name, make in chosen.items() if _least(make(problem, given), problem) > given]

    if lacking := short(evaluations):
        least = next(more for more in count(evaluations) if not short(more))
        raise ConfigError(
            f"{evaluations} evaluations are too few on {source}, where val has {len(val)} examples, for "
            f"{', '.join(map(repr, lacking))}; the least that all strategies can keep to is {least}"
        )


def _least(strategy: Strategy, problem: Problem) -> int:
    """Return what a strategy takes to see one minibatch, or one field, and then score its choices in full."""
    strategy, n = strategy.inner if isinstance(strategy, _Kept) else strategy, len(problem.examples)
    match strategy:
        case MinibatchSchedule():
            return len(strategy.blocks[0]) + (strategy.closing or 1) * n
        case SuccessiveHalving():
            return (strategy.closing + 1) * strategy.smallest + strategy.closing * n
        case Race():
            return (CLOSING + 1) * len(strategy.blocks[0]) + CLOSING * n
        case _:
            return n


def _points(low: float, high: float) -> str:
    return f"{100 * low:+.1f} to {100 * high:+.1f}"
