"""What verdicts adopt, simulated: a small version of ``benchmarks/looks.py``."""

from __future__ import annotations

import pytest

from benchmarks.looks import false_adoptions, graded_false_adoptions, true_adoptions


@pytest.mark.parametrize(("n", "disagreement"), [(24, 0.2), (40, 0.4), (80, 0.2)])
def test_thirty_looks_at_equal_programs_adopt_in_at_most_5_percent(n: int, disagreement: float) -> None:
    found = false_adoptions(n, disagreement, times=8000, seed=1)
    assert found.high <= 0.05
    assert found.value > 0.01, "a verdict that adopts nothing would be of no use"


def test_thirty_looks_at_graded_scores_do_so_too() -> None:
    assert graded_false_adoptions(40, times=1500, seed=1).value <= 0.05


def test_the_first_look_is_not_paid_for_by_later_ones() -> None:
    assert false_adoptions(80, 0.2, times=8000, seed=1, looks=1).value == pytest.approx(0.025, abs=0.006)


@pytest.mark.parametrize(("n", "gain", "least", "most"), [(24, 0.2, 0.5, 0.9), (80, 0.2, 0.97, 1), (200, 0.1, 0.8, 1)])
def test_real_gains_are_adopted(n: int, gain: float, least: float, most: float) -> None:
    found = true_adoptions(n, gain, 0.2, 1, times=4000, seed=1)
    assert least <= found.value <= most
    assert true_adoptions(n, gain, 0.2, 10, times=4000, seed=1).value < found.value
