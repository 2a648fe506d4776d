"""Which of two optimizers is better: paired differences over seeds and examples, and the paper's own test beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DRAWS = 10_000

Scores = Mapping[int, Mapping[str, float]]
"""By seed and test example."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean paired difference of test scores, the first minus the second."""

    value: float
    low: float
    high: float
    """95 % by two-way resampling; with one seed, of examples alone."""
    p: float | None
    """Two-sided, by the same resampling; None with one seed, which says nothing of how far runs differ."""
    seeds: int
    examples: int
    """Different ones, over all seeds."""


@dataclass(frozen=True, slots=True)
class SignedRank:
    """The paper's test: Wilcoxon signed-rank on each test example's average over runs (MIPRO B.5)."""

    p: float
    nonzero: int
    """Examples whose averages differ: Pratt's treatment ranks the others, too, and then leaves them out."""


def difference(first: Scores, second: Scores, *, seed: int = 0) -> Difference | None:
    """Return the paired difference over the seeds that both have; None where there is none.

    Seeds and examples are resampled independently of each other, an example that several seeds tested counting in all
    of them at once (the pigeonhole bootstrap: it does not take the runs of one seed for independent). It is cautious
    where runs differ little, and somewhat narrow where seeds are few and runs differ more than examples do.
    """
    import numpy as np

    shared = sorted(s for s in first.keys() & second.keys() if first[s].keys() & second[s].keys())
    if not shared:
        return None
    examples = sorted({e for s in shared for e in first[s].keys() & second[s].keys()})
    column = {example: i for i, example in enumerate(examples)}
    delta, there = np.zeros((len(shared), len(examples))), np.zeros((len(shared), len(examples)))
    for row, s in enumerate(shared):
        for example in first[s].keys() & second[s].keys():
            delta[row, column[example]] = first[s][example] - second[s][example]
            there[row, column[example]] = 1.0
    rng = np.random.default_rng(seed)
    of_seeds = rng.multinomial(len(shared), np.full(len(shared), 1 / len(shared)), size=DRAWS)
    of_examples = rng.multinomial(len(examples), np.full(len(examples), 1 / len(examples)), size=DRAWS)
    total = np.einsum("bs,se,be->b", of_seeds, delta, of_examples, optimize=True)
    weight = np.einsum("bs,se,be->b", of_seeds, there, of_examples, optimize=True)
    drawn = total / np.maximum(weight, 1.0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    below, above = (1 + int((drawn <= 0).sum())) / (1 + DRAWS), (1 + int((drawn >= 0).sum())) / (1 + DRAWS)
    return Difference(
        value=float(delta.sum() / there.sum()),
        low=float(low),
        high=float(high),
        p=min(1.0, 2 * min(below, above)) if len(shared) > 1 else None,
        seeds=len(shared),
        examples=len(examples),
    )


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, step down, in their own order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    corrected, least = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(values) - rank) * values[i]))
        corrected[i] = least
    return corrected


def signed_rank(first: Scores, second: Scores) -> SignedRank | None:
    """Return the paper's test on the examples that both have; None without scipy, or without a difference."""
    try:
        from scipy.stats import wilcoxon
    except ImportError:
        return None
    shared = sorted(first.keys() & second.keys())
    examples = sorted({e for s in shared for e in first[s].keys() & second[s].keys()})
    # Rounded, so that averages which differ in their last digit alone are tied.
    gaps = [round(_average(first, shared, one) - _average(second, shared, one), 9) for one in examples]
    nonzero = sum(gap != 0 for gap in gaps)
    if not nonzero:
        return None
    return SignedRank(float(wilcoxon(gaps, zero_method="pratt").pvalue), nonzero)


def _average(scores: Scores, seeds: Sequence[int], example: str) -> float:
    values = [scores[seed][example] for seed in seeds if example in scores[seed]]
    return sum(values) / len(values)
