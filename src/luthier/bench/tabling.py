"""From results of cases to tables: scores by optimizer, what they cost, and which differences are real."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from luthier.bench.comparing import Difference, Scores, SignedRank, difference, holm, signed_rank
from luthier.bench.page import Curve, curves, markdown, page, section, table
from luthier.bench.paper_results import paper_test
from luthier.bench.running import read_results
from luthier.bench.suite import DECLARED, read_suite
from luthier.errors import DataError
from luthier.report.tables import CLEAR

ORIGINAL = "original"
SCORES = ("optimizer", "seeds", "scoring set", "test", "gain on test", "T", "paper's test")
COUNTS = (
    "optimizer",
    *("search runs", "all runs", "new runs"),
    *("calls paid", "cached", "uncached", "out"),
    *("baseline", "bootstrap", "proposals", "verdict"),
)
_COUNTED = "what it took, means: program runs (new: with a new call); calls and tokens paid; calls asked for, by phase"
CLAIMS = ("first minus second", "points", "95 %", "p", "Holm", "seeds × examples", "Wilcoxon p (n ≠ 0)")
MATTERED = ("optimizer", "variable", "share", "clearly, of seeds")
_PARTS = (("baseline",), ("bootstrap",), ("propose",), ("verdict", "insight"))
_POINTS = 40

Result = Mapping[str, Any]
Told = tuple[str, tuple[str, ...], list[list[str]]]
"""A title, a head, and rows."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One comparison on one task."""

    first: str
    second: str
    declared: bool
    found: Difference
    parity: SignedRank | None
    holm: float | None = None
    """Corrected over all declared comparisons of the suite; None for those that were not declared."""

    def row(self) -> list[str]:
        """Return the table's row."""
        parity = "–" if self.parity is None else f"{_chance(self.parity.p)} ({self.parity.nonzero})"
        return [
            f"{self.first} − {self.second}" + ("" if self.declared else " (not declared)"),
            f"{100 * self.found.value:+.1f}",
            f"{100 * self.found.low:+.1f} to {100 * self.found.high:+.1f}",
            _chance(self.found.p),
            "–" if self.holm is None else _chance(self.holm),
            f"{self.found.seeds} × {self.found.examples}",
            parity,
        ]


