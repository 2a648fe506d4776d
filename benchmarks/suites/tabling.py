"""From results of cases to tables: scores by optimizer, what they cost, and which differences are real."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.suites.claims import Claim, Result, by_optimizer, conditions_of, declared_claims, undeclared_claims
from benchmarks.suites.files import DECLARED
from benchmarks.suites.page import Curve, curves, markdown, page, section, table
from benchmarks.suites.paper_results import paper_test
from benchmarks.suites.results import COUNTED, results_by_folder
from luthier.errors import DataError
from luthier.optimizers.zero_shot_mipro_plus import SETTING
from luthier.report.figures import plural
from luthier.report.tables import CLEAR

ORIGINAL = "original"
SCORES = ("optimizer", "seeds", "scoring set", "test", "gain on test", "T", "paper's test")
COUNTS = (
    "optimizer",
    *("search runs", "all runs", "new runs"),
    *("calls paid", "cached", "uncached", "out"),
    *("baseline", "bootstrap", "proposals", "verdict"),
)
_COUNTED = (
    "what it took, means: program runs (new: of a program on an example for the first time); calls and tokens paid; "
    "calls asked for, by phase"
)
CLAIMS = ("first minus second", "points", "95 %", "p", "Holm", "seeds × examples", "Wilcoxon p (n ≠ 0)")
MATTERED = ("optimizer", "variable", "share", "clearly, of seeds")
_MATTERED = (
    "what mattered (shares: means over the seeds where it is clear; swapped back: points lost without that change, "
    "mean over seeds)"
)
BEST = "best by itself"
SHORT = "_short"
"""What the names of tasks end with that leave out the reasoning of the paper's."""
_PARTS = (("baseline",), ("bootstrap",), ("propose",), ("verdict", "insight"))
_POINTS = 40

Told = tuple[str, tuple[str, ...], list[list[str]]]
"""A title, a head, and rows."""


@dataclass(frozen=True, slots=True)
class OfTask:
    """What is told of one task, under the same conditions."""

    name: str
    """The section's heading."""
    task: str
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
            told.append((_MATTERED, *_with_best(mattered)))
        if self.failed:
            rows = [
                [_name(result), str(result["case"]["seed"]), result["error"].partition("\n")[0]]
                for result in self.failed
            ]
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
                    _paper(name, self.task),
                ]
            )
        # The original is the same program for every optimizer; an engine may answer it differently all the same.
        by_seed: dict[int, list[Result]] = {}
        for result in chain.from_iterable(self.results.values()):
            by_seed.setdefault(result["case"]["seed"], []).append(result)
        before = [
            _spread([fmean(result["scoring"]["before"] for result in own) for own in by_seed.values()]),
            _spread([fmean(_test(result, "before") for result in own) for own in by_seed.values()]),
        ]
        return [*rows, [ORIGINAL, str(len(by_seed)), *before, "", "0.0", _paper(ORIGINAL, self.task)]]

    def _mattered(self) -> list[list[str]]:
        """Return variables by share of what candidates differed by, and predictors by what swapping them back loses."""
        rows = []
        for name, own in self.results.items():
            found: dict[str, list[Mapping[str, Any]]] = {}
            lost: dict[str, list[tuple[float, float, float]]] = {}
            for result in own:
                for variable, one in result["insight"].get("variables", {}).items():
                    found.setdefault(variable, []).append(one)
                for predictor, one in result["insight"].get("predictors", {}).items():
                    lost.setdefault(predictor, []).append((one["difference"], one["low"], one["high"]))
            shares = {variable: [one["share"] for one in ones if one["p"] <= CLEAR] for variable, ones in found.items()}
            for variable in sorted(found, key=lambda variable: -sum(shares[variable])):
                clear, ones = shares[variable], found[variable]
                share = f"{100 * fmean(clear):.0f} %" if clear else "not clear"
                best = _best(ones) if variable.startswith(SETTING) else ""
                rows.append([name, variable, share, f"{len(clear)} of {len(ones)}", best])
            rows += [
                [
                    name,
                    f"{predictor}, swapped back",
                    f"{100 * fmean(difference for difference, _, _ in values):+.1f} points",
                    f"{sum(low > 0 or high < 0 for _, low, high in values)} of {len(values)}",
                    "",
                ]
                for predictor, values in lost.items()
            ]
        return rows

    def _counts(self) -> list[list[str]]:
        rows = []
        for name, own in self.results.items():
            counts = [result["counts"] for result in own]
            parts = [
                fmean(sum(one["phases"].get(phase, {}).get("calls_asked", 0) for phase in part) for one in counts)
                for part in _PARTS
            ]
            means = [*(fmean(one[key] for one in counts) for key in COUNTED), *parts]
            rows.append([name, *(f"{mean:,.0f}" for mean in means)])
        return rows


