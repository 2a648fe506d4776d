"""Intervals agree with published values and cover what they promise, at twenty examples, too."""

from __future__ import annotations

import math
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest

from luthier.evaluation import stats
from luthier.evaluation.stats import (
    Interval,
    fewest_detecting,
    look_level,
    paired,
    shrunk_means,
    smallest_detectable,
    tango,
    wilson,
)


def quartic(fixed: int, broken: int, n: int, level: float) -> Interval:
    """Tango's limits as roots of the quartic of Yang, Sun and Hardin (2013), which needs no iteration."""
    g = NormalDist().inv_cdf(0.5 + level / 2) ** 2
    d, s = fixed - broken, fixed + broken
    coefficients = [
        n**2 * (n / g + 1) ** 2,
        -n * d * (n / g + 1) * (4 * n / g + 1),
        2 * n * d**2 * (3 * n / g + 2) / g - n**2 * (s / g + 1),
        n * d * (2 * s / g + 1) - d**3 * (4 * n / g + 1) / g,
        d**2 * (d**2 / g - s) / g,
    ]
    real = [root.real for root in np.roots(coefficients) if abs(root.imag) < 1e-6]
    return Interval(min(real), max(real))


class TestTango:
    def test_the_example_of_the_paper(self) -> None:
        # Tango 1998, §6.1: soft contact lenses, 44 pairs, one of them failing under the new system only.
        assert tango(0, 1, 44, level=0.9).low == pytest.approx(-0.096, abs=0.0005)

    @pytest.mark.parametrize(
        ("fixed", "broken", "n"),
        [(1, 7, 21), (6, 16, 161), (40, 20, 160), (28, 25, 618), (12, 2, 50), (9, 5, 30), (3, 0, 20), (10, 9, 20)],
    )
    @pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
    def test_the_closed_form_gives_the_same(self, fixed: int, broken: int, n: int, level: float) -> None:
        assert tango(fixed, broken, n, level) == pytest.approx(quartic(fixed, broken, n, level), abs=1e-6)

    @pytest.mark.parametrize(("fixed", "broken", "n"), [(0, 0, 20), (20, 0, 20), (0, 20, 20), (5, 0, 20), (7, 3, 30)])
    def test_swapping_sides_mirrors_it(self, fixed: int, broken: int, n: int) -> None:
        one, other = tango(fixed, broken, n), tango(broken, fixed, n)
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)
        assert -1 <= one.low <= (fixed - broken) / n <= one.high <= 1

    def test_no_disagreement_is_no_certainty(self) -> None:
        z2 = NormalDist().inv_cdf(0.975) ** 2
        assert tango(0, 0, 30) == pytest.approx((-z2 / (30 + z2), z2 / (30 + z2)))

    @pytest.mark.parametrize(
        ("gain", "loss", "n"), [(0.15, 0.05, 20), (0.2, 0.1, 30), (0.3, 0.1, 40), (0.1, 0.1, 60), (0.25, 0.05, 60)]
    )
    def test_it_covers_the_truth(self, gain: float, loss: float, n: int) -> None:
        tables = np.random.default_rng(n).multinomial(n, [gain, loss, 1 - gain - loss], size=4000)
        covered = 0
        for (fixed, broken), times in Counter((int(t[0]), int(t[1])) for t in tables).items():
            low, high = tango(fixed, broken, n)
            covered += times * (low <= gain - loss <= high)
        assert covered / len(tables) >= 0.935


def test_wilson_agrees_with_published_values() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=0.00005)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=0.00005)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=0.00005)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=0.00005)
    assert wilson(20, 20).high == 1.0
    assert wilson(0, 0) == (0.0, 1.0)


def scores(*values: float) -> dict[str, float]:
    return {f"e{i:03}": value for i, value in enumerate(values)}