@dataclass(frozen=True, slots=True)
class OfTask:
    """What is told of one task."""

    name: str
    results: Mapping[str, Sequence[Result]]
    """Finished cases by optimizer, by seed."""
    failed: Sequence[Result]
    claims: Sequence[Claim]

    def tables(self) -> list[Told]:
        """Return the tables that have anything in them."""
        told: list[Told] = []
        if self.results:
            told += [("scores, percent", SCORES, self._scores()), (_COUNTED, COUNTS, self._counts())]
        if self.claims:
            told.append(("differences on test", CLAIMS, [claim.row() for claim in self.claims]))
        if mattered := self._mattered():
            told.append(("what mattered, means over seeds", MATTERED, mattered))
        if self.failed:
            rows = [[_name(result), str(result["case"]["seed"]), result["error"]] for result in self.failed]
            told.append(("failed", ("optimizer", "seed", "why"), rows))
        return told

    def curves(self) -> dict[str, Curve]:
        """Return, for every optimizer, the best full score so far against program runs, with its spread over seeds."""
        return {name: _curve([result["curve"] for result in own]) for name, own in self.results.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the tables as JSON."""
        return {title: [dict(zip(head, row, strict=True)) for row in rows] for title, head, rows in self.tables()}

    def _scores(self) -> list[list[str]]:
        rows = []
        ranked = sorted(self.results.items(), key=lambda item: -fmean(_test(result, "after") for result in item[1]))
        for name, own in ranked:
            n = own[0]["scoring"]["n"]
            gains = [_test(result, "after") - _test(result, "before") for result in own]
            rows.append(
                [
                    name,
                    str(len(own)),
                    _spread([result["scoring"]["after"] for result in own]),
                    _spread([_test(result, "after") for result in own]),
                    _spread(gains, signed=True),
                    f"{fmean(result['counts']['search_rollouts'] for result in own) / n:.1f}",
                    _percent(paper_test(name, self.name)),
                ]
            )
        # The original is the same program for every optimizer; of each seed one of its scores is told.
        by_seed = {result["case"]["seed"]: result for own in self.results.values() for result in own}.values()
        before = [
            _spread([result["scoring"]["before"] for result in by_seed]),
            _spread([_test(result, "before") for result in by_seed]),
        ]
        return [*rows, [ORIGINAL, str(len(by_seed)), *before, "", "0.0", _percent(paper_test(ORIGINAL, self.name))]]

    def _mattered(self) -> list[list[str]]:
        """Return variables by share of what candidates differed by, and predictors by what swapping them back loses."""
        rows = []
        for name, own in self.results.items():
            found: dict[str, list[Mapping[str, float]]] = {}
            lost: dict[str, list[float]] = {}
            for result in own:
                for variable, one in result["insight"].get("variables", {}).items():
                    found.setdefault(variable, []).append(one)
                for predictor, one in result["insight"].get("predictors", {}).items():
                    lost.setdefault(predictor, []).append(one["difference"])
            for variable, ones in sorted(found.items(), key=lambda item: -fmean(one["share"] for one in item[1])):
                clear = sum(one["p"] <= CLEAR for one in ones)
                rows.append(
                    [name, variable, f"{100 * fmean(one['share'] for one in ones):.0f} %", f"{clear} of {len(ones)}"]
                )
            rows += [
                [
                    name,
                    f"{predictor}, swapped back",
                    f"{100 * fmean(values):+.1f} points",
                    f"{len(values)} of {len(own)}",
                ]
                for predictor, values in lost.items()
            ]
        return rows

    def _counts(self) -> list[list[str]]:
        names = ("search_rollouts", "rollouts", "new_rollouts", "calls_paid")
        tokens = ("tokens_cached", "tokens_uncached", "tokens_out")
        rows = []
        for name, own in self.results.items():
            counts = [result["counts"] for result in own]
            parts = [
                fmean(sum(one["phases"].get(phase, {}).get("calls_asked", 0) for phase in part) for one in counts)
                for part in _PARTS
            ]
            means = [*(fmean(one[key] for one in counts) for key in (*names, *tokens)), *parts]
            rows.append([name, *(f"{mean:,.0f}" for mean in means)])
        return rows


@dataclass(frozen=True, slots=True)
class Tables:
    """All that is told of some runs."""

    tasks: Sequence[OfTask]
    lms: Sequence[str] = field(default=())

    def markdown(self) -> str:
        """Return the tables as Markdown."""
        parts = [f"# Optimizers on tasks\n\n{self._lead()}\n"]
        for of in self.tasks:
            parts.append(f"## {of.name}\n")
            parts += [f"**{title}**\n\n{markdown(head, rows)}" for title, head, rows in of.tables()]
        return "\n".join(parts)

    def html(self) -> str:
        """Return one self-contained page, with a plot for every task."""
        parts = []
        for of in self.tasks:
            shown = [section(f"{of.name}: {title}", table(head, rows)) for title, head, rows in of.tables()]
            lines = of.curves()
            chart = [section(f"{of.name}: best full score so far, by program runs of the search", curves(lines))]
            parts += [*(chart if lines else []), *shown]
        return page("Optimizers on tasks", self._lead(), parts)

    def to_json(self) -> dict[str, Any]:
        """Return the tables as JSON."""
        return {"lms": list(self.lms), "tasks": {of.name: of.to_json() for of in self.tasks}}

    def _lead(self) -> str:
        return (
            f"LM: {', '.join(self.lms)}. Scores are mean ± standard deviation over seeds, each a split and a search; T "
            "is program runs of the search in full evaluations. Intervals and p resample seeds and examples; Holm's "
            "correction is over the comparisons declared before the runs. The paper's test (Wilcoxon, zeros by Pratt) "
            "stands beside, for parity only; its scores are those of another LM."
        )


def tell(folders: Iterable[Path]) -> Tables:
    """Read the results in folders and tell them.

    Raises:
        DataError: there are none.
    """
    folders = list(folders)
    results = read_results(folders)
    if not results:
        raise DataError(f"no results in {', '.join(map(str, folders))}; luthier bench run writes them")
    declared = _declared(folders)
    names = list(dict.fromkeys(result["case"]["task"] for result in results))
    tasks = [_of_task(name, [r for r in results if r["case"]["task"] == name], declared) for name in names]
    lms = list(dict.fromkeys(result["case"]["lm"] for result in results))
    return Tables(_corrected(tasks), lms)


def _declared(folders: Iterable[Path]) -> list[tuple[str, str]]:
    files = [folder / DECLARED for folder in folders if (folder / DECLARED).exists()]
    return list(dict.fromkeys(pair for file in files for pair in read_suite(file).comparisons))


def _of_task(name: str, results: Sequence[Result], declared: Sequence[tuple[str, str]]) -> OfTask:
    done: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda result: int(result["case"]["seed"])):
        if result["status"] == "done":
            done.setdefault(_name(result), []).append(result)
    best = sorted(done, key=lambda one: -fmean(_test(result, "after") for result in done[one]))
    pairs = [(pair, True) for pair in declared] or [((best[0], other), False) for other in best[1:]]
    claims = []
    for (first, second), was_declared in pairs:
        if first in done and second in done:
            scores = [_by_seed(done[which]) for which in (first, second)]
            found = difference(*scores)
            if found is not None:
                claims.append(Claim(first, second, was_declared, found, signed_rank(*scores)))
    return OfTask(name, done, [result for result in results if result["status"] == "failed"], claims)


def _corrected(tasks: Sequence[OfTask]) -> list[OfTask]:
    corrected = iter(holm([claim.found.p for of in tasks for claim in of.claims if claim.declared]))
    told = []
    for of in tasks:
        claims = [
            Claim(c.first, c.second, c.declared, c.found, c.parity, next(corrected)) if c.declared else c
            for c in of.claims
        ]
        told.append(OfTask(of.name, of.results, of.failed, claims))
    return told


def _by_seed(results: Sequence[Result]) -> Scores:
    return {
        int(result["case"]["seed"]): dict(zip(result["test"]["examples"], result["test"]["after"], strict=True))
        for result in results
    }


def _curve(runs: Sequence[Sequence[tuple[int, float]]]) -> Curve:
    most = max(run[-1][0] for run in runs)
    told = []
    for step in range(_POINTS + 1):
        spent = most * step / _POINTS
        values = [next(best for at, best in reversed(run) if at <= spent) for run in runs]
        sd = stdev(values) if len(values) > 1 else 0.0
        told.append((spent, fmean(values), fmean(values) - sd, fmean(values) + sd))
    return told


def _test(result: Result, when: str) -> float:
    values: Sequence[float] = result["test"][when]
    return fmean(values) if values else 0.0


def _name(result: Result) -> str:
    return str(result["case"]["optimizer"])


def _spread(values: Sequence[float], *, signed: bool = False) -> str:
    sd = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * fmean(values):{'+' if signed else ''}.1f}{sd}"


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
