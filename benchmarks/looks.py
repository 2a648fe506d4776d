"""How often verdicts adopt what is no better, and what is: ``looks.py``; writes ``results/looks.md``.

Simulated test scores, decided as a study decides them (`luthier.runner.verdict.decided`), with the sizes that a
study cuts. Scores of one program on the examples are drawn once for each row of studies; every study's candidate
differs from it on a given share of examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import NormalDist

import numpy as np

from benchmarks.suites.page import markdown
from luthier.evaluation.splits import usual_sizes
from luthier.evaluation.stats import PairedDifference, look_level, paired, smallest_detectable, wilson
from luthier.runner.verdict import decided

LOOKS = 30
ROWS = (60, 100, 200, 500)
SCORE = 0.7
"""Of the original."""
DISAGREEMENTS = (0.1, 0.2, 0.4)
GAINS = (0.05, 0.1, 0.2)
ROWS_OF_STUDIES, GRADED_ROWS_OF_STUDIES, STUDIES, SEED = 50_000, 10_000, 50_000, 13
PAGE = Path(__file__).parent / "results" / "looks.md"
LEAD = f"""# Looks at the same test examples: false and true adoptions

`python -m benchmarks.looks`, seed {SEED}. Simulated scores, decided as a study decides; test examples as a study cuts
them from its rows (60: 24, 100: 40, 200: 80, 500: 200). The nth look uses the two-sided level 1 - 0.1 / (n (n + 1)).
In brackets 95 % intervals (Wilson) of the simulation.
"""
NULL = f"""## {LOOKS} looks on null data

Share of {ROWS_OF_STUDIES:,} rows of {LOOKS} studies in which any study adopts a candidate that is no better. The
original is right on {SCORE:.0%} of examples; candidates differ from it on the share named. By design at most 5 %.
"""
GRADED = f"""Graded scores, by resampling: {GRADED_ROWS_OF_STUDIES:,} rows of {LOOKS} studies; scores are beta(3, 2),
and a candidate draws four of five anew.
"""
REAL = f"""## Real gains