class TestPaired:
    def test_binary_scores_get_tangos_interval(self) -> None:
        found = paired(scores(0, 0, 1, 1, 0), scores(1, 1, 0, 1, 0))
        assert found.method == "tango"
        assert found.difference == pytest.approx(0.2)
        assert found.fixed == ("e000", "e001")
        assert found.broken == ("e002",)
        assert (found.low, found.high) == tango(2, 1, 5)

    def test_only_common_examples_are_compared(self) -> None:
        found = paired({"a": 0.0, "b": 1.0}, {"b": 1.0, "c": 0.0})
        assert found.n == 1

    @pytest.mark.parametrize("values", [(), (1.0,)])
    def test_below_two_examples_nothing_is_said(self, values: tuple[float, ...]) -> None:
        found = paired(scores(*values), scores(*values))
        assert (found.low, found.high, found.method) == (-1.0, 1.0, "none")

    def test_one_group_says_nothing(self) -> None:
        before, after = scores(0, 0, 0), scores(1, 1, 1)
        assert paired(before, after, groups=dict.fromkeys(before, "g")).method == "none"

    def test_graded_scores_are_resampled_reproducibly(self) -> None:
        rng = np.random.default_rng(0)
        before, after = scores(*rng.random(30)), scores(*rng.random(30))
        found = paired(before, after, seed=1)
        assert found.method == "resampling"
        assert found == paired(before, after, seed=1)
        assert found.low != paired(before, after, seed=2).low
        assert found.low < found.difference < found.high

    def test_a_higher_level_is_wider(self) -> None:
        rng = np.random.default_rng(0)
        before, after = scores(*rng.random(30)), scores(*rng.random(30))
        narrow, wide = paired(before, after, level=0.8), paired(before, after, level=0.99)
        assert wide.low < narrow.low < narrow.high < wide.high

    def test_equal_graded_scores_leave_room_for_doubt(self) -> None:
        same = scores(*[0.5] * 20)
        found = paired(same, same)
        assert found.method == "bound"
        assert (found.low, found.high) == tango(0, 0, 20)

    def test_a_constant_gain_is_no_certainty(self) -> None:
        found = paired(scores(*[0.25] * 20), scores(*[0.5] * 20))
        assert found.low < 0.25 < found.high

    def test_groups_widen_the_interval(self) -> None:
        before = scores(*[0.0] * 40)
        after = scores(*[float(i // 4 % 2 == 0) for i in range(40)])
        groups = {id: str(i // 4) for i, id in enumerate(before)}
        alone, together = paired(before, after), paired(before, after, groups=groups)
        assert alone.method == "tango"
        assert together.method in ("resampling", "bound")
        assert together.high - together.low > 1.5 * (alone.high - alone.low)

    def test_groups_of_one_are_no_groups(self) -> None:
        before, after = scores(0, 1, 0, 1), scores(1, 1, 0, 1)
        alone = paired(before, after)
        assert paired(before, after, groups={id: id for id in before}) == alone
        assert paired(before, after, groups=dict.fromkeys(before, "")) == alone


def dense(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.beta(2, 2, n) - rng.beta(2, 3, n)


def sparse(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.choice([0.5, -0.5, 0.0], size=n, p=[0.15, 0.05, 0.8])


def mixed(rng: np.random.Generator, n: int) -> np.ndarray:
    sign = rng.choice([1.0, -1.0, 0.0], size=n, p=[0.25, 0.1, 0.65])
    return np.asarray(sign * rng.random(n))


@pytest.mark.parametrize(("draw", "truth"), [(dense, 0.1), (sparse, 0.05), (mixed, 0.075)])
@pytest.mark.parametrize("n", [20, 40, 60])
def test_the_interval_of_graded_scores_covers_the_truth(
    draw: Callable[[np.random.Generator, int], np.ndarray], truth: float, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "_RESAMPLES", 500)
    rng, covered, times = np.random.default_rng(n), 0, 400
    for seed in range(times):
        differences = draw(rng, n)
        found = paired(scores(*np.maximum(-differences, 0)), scores(*np.maximum(differences, 0)), seed=seed)
        covered += found.low <= truth <= found.high
    # Three standard errors of the simulation below 93.5 %.
    assert covered / times >= 0.935 - 3 * math.sqrt(0.95 * 0.05 / times)


def detectable(n: int, **given: float) -> float:
    found = smallest_detectable(n, **given)
    assert found is not None
    return found


class TestTheSmallestDetectableGain:
    def test_is_connors(self) -> None:
        assert [round(100 * detectable(n)) for n in (60, 150)] == [16, 10]
        assert detectable(60, disagreement=0.4) > detectable(60)
        assert detectable(60, level=0.99) > detectable(60)

    @pytest.mark.parametrize("n", [0, 1, 2, 24, 30, 36])
    def test_is_none_where_even_one_as_large_as_the_disagreement_needs_more_examples(self, n: int) -> None:
        assert smallest_detectable(n) is None
        assert fewest_detecting() == 37 and smallest_detectable(37) is not None

    @pytest.mark.parametrize("disagreement", [0.02, 0.1, 0.2, 0.5, 1.0])
    @pytest.mark.parametrize("level", [0.95, look_level(2), look_level(30)])
    def test_is_never_above_the_disagreement_and_needs_the_examples_that_connors_formula_asks_for(
        self, disagreement: float, level: float
    ) -> None:
        a, b = NormalDist().inv_cdf(0.5 + level / 2), NormalDist().inv_cdf(0.8)
        for n in (1, 10, 24, 60, 300, 5000):
            found = smallest_detectable(n, disagreement, level)
            assert (found is None) == (n < fewest_detecting(disagreement, level))
            if found is not None:
                assert 0 < found <= disagreement
                spread = a * math.sqrt(disagreement) + b * math.sqrt(disagreement - found**2)
                assert (spread / found) ** 2 == pytest.approx(n)

    @pytest.mark.parametrize("n", [60, 150, 300])
    def test_is_adopted_in_at_least_four_studies_of_five(self, n: int) -> None:
        gain = detectable(n)
        fixed, broken = (0.2 + gain) / 2, (0.2 - gain) / 2
        drawn = np.random.default_rng(n).multinomial(n, [fixed, broken, 0.8], size=4000)
        adopted = sum(tango(int(f), int(b), n).low > 0 for f, b, _ in drawn) / 4000
        assert 0.78 <= adopted <= 0.88


class TestLooks:
    def test_the_first_has_95_percent_and_each_further_one_more(self) -> None:
        levels = [look_level(look) for look in range(1, 31)]
        assert levels[:3] == [0.95, pytest.approx(1 - 0.1 / 6), pytest.approx(1 - 0.1 / 12)]
        assert levels == sorted(levels) and levels[-1] < 1

    @pytest.mark.parametrize("looks", [1, 2, 30, 10_000])
    def test_false_adoptions_of_any_number_of_looks_add_up_to_5_percent_at_most(self, looks: int) -> None:
        assert sum((1 - look_level(look)) / 2 for look in range(1, looks + 1)) <= 0.05


def test_the_best_of_equal_programs_does_not_look_better() -> None:
    rng = np.random.default_rng(0)
    raw, shrunk = [], []
    for _ in range(300):
        means = [float(m) for m in rng.binomial(45, 0.6, size=7) / 45]
        raw.append(max(means) - 0.6)
        shrunk.append(max(shrunk_means(means, [45] * 7)) - 0.6)
    assert np.mean(raw) > 0.07
    assert np.mean(shrunk) < 0.03


def test_real_differences_are_kept() -> None:
    shrunk = shrunk_means([0.2, 0.2, 0.9], [200, 200, 200])
    assert shrunk[2] > 0.85
    assert shrunk == sorted(shrunk)


def test_a_mean_of_few_examples_counts_for_little() -> None:
    shrunk = shrunk_means([0.3, 0.7, 0.9], [100, 100, 5])
    assert shrunk[2] - 0.5 < 0.75 * (0.9 - 0.5)
    assert shrunk[1] - 0.5 > 0.75 * (0.7 - 0.5)


def test_shrinking_copes_with_the_edges() -> None:
    assert shrunk_means([0.4], [10]) == [0.4]
    assert shrunk_means([], []) == []
    assert shrunk_means([1.0, 1.0], [5, 5]) == [1.0, 1.0]
    assert shrunk_means([0.0, 0.0], [5, 9]) == [0.0, 0.0]


@pytest.mark.parametrize("n", [11, 200, 1001])
def test_how_many_resamples_are_made_at_a_time_changes_no_interval(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(n)
    before, after = ({str(i): rng.random() for i in range(n)} for _ in range(2))
    groups = {str(i): str(i // 2) for i in range(n)}
    at_once = [paired(before, after, seed=1), paired(before, after, groups=groups, seed=1)]
    monkeypatch.setattr("luthier.evaluation.stats._AT_A_TIME", 700)
    assert [paired(before, after, seed=1), paired(before, after, groups=groups, seed=1)] == at_once


def test_twenty_thousand_graded_rows_are_compared_in_little_memory() -> None:
    rng = random.Random(0)
    before, after = ({str(i): rng.random() for i in range(20_000)} for _ in range(2))
    tracemalloc.start()
    try:
        assert paired(before, after).method == "resampling"
        assert tracemalloc.get_traced_memory()[1] < 150_000_000
    finally:
        tracemalloc.stop()