@dataclass(frozen=True, slots=True)
class Tables:
    """All that is told of some runs."""

    tasks: Sequence[OfTask]
    lms: Sequence[str] = field(default=())
    declared: int = 0
    """How many comparisons were declared: pairs of optimizers on tasks."""
    suites: bool = True
    """Whether what was declared is known of every folder."""

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
        corrected = (
            f"Holm's correction is over {plural(self.declared, 'comparison')} (pairs of optimizers, on each task) "
            "declared before the first run; one that has no result yet, or one seed, counts in it as p = 1. Tasks and "
            "seeds may have been added to a suite after looking at results."
            if self.declared
            else "No comparison was declared before the runs, so nothing is corrected for their number."
            if self.suites
            else f"Without a {DECLARED} beside the results it is not known which comparisons were declared before the "
            "runs, so nothing is corrected for their number."
        )
        return (
            f"LM: {', '.join(self.lms)}. Scores are mean ± standard deviation over seeds, each a split and a search; T "
            "is program runs of the search in full evaluations. Intervals and p resample seeds and examples; with one "
            f"seed the interval covers examples only, not how far runs differ, so there is no p. {corrected} The "
            "paper's test (Wilcoxon, zeros by Pratt) stands beside, for parity only; its scores are of another LM "
            "(Llama-3-8B); those in brackets of another program, too: there, ours leaves out reasoning."
        )


def tell(folders: Iterable[Path]) -> Tables:
    """Read the results in folders and tell them.

    Raises:
        DataError: a folder is missing, there are no results, two of one case, or of one optimizer with different N.
    """
    folders = list(folders)
    by_folder = results_by_folder(folders)
    results = [result for own in by_folder.values() for result in own]
    if not results:
        raise DataError(f"no results in {', '.join(map(str, folders))}; python -m benchmarks run writes them")
    declared = declared_claims(by_folder)
    conditions = list(dict.fromkeys(map(conditions_of, results)))
    tasks = []
    for of in conditions:
        own = [result for result in results if conditions_of(result) == of]
        claims = [claim for (where, _), claim in declared.items() if where == of]
        tasks.append(
            OfTask(
                of.heading(conditions),
                of.task,
                by_optimizer(own),
                [result for result in own if result["status"] == "failed"],
                [claim for claim in claims if claim is not None] if claims else undeclared_claims(own),
            )
        )
    suites = all((folder / DECLARED).exists() for folder in by_folder)
    return Tables(tasks, list(dict.fromkeys(of.lm for of in conditions)), len(declared), suites)


def _best(ones: Sequence[Mapping[str, Any]]) -> str:
    """Return the levels that did best by themselves, with how many seeds have each."""
    counted = Counter(str(one.get("label", "?")) for one in ones).most_common()
    return ", ".join(label if len(ones) == 1 else f"{label} ({n})" for label, n in counted)


def _with_best(rows: Sequence[list[str]]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return head and rows; the last column stands only where it has anything in it."""
    if any(row[-1] for row in rows):
        return (*MATTERED, BEST), list(rows)
    return MATTERED, [row[:-1] for row in rows]


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


def _paper(optimizer: str, task: str) -> str:
    """Return the paper's test score; of a task in short form that of the task it comes from, in brackets."""
    of = task.removesuffix(SHORT)
    told = _percent(paper_test(optimizer, of))
    return told if of == task or told == "–" else f"({told})"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