Share of {STUDIES:,} studies that adopt a candidate that is better by so much, where the programs differ on 20 % of
examples (so one better by 20 points breaks none). *Smallest detectable* is what the plan says (Connor, 80 % power, at
the same 20 %).
"""


@dataclass(frozen=True, slots=True)
class Share:
    """How many of so many."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """The share."""
        return self.count / self.of

    @property
    def high(self) -> float:
        """The upper end of its 95 % interval."""
        return wilson(self.count, self.of).high

    def __str__(self) -> str:
        low, high = wilson(self.count, self.of)
        return f"{100 * self.value:.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def false_adoptions(n: int, disagreement: float, times: int, seed: int, looks: int = LOOKS) -> Share:
    """Return how many rows of ``looks`` studies adopt anything, where no candidate is better than the original.

    Args:
        n: test examples, the same for all looks of a row.
        disagreement: share of examples on which a candidate and the original differ.
        times: rows of studies.
        seed: of the draws.
        looks: studies in a row.
    """
    rng = np.random.default_rng(seed)
    right = rng.binomial(n, SCORE, size=times)[:, None]
    # As many are fixed as broken, on average; independently of each other, given the original's scores.
    fixed = rng.binomial(n - right, disagreement / 2 / (1 - SCORE), size=(times, looks))
    broken = rng.binomial(right, disagreement / 2 / SCORE, size=(times, looks))
    adopted = last_adopting(fixed, broken, n) >= np.arange(1, looks + 1)
    return Share(int(adopted.any(axis=1).sum()), times)


def true_adoptions(n: int, gain: float, disagreement: float, look: int, times: int, seed: int) -> Share:
    """Return how many studies adopt a candidate that is better by ``gain``, at one look.

    Args:
        n: test examples.
        gain: true difference of the scores.
        disagreement: share of examples on which the candidate and the original differ, at least the gain.
        look: which look at the test examples it is.
        times: studies.
        seed: of the draws.
    """
    differ = max(disagreement, gain)
    shares = [(differ + gain) / 2, (differ - gain) / 2, 1 - differ]
    drawn = np.random.default_rng(seed).multinomial(n, shares, size=times)
    return Share(int((last_adopting(drawn[:, 0], drawn[:, 1], n) >= look).sum()), times)


def last_adopting(fixed: np.ndarray, broken: np.ndarray, n: int) -> np.ndarray:
    """Return, by numbers of examples fixed and broken, the last look that adopts; 0 where not even the first does."""
    pairs, where = np.unique(fixed * (n + 1) + broken, return_inverse=True)
    found = np.array([_last_adopting(*divmod(int(pair), n + 1), n) for pair in pairs])
    return found[where.ravel()].reshape(fixed.shape)


def graded_false_adoptions(n: int, times: int, seed: int, looks: int = LOOKS) -> Share:
    """Return what `false_adoptions` does, for scores between 0 and 1: the verdict resamples differences."""
    rng, adopted = np.random.default_rng(seed), 0
    for _ in range(times):
        original = rng.beta(3, 2, size=n)
        adopted += any(_adopts_graded(original, rng, look) for look in range(1, looks + 1))
    return Share(adopted, times)


def _adopts_graded(original: np.ndarray, rng: np.random.Generator, look: int) -> bool:
    """Whether a candidate is adopted that scores like the original on average, and otherwise on most examples."""
    candidate = np.where(rng.random(len(original)) < 0.2, original, rng.beta(3, 2, size=len(original)))
    differences = candidate - original
    # Student's interval, which the verdict's contains, reaches zero; resampling would only take time.
    quantile = NormalDist().inv_cdf(0.5 + look_level(look) / 2)
    if differences.mean() <= quantile * differences.std(ddof=1) / len(original) ** 0.5:
        return False
    return decided(_compared(_ids(original), _ids(candidate), look)) == "adopt"


@cache
def _last_adopting(fixed: int, broken: int, n: int) -> int:
    before = {str(i): float(i < broken) for i in range(n)}
    after = {str(i): float(broken <= i < broken + fixed) for i in range(n)}
    if decided(_compared(before, after, 1)) != "adopt":
        return 0
    low, high = 1, LOOKS  # what one look adopts, every earlier one does
    while low < high:
        look = (low + high + 1) // 2
        low, high = (look, high) if decided(_compared(before, after, look)) == "adopt" else (low, look - 1)
    return low


def _compared(before: Mapping[str, float], after: Mapping[str, float], look: int) -> PairedDifference:
    return paired(before, after, level=look_level(look))


def _ids(scores: np.ndarray) -> dict[str, float]:
    return {str(number): float(score) for number, score in enumerate(scores)}


def main() -> None:
    """Simulate, and write the page."""
    tests = {rows: usual_sizes(rows).test for rows in ROWS}
    null = [
        [str(rows), str(n), *(str(false_adoptions(n, share, ROWS_OF_STUDIES, SEED)) for share in DISAGREEMENTS)]
        for rows, n in tests.items()
    ]
    graded = [
        [str(rows), str(tests[rows]), str(graded_false_adoptions(tests[rows], GRADED_ROWS_OF_STUDIES, SEED))]
        for rows in (60, 100, 200)
    ]
    text = "\n".join(
        [
            LEAD,
            NULL,
            markdown(["rows", "test examples", *(f"differ on {share:.0%}" for share in DISAGREEMENTS)], null),
            GRADED,
            markdown(["rows", "test examples", "any adopted"], graded),
            REAL,
            *(f"At look {look}:\n\n{_power(tests, look)}" for look in (1, 3, 10)),
        ]
    )
    PAGE.write_text(text, encoding="utf-8")
    print(text)


def _power(tests: Mapping[int, int], look: int) -> str:
    shown: Callable[[int], str] = lambda n: _points(smallest_detectable(n, level=look_level(look)))  # noqa: E731
    return markdown(
        ["rows", "test examples", "smallest detectable", *(f"+{100 * gain:.0f} points" for gain in GAINS)],
        [
            [str(rows), str(n), shown(n), *(str(true_adoptions(n, gain, 0.2, look, STUDIES, SEED)) for gain in GAINS)]
            for rows, n in tests.items()
        ],
    )


def _points(gain: float | None) -> str:
    return "none" if gain is None else f"{100 * gain:.0f} points"


if __name__ == "__main__":
    main()
