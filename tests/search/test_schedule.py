from __future__ import annotations

import random
from typing import Any

import pytest

from luthier.search.random import RandomSearch
from luthier.search.schedule import (
    FullSchedule,
    MinibatchSchedule,
    batch_size,
    minibatch_size,
    paper_trials,
    trials_for,
)
from luthier.search.space import Point
from luthier.search.standing import predicted_best, standings
from luthier.search.trial import Ask, Observation, Purpose, Trial
from tests.search.worlds import World, all_points, run, world

FULL, EXPLORE = Purpose.FULL, Purpose.EXPLORE


def purposes(history: list[Trial]) -> str:
    return "".join({FULL: "F", EXPLORE: "e", Purpose.RACE: "r"}[t.ask.purpose] for t in history if not t.prior)


def test_the_paper_scores_in_full_after_trial_zero_and_every_tenth_trial_after_it() -> None:
    problem = world(0)
    schedule = MinibatchSchedule(
        RandomSearch(), problem.examples, problem.blocks(5), 30, full_every=10, first_full=True
    )
    assert purposes(run(schedule, problem)) == "eF" + "e" * 10 + "F" + "e" * 10 + "F" + "e" * 9


def test_without_a_first_full_evaluation_the_first_comes_after_s_trials() -> None:
    problem = world(0)
    schedule = MinibatchSchedule(RandomSearch(), problem.examples, problem.blocks(5), 9, full_every=3)
    assert purposes(run(schedule, problem)) == "eeeFeeeFeeeF"


@pytest.mark.parametrize(("task", "trials", "fulls"), [("hover", 133, 14), ("iris", 69, 7), ("heart", 97, 10)])
def test_the_paper_schedule_makes_as_many_full_evaluations_as_its_figures_show(
    task: str, trials: int, fulls: int
) -> None:
    problem = world(0, examples=50)
    schedule = MinibatchSchedule(
        RandomSearch(), problem.examples, problem.blocks(5), trials, full_every=10, first_full=True
    )
    history = run(schedule, problem, prior=[problem.baseline()])
    assert (purposes(history).count("e"), purposes(history).count("F")) == (trials, fulls), task


def test_the_paper_scores_the_best_mean_that_has_no_full_evaluation_yet() -> None:
    problem = world(3)
    schedule = MinibatchSchedule(RandomSearch(), problem.examples, problem.blocks(5), 21, full_every=5, first_full=True)

    def watch(history: list[Trial], pending: list[Ask], ask: Ask) -> None:
        if ask.purpose is FULL:
            done = {t.ask.point for t in history if t.ask.purpose is FULL}
            means = {p: row.mean for p, row in standings(history).items() if p not in done}
            assert means[ask.point] == max(means.values())

    run(schedule, problem, watch=watch)


def test_where_every_point_seen_has_a_full_evaluation_none_is_made_and_the_search_goes_on() -> None:
    problem = world(0, variables=1, levels=3, examples=6)
    schedule = MinibatchSchedule(RandomSearch(), problem.examples, problem.blocks(2), 4, full_every=1, first_full=True)
    assert purposes(run(schedule, problem)) == "eFeFeF"


def test_full_evaluations_keep_their_pace_in_batches() -> None:
    problem = world(0)
    schedule = MinibatchSchedule(
        RandomSearch(), problem.examples, problem.blocks(5), 40, full_every=10, first_full=True, batch=4
    )
    got = purposes(run(schedule, problem, batch=4))
    assert got.count("e") == 40
    assert got.count("F") == 4


def test_ours_closes_with_the_most_promising_points() -> None:
    problem = world(1)
    schedule = MinibatchSchedule(RandomSearch(), problem.examples, problem.blocks(9), 14, closing=3, batch=4)
    history = run(schedule, problem, batch=4, prior=[problem.baseline()])
    assert purposes(history) == "e" * 14 + "FFF"
    before = standings([t for t in history if t.prior or t.ask.purpose is EXPLORE])
    ranked = [point for point in before if point != problem.space.original]
    combined = predicted_best(history[:-3], problem.space)
    assert history[-3].ask.point == combined, "the point of the best levels comes first"
    assert [t.ask.point for t in history[-2:]] == [point for point in ranked if point != combined][:2]
    assert all(t.ask.examples == problem.examples for t in history[-3:])


def test_the_original_is_never_scored_in_full_twice() -> None:
    problem = world(0, variables=1, levels=3, examples=10)
    schedule = MinibatchSchedule(RandomSearch(), problem.examples, problem.blocks(5), 20, closing=3)
    history = run(schedule, problem, prior=[problem.baseline()])
    assert problem.space.original not in [t.ask.point for t in history[1:]]


