"""Statistics between optimizers, held against known answers."""

from __future__ import annotations

import random
from statistics import mean, stdev

import pytest
from scipy.stats import wilcoxon

from benchmarks.suites.comparisons import Scores, difference, holm, signed_rank


def runs(rate: float, salt: str, seeds: int = 3, n: int = 60) -> dict[int, dict[str, float]]:
    rng = random.Random(salt)
    return {seed: {f"e{i}": float(rng.random() < rate) for i in range(n)} for seed in range(seeds)}


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_large_difference_is_found_and_none_is_not() -> None:
    found = difference(runs(0.9, "a"), runs(0.4, "b"))
    assert found is not None
    assert found.p is not None
    assert found.low < 0.5 < found.high and found.low > 0.2 and found.p < 0.01
    assert (found.seeds, found.examples) == (3, 60)
    same = difference(runs(0.6, "c"), runs(0.6, "c"))
    assert same is not None and same.value == same.low == same.high == 0.0 and same.p == 1.0


def test_the_interval_holds_in_about_nineteen_of_twenty_null_cases() -> None:
    wrong = 0
    for trial in range(100):
        found = difference(runs(0.6, f"{trial}/a", seeds=4, n=40), runs(0.6, f"{trial}/b", seeds=4, n=40), seed=trial)
        assert found is not None
        wrong += not found.low <= 0 <= found.high
    assert wrong <= 10


def test_where_runs_differ_seeds_must_be_resampled_for_an_interval_that_holds() -> None:
    trials, wrong, wrong_of_examples_alone = 60, 0, 0
    for trial in range(trials):
        one, other = (runs_that_differ(f"{trial}/{name}", hard=f"{trial}") for name in "ab")
        found = difference(one, other, seed=trial)
        assert found is not None
        wrong += not found.low <= 0 <= found.high
        # Resampling examples alone comes to the standard error of their averages over seeds.
        gaps = [mean(one[seed][e] - other[seed][e] for seed in one) for e in one[0]]
        assert found.value == pytest.approx(mean(gaps))
        wrong_of_examples_alone += abs(mean(gaps)) > 1.96 * stdev(gaps) / len(gaps) ** 0.5
    assert wrong / trials <= 0.10
    assert wrong_of_examples_alone / trials >= 0.15


def runs_that_differ(salt: str, *, hard: str, sd: float = 0.07, seeds: int = 3, n: int = 75) -> Scores:
    """Return runs of an optimizer whose programs are by chance some points better or worse; examples differ, too."""
    ease = [random.Random(f"{hard}/{i}").gauss(0.6, 0.15) for i in range(n)]
    rng = random.Random(salt)
    lucks = [rng.gauss(0.0, sd) for _ in range(seeds)]
    return {seed: {f"e{i}": float(rng.random() < ease[i] + luck) for i in range(n)} for seed, luck in enumerate(lucks)}


def test_one_seed_has_an_interval_over_examples_but_no_p() -> None:
    found = difference(runs(0.9, "a", seeds=1), runs(0.4, "b", seeds=3))
    assert found is not None
    assert found.seeds == 1 and found.p is None and found.low > 0


def test_seeds_that_agree_only_by_their_common_examples_are_not_taken_for_independent() -> None:
    one: Scores = {0: runs(0.7, "x", seeds=1, n=50)[0]}
    other: Scores = {0: runs(0.5, "y", seeds=1, n=50)[0]}
    once = difference(one, other)
    copied = difference(dict.fromkeys(range(9), one[0]), dict.fromkeys(range(9), other[0]))
    assert once is not None and copied is not None
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.1)


def test_optimizers_without_a_common_seed_are_not_compared() -> None:
    assert difference({1: {"a": 1.0}}, {2: {"a": 0.0}}) is None
    assert signed_rank({1: {"a": 1.0}}, {1: {"a": 1.0}}) is None


def test_the_papers_test_is_on_averages_over_runs_with_pratts_zeros() -> None:
    first, second = runs(0.8, "p"), runs(0.5, "q")
    gaps = [round(sum(first[s][e] - second[s][e] for s in range(3))) / 3 for e in sorted(first[0])]
    found = signed_rank(first, second)
    assert found is not None
    assert found.nonzero == sum(abs(gap) > 1e-12 for gap in gaps)
    assert found.p == pytest.approx(wilcoxon(gaps, zero_method="pratt").pvalue)
