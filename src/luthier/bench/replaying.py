"""The replay benchmark as a whole: which tables, which strategies, and what is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.bench.chains import LENGTHS, Chain
from luthier.bench.instrument import REFERENCE, Found, compare, false_adopts, interval, variance_shares
from luthier.bench.page import curves, markdown, page, section, table
from luthier.bench.strategies import STRATEGIES, Make
from luthier.bench.synthetic import KINDS, NULLS, null_table, synthetic
from luthier.bench.table import OutcomeTable, Table
from luthier.errors import ConfigError

SYNTHETIC, CHAIN = "synthetic:", "chain-"
HEAD = ("strategy", "test", "95 %", "gain", "gap", "evaluations", f"minus {REFERENCE}, 95 %")


@dataclass(frozen=True, slots=True)
class Compared:
    """What strategies found on one kind of table."""

    name: str
    evaluations: int
    seeds: int
    found: Mapping[str, Found]
    shares: Mapping[str, float]

    def rows(self) -> list[list[str]]:
        """Return the table's rows, best first."""
        reference = self.found.get(REFERENCE)
        rows = []
        for name, found in sorted(self.found.items(), key=lambda item: -item[1].test):
            low, high = interval([replayed.test for replayed in found.replays])
            against = "" if reference is None or found is reference else _points(*found.minus(reference))
            rows.append(
                [
                    name,
                    f"{100 * found.test:.1f} %",
                    f"{100 * low:.1f} to {100 * high:.1f}",
                    f"{100 * found.gain:+.1f}",
                    f"{100 * found.gap:+.1f}",
                    f"{found.evaluations:.0f}",
                    against,
                ]
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
                }
                for name, found in self.found.items()
            },
        }


def run(source: str, strategies: Sequence[str], *, evaluations: int, seeds: int) -> Compared:
    """Replay strategies on a table's file, or on synthetic tables of a kind, one a seed.

    Args:
        source: a file, or ``synthetic:KIND``.
        strategies: names; empty takes all.
        evaluations: that each may spend.
        seeds: how many.

    Raises:
        ConfigError: a strategy or a kind is unknown.
        DataError: the file is not a table.
    """
    chosen = _strategies(strategies)
    tables = tables_of(source, seeds)
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
        return [OutcomeTable.load(Path(source))]
    kind = source.removeprefix(SYNTHETIC)
    if kind not in kinds():
        raise ConfigError(f"no synthetic table is called {kind!r}; there are {', '.join(kinds())}")
    if kind.startswith(CHAIN):
        return [Chain(int(kind.removeprefix(CHAIN)), seed) for seed in range(seeds)]
    return [synthetic(kind, seed) for seed in range(seeds)]


def nulls(strategies: Sequence[str], *, evaluations: int, studies: int) -> list[list[str]]:
    """Return, by strategy and kind of null table, how many of so many studies would adopt what is no better."""
    rows = []
    for kind in NULLS:
        tables = [null_table(kind, seed) for seed in range(studies)]
        for name, make in _strategies(strategies).items():
            adopted, n, (low, high) = false_adopts(tables, make, evaluations=evaluations)
            rate = f"{100 * adopted / n:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
            rows.append([kind, name, f"{adopted} of {n}", rate])
    return rows


def kinds() -> tuple[str, ...]:
    """Return the kinds of synthetic tables."""
    return (*KINDS, *(f"{CHAIN}{length}" for length in LENGTHS))


def as_html(compared: Sequence[Compared], null_rows: Sequence[Sequence[str]] = ()) -> str:
    """Return the page: a chart and a table for each kind of table."""
    parts = [
        section(
            f"{one.name}, {one.evaluations} evaluations, {one.seeds} seeds",
            curves({name: found.curve() for name, found in one.found.items()}),
            table(HEAD, one.rows()),
        )
        for one in compared
    ]
    if null_rows:
        parts.append(section("Null tables: adopted by mistake", table(NULL_HEAD, null_rows)))
    lead = "Test score of the best point shown so far, against evaluations spent; bands are 95 % intervals of the mean."
    return page("Strategies on recorded and synthetic tables", lead, parts)


def as_markdown(compared: Sequence[Compared], null_rows: Sequence[Sequence[str]] = ()) -> str:
    """Return the tables as Markdown."""
    parts = ["# Strategies on recorded and synthetic tables\n"]
    for one in compared:
        shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in one.shares.items())
        title = f"## {one.name}, {one.evaluations} evaluations, {one.seeds} seeds\n"
        told = f"Variance shares (first table): {shares}." if shares else "No variance shares: some cells are unknown."
        parts.append(f"{title}\n{told}\n\n{markdown(HEAD, one.rows())}")
    if null_rows:
        parts.append(f"## Null tables: adopted by mistake\n\n{markdown(NULL_HEAD, null_rows)}")
    return "\n".join(parts)


NULL_HEAD = ("null table", "strategy", "adopted", "rate, 95 %")


def _strategies(names: Sequence[str]) -> Mapping[str, Make]:
    unknown = [name for name in names if name not in STRATEGIES]
    if unknown:
        raise ConfigError(f"no strategy is called {unknown[0]!r}; there are {', '.join(STRATEGIES)}")
    return {name: make for name, make in STRATEGIES.items() if not names or name in names}


def _points(low: float, high: float) -> str:
    return f"{100 * low:+.1f} to {100 * high:+.1f}"