def test_all_points_of_a_batch_see_the_same_examples_and_batches_go_through_the_blocks() -> None:
    problem = world(0)
    blocks = problem.blocks(9)
    schedule = MinibatchSchedule(RandomSearch(), problem.examples, blocks, 24, closing=0, batch=4)
    history = run(schedule, problem, batch=4)
    assert [t.ask.examples for t in history] == [blocks[i // 4 % len(blocks)] for i in range(24)]


def test_a_point_asked_again_gets_unseen_examples_first_and_at_last_those_that_are_left() -> None:
    problem = world(0, variables=1, levels=1, examples=10)
    schedule = MinibatchSchedule(RandomSearch(), problem.examples, problem.blocks(4), 99)
    history = run(schedule, problem)
    assert [len(t.ask.examples) for t in history] == [4, 4, 2]
    assert {e for t in history for e in t.ask.examples} == set(problem.examples)


def anchored(problem: World, **settings: Any) -> tuple[MinibatchSchedule, list[Point]]:
    anchors = all_points(problem.space)[5:9]
    schedule = MinibatchSchedule(
        RandomSearch(), problem.examples, problem.blocks(5), 12, anchors=tuple(anchors), **settings
    )
    return schedule, anchors


@pytest.mark.parametrize("batch", [1, 3])
def test_anchors_are_asked_first_each_once_and_in_order(batch: int) -> None:
    problem = world(0, variables=2)
    schedule, anchors = anchored(problem, batch=batch)
    history = run(schedule, problem, batch=batch, prior=[problem.baseline()])
    explored = [t.ask.point for t in history if not t.prior]
    assert explored[:4] == anchors
    assert len(explored) == 12, "anchors are trials like others"
    assert all(t.ask.purpose is EXPLORE for t in history if not t.prior)


def test_an_anchor_that_was_scored_before_is_passed_over() -> None:
    problem = world(0, variables=2)
    schedule, anchors = anchored(problem)
    known = problem.trial(0, Ask(anchors[0], problem.examples, FULL), prior=True)
    history = run(schedule, problem, prior=[known])
    assert [t.ask.point for t in history[1:4]] == anchors[1:]


def test_random_search_in_full_tries_every_point_once_and_ends() -> None:
    problem = world(0, variables=2, levels=3, examples=4)
    history = run(FullSchedule(RandomSearch(), problem.examples, 99), problem, batch=2)
    assert len(history) == len({t.ask.point for t in history}) == 9
    assert len(run(FullSchedule(RandomSearch(), problem.examples, 5), problem, prior=[problem.baseline()])) == 6


def test_random_search_is_uniform_over_open_points() -> None:
    problem = world(0, variables=2, levels=2, examples=1)
    closed = {problem.space.original}
    drawn = [RandomSearch().suggest(problem.space, [], [], random.Random(i), closed) for i in range(600)]
    counts = [drawn.count(p) for p in set(drawn)]
    assert len(counts) == 3
    assert min(counts) > 150


def test_a_lucky_minibatch_does_not_outrank_a_point_that_did_well_for_long() -> None:
    lucky, steady = Point({"v": "lucky"}), Point({"v": "steady"})
    history = [_told(0, steady, [(f"e{i}", float(i % 10 != 0)) for i in range(40)])]
    history.append(_told(1, lucky, [(f"e{i}", 1.0) for i in (1, 2, 3)]))
    history.append(_told(2, Point({"v": "poor"}), [(f"e{i}", float(i % 3 == 0)) for i in range(40)]))
    rows = standings(history)
    assert rows[lucky].mean > rows[steady].mean
    assert rows[steady].shrunk > rows[lucky].shrunk


def test_a_point_is_not_blamed_for_hard_examples() -> None:
    history = []
    hard, easy = [f"h{i}" for i in range(20)], [f"e{i}" for i in range(20)]
    for number in range(6):
        point = Point({"v": str(number)})
        history.append(_told(number, point, [(e, 0.1) for e in hard] + [(e, 0.9) for e in easy]))
    good, bad = Point({"v": "good"}), Point({"v": "bad"})
    history.append(_told(6, good, [(e, 0.4) for e in hard]))
    history.append(_told(7, bad, [(e, 0.6) for e in easy]))
    rows = standings(history)
    assert rows[good].mean < rows[bad].mean
    assert rows[good].shrunk > rows[bad].shrunk


def test_a_draw_that_is_told_twice_counts_once() -> None:
    point = Point({"v": "a"})
    first = _told(0, point, [("e0", 1.0), ("e1", 0.0)])
    assert standings([first, _told(1, point, [("e0", 1.0), ("e1", 0.0), ("e2", 0.0)])])[point].n == 3


def test_sizes_follow_the_budget() -> None:
    assert minibatch_size(300, 45, 2, 3) == 10
    assert trials_for(300, 45, 10, 3) == 16
    assert minibatch_size(600, 45, 6, 3) == 19
    assert minibatch_size(100, 45, 6, 2) == 6
    assert minibatch_size(100_000, 300, 6, 3) == 25
    assert minibatch_size(100_000, 12, 6, 3) == 12
    assert trials_for(100, 45, 6, 3) == 0
    assert batch_size(25, 300) == 3
    assert batch_size(9, 16) == 1


@pytest.mark.parametrize(
    ("full", "n", "trials"), [(50, 500, 333), (20, 500, 133), (30, 500, 200), (30, 75, 69), (30, 120, 97)]
)
def test_the_papers_trials_are_those_of_its_tasks(full: int, n: int, trials: int) -> None:
    assert paper_trials(full, n, 25, 10) == trials


def _told(number: int, point: Point, values: list[tuple[str, float]]) -> Trial:
    ask = Ask(point, tuple(e for e, _ in values), EXPLORE)
    return Trial(number, ask, tuple(Observation(point, e, 0, v, "scored") for e, v in values))
