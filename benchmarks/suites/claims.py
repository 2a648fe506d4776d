"""Which differences between optimizers are told: those declared before the runs, corrected for their number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.suites.comparisons import Difference, Scores, SignedRank, difference, holm, signed_rank
from benchmarks.suites.files import DECLARED
from benchmarks.suites.suite import Case, read_suite
from luthier.errors import DataError

KEPT = "both kept the original"
ONE_SEED = "one seed"

Result = Mapping[str, Any]
"""What a case came to, as its file has it."""
Pair = tuple[str, str]
"""Of optimizers."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What results must share to be told together."""

    task: str
    lm: str
    evaluations: int | None
    sizes: tuple[int, int, int] | None
    temperature: float | None
    endpoint: str | None
    proposer_lm: str | None
    teacher_lm: str | None

    @staticmethod
    def of(case: Case) -> Conditions:
        """Return those of a case: all but optimizer, its N, and seed, which are what is compared."""
        return Conditions(**{each.name: getattr(case, each.name) for each in fields(Conditions)})

    def heading(self, others: Iterable[Conditions]) -> str:
        """Return the task's name, with what it was run under where the task has others."""
        alike = {other for other in others if other.task == self.task}
        if len(alike) < 2:
            return self.task
        budget = "the optimizers' own budgets" if self.evaluations is None else f"{self.evaluations:,} evaluations"
        sizes = "the task's own sizes" if self.sizes is None else f"sizes {'/'.join(map(str, self.sizes))}"
        told = {
            "sizes": sizes,
            "temperature": "the LM's own temperature" if self.temperature is None else f"at {self.temperature:g}",
            "endpoint": "the LM's own endpoint" if self.endpoint is None else f"by {self.endpoint}",
            "proposer_lm": f"proposer {self.proposer_lm or 'the same'}",
            "teacher_lm": f"teacher {self.teacher_lm or 'the same'}",
        }
        differing = [told[name] for name in told if len({getattr(other, name) for other in alike}) > 1]
        return ", ".join([self.task, budget, f"LM {self.lm}", *differing])


def conditions_of(result: Result) -> Conditions:
    """Return the conditions of a result."""
    return Conditions.of(Case.from_json(result["case"]))


@dataclass(frozen=True, slots=True)
class Claim:
    """One comparison on one task."""

    first: str
    second: str
    declared: bool
    found: Difference
    parity: SignedRank | None
    kept: bool = False
    """Neither optimizer left the original."""
    holm: float | None = None
    """Corrected over all declared comparisons, told or not; None for those that were not declared."""

    def row(self) -> list[str]:
        """Return the table's row."""
        alone = self.found.p is None  # without a second seed no test means anything, the paper's neither
        parity = "–" if alone or self.parity is None else f"{_chance(self.parity.p)} ({self.parity.nonzero})"
        points = f"{100 * self.found.value:+.1f}"
        interval = f"{100 * self.found.low:+.1f} to {100 * self.found.high:+.1f}"
        corrected = "–" if self.holm is None else _chance(self.holm)
        return [
            f"{self.first} − {self.second}" + ("" if self.declared else " (not declared)"),
            *((KEPT, "–") if self.kept else (points, interval)),
            *((ONE_SEED, ONE_SEED) if self.found.p is None else (_chance(self.found.p), corrected)),
            f"{self.found.seeds} × {self.found.examples}",
            parity,
        ]


def declared_claims(by_folder: Mapping[Path, Sequence[Result]]) -> dict[tuple[Conditions, Pair], Claim | None]:
    """Return every comparison that folders declare, on every task of theirs; None where it has no result yet.

    Each is made on the results of the folders that declare it. Holm's correction is over all of them from the first
    result on, a missing one counting as p = 1: else it would be milder while a suite is unfinished.
    """
    about: dict[tuple[Conditions, Pair], list[Result]] = {}
    for folder, results in by_folder.items():
        if not (folder / DECLARED).exists():
            continue
        suite = read_suite(folder / DECLARED)
        conditions = map(Conditions.of, suite.cases())
        for of, pair in product(dict.fromkeys(conditions), suite.comparisons):
            about.setdefault((of, pair), []).extend(result for result in results if conditions_of(result) == of)
    claims = [_claim(pair, results, declared=True) for (_, pair), results in about.items()]
    corrected = holm([1.0 if claim is None or claim.found.p is None else claim.found.p for claim in claims])
    told = [claim and replace(claim, holm=p) for claim, p in zip(claims, corrected, strict=True)]
    return dict(zip(about, told, strict=True))


def undeclared_claims(results: Sequence[Result]) -> list[Claim]:
    """Return the best optimizer against each other one."""
    done = by_optimizer(results)
    means = {name: fmean(fmean(s.values()) if s else 0.0 for s in by_seed(own).values()) for name, own in done.items()}
    best = sorted(done, key=lambda name: -means[name])
    claims = (_claim((best[0], other), results, declared=False) for other in best[1:])
    return [claim for claim in claims if claim is not None]


def both_kept(first: Sequence[Result], second: Sequence[Result]) -> bool:
    """Whether neither of two optimizers left the original, on any seed that both have.

    Results do not hold the original's prompts, so it is told by every predictor having one and the same prompt in all
    (where it was tuned at all), without demos, and by no test example that scores otherwise.
    """
    shared = {result["case"]["seed"] for result in first} & {result["case"]["seed"] for result in second}
    own = [result for result in (*first, *second) if result["case"]["seed"] in shared]
    shown: dict[str, Any] = {}
    return bool(own) and all(
        not any(prompt["demos"] or prompt != shown.setdefault(n, prompt) for n, prompt in result["prompts"].items())
        and result["test"]["before"] == result["test"]["after"]
        for result in own
    )


def by_seed(results: Iterable[Result]) -> Scores:
    """Return the test scores of one optimizer's finished cases, by seed and example."""
    return {
        int(result["case"]["seed"]): dict(zip(result["test"]["examples"], result["test"]["after"], strict=True))
        for result in results
    }


def by_optimizer(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Return finished cases by optimizer, by seed.

    Raises:
        DataError: an optimizer was run with different N.
    """
    done: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda result: int(result["case"]["seed"])):
        if result["status"] == "done":
            done.setdefault(str(result["case"]["optimizer"]), []).append(result)
    for name, own in done.items():
        if len(chosen := {result["case"].get("candidates") for result in own}) > 1:
            told = " and ".join("its own" if n is None else str(n) for n in sorted(chosen, key=lambda n: n or 0))
            raise DataError(
                f"{name} was run on {own[0]['case']['task']} with {told} candidates: give one folder a time"
            )
    return done


def _claim(pair: Pair, results: Sequence[Result], *, declared: bool) -> Claim | None:
    done = by_optimizer(results)
    first, second = (done.get(name, []) for name in pair)
    found = difference(by_seed(first), by_seed(second))
    if found is None:
        return None
    parity = signed_rank(by_seed(first), by_seed(second))
    return Claim(*pair, declared, found, parity, kept=both_kept(first, second))


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
