from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from luthier.search.halving import SuccessiveHalving
from luthier.search.random import RandomSearch
from luthier.search.schedule import MinibatchSchedule
from luthier.search.space import Point
from luthier.search.standing import dropped
from luthier.search.trial import Ask, Observation, Purpose, Strategy, Trial
from tests.search.worlds import World, world

BROKEN = "l1"


def run_with_errors(strategy: Strategy, problem: World, excused: Sequence[str] = ()) -> list[Trial]:
    """Run a strategy where level l1 of v0 raises on every example, and every point on the excused ones."""
    history = [with_errors(problem.baseline(), excused)]
    while ask := strategy.ask(problem.space, history, [], random.Random(f"0/{len(history)}")):
        history.append(with_errors(problem.trial(len(history), ask), excused))
    return history


def with_errors(trial: Trial, excused: Sequence[str]) -> Trial:
    return replace(trial, observations=tuple(_failed(o) if _fails(o, excused) else o for o in trial.observations))


def _fails(observation: Observation, excused: Sequence[str]) -> bool:
    return observation.point["v0"] == BROKEN or observation.example in excused


def _failed(observation: Observation) -> Observation:
    return replace(observation, value=0.0, outcome="error")


def strategies(problem: World) -> list[Strategy]:
    return [
        MinibatchSchedule(RandomSearch(), problem.examples, problem.blocks(3), 40, closing=3),
        MinibatchSchedule(RandomSearch(), problem.examples, problem.blocks(3), 40, full_every=5, first_full=True),
        SuccessiveHalving(RandomSearch(), problem.examples, problem.blocks(3), 90, 2, smallest=3),
    ]


@pytest.mark.parametrize("index", range(3))
def test_a_point_that_raised_three_times_is_neither_asked_again_nor_scored_in_full(index: int) -> None:
    problem = world(0, variables=2, levels=3, examples=12)
    gone: set[Point] = set()
    history = run_with_errors(strategies(problem)[index], problem)
    for n, trial in enumerate(history):
        assert trial.ask.point not in gone or trial.ask.purpose is Purpose.RACE
        gone = dropped(history[: n + 1])
    assert gone
    assert all(point["v0"] == BROKEN for point in gone)


def test_two_errors_and_the_same_error_twice_drop_nobody() -> None:
    point = Point({"v": "a"})
    trial = Trial(1, Ask(point, ("x", "y"), Purpose.EXPLORE), (_error(point, "x"), _error(point, "y")))
    assert dropped([trial, replace(trial, number=2)]) == set()
    third = Trial(3, Ask(point, ("z",), Purpose.EXPLORE), (_error(point, "z"),))
    assert dropped([trial, third]) == {point}


def test_examples_on_which_the_original_raises_too_count_against_nobody() -> None:
    problem = world(0, variables=2, levels=3, examples=12)
    history = run_with_errors(strategies(problem)[0], problem, excused=problem.examples[:4])
    assert problem.space.original not in dropped(history)
    assert all(point["v0"] == BROKEN for point in dropped(history))


def _error(point: Point, example: str) -> Observation:
    return Observation(point, example, 0, 0.0, "error")
