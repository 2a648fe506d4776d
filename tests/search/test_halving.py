from __future__ import annotations

from itertools import pairwise

from luthier.search.halving import SuccessiveHalving, plan_rungs
from luthier.search.random import RandomSearch
from luthier.search.standing import standings
from luthier.search.trial import Purpose, Trial
from tests.search.worlds import World, run, world


def halving(problem: World, budget: int = 165) -> SuccessiveHalving:
    return SuccessiveHalving(RandomSearch(), problem.examples, problem.blocks(9), budget, 3)


def cost(history: list[Trial]) -> int:
    return sum(len(t.observations) for t in history if not t.prior and t.ask.purpose is not Purpose.FULL)


def test_the_budget_is_used_and_kept() -> None:
    for budget in (20, 60, 165, 400, 1000):
        problem = world(budget)
        history = run(halving(problem, budget), problem, prior=[problem.baseline()])
        assert 0.85 * budget <= cost(history) <= budget or budget < 24
        assert cost(history) <= budget


def test_each_rung_sees_fewer_points_on_more_examples() -> None:
    rungs = plan_rungs(1000, 45, 3, eta=3, smallest=6)
    assert len(rungs) > 1
    assert all(above.points <= below.points // 2 and above.upto == 3 * below.upto for below, above in pairwise(rungs))
    assert rungs[-1].points > 3


def test_the_best_of_a_rung_go_on_and_three_are_closed_in_full() -> None:
    problem = world(2)
    history = run(halving(problem, 600), problem, batch=4, prior=[problem.baseline()])
    by = {p: [t for t in history[1:] if t.ask.purpose is p] for p in Purpose}
    assert len(by[Purpose.FULL]) == 3
    raced = {t.ask.point for t in by[Purpose.RACE]}
    assert raced
    first_rung = [point for point in standings([history[0], *by[Purpose.EXPLORE]]) if point != problem.space.original]
    assert first_rung[0] in raced
    assert {t.ask.point for t in by[Purpose.FULL]} <= raced


def test_all_points_of_a_rung_see_the_same_examples() -> None:
    problem = world(2)
    history = run(halving(problem, 600), problem)
    assert len({t.ask.examples for t in history if t.ask.purpose is Purpose.EXPLORE}) == 1
    assert len({t.ask.examples for t in history if t.ask.purpose is Purpose.RACE}) == 1


def test_a_budget_too_small_for_one_rung_asks_for_nothing() -> None:
    problem = world(0)
    assert run(halving(problem, 10), problem) == []
