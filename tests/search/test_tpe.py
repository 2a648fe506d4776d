from __future__ import annotations

import logging
import random
import statistics
import subprocess
import sys
import warnings
from itertools import product

import pytest

from luthier.search.random import RandomSearch
from luthier.search.schedule import FullSchedule, MinibatchSchedule
from luthier.search.space import Point, Space, Variable
from luthier.search.tpe import TPE, startup_trials
from luthier.search.trial import Ask, Observation, Purpose, Suggest, Trial
from tests.search.worlds import World, all_points, run, world


def regret(suggest: Suggest, problem: World) -> float:
    """How far the best guess of a search on minibatches is from the optimum: the mean over its last ten trials."""
    schedule = MinibatchSchedule(suggest, problem.examples, problem.blocks(9), 50)
    history = run(schedule, problem, prior=[problem.baseline()])
    best = max(problem.truth(p) for p in _extremes(problem))
    return best - statistics.fmean(problem.truth(t.ask.point) for t in history[-10:])


def _extremes(problem: World) -> list[Point]:
    # The table is additive, so its optimum is that of each variable.
    levels = {v.name: max(v.levels, key=lambda x: problem.effects[v.name, x]) for v in problem.space.variables}
    return [Point(levels)]


def test_tpe_beats_random_search_at_equal_trials_over_twenty_seeds() -> None:
    differences = [
        regret(RandomSearch(), problem) - regret(TPE(), problem) for problem in (world(seed) for seed in range(20))
    ]
    mean, error = statistics.fmean(differences), statistics.stdev(differences) / 20**0.5
    assert mean > 0.05
    assert mean > 3 * error


def test_the_answer_is_that_of_a_real_optuna_study(monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna

    from luthier.search import tpe

    problem = world(4, variables=3, levels=4)
    history = run(FullSchedule(RandomSearch(), problem.examples, 20), problem)
    ours = TPE(startup=1, adjust=False).suggest(problem.space, history, [], random.Random(8))

    space: dict[str, optuna.distributions.BaseDistribution] = {
        v.name: optuna.distributions.CategoricalDistribution(range(4)) for v in problem.space.variables
    }
    sampler = tpe._sampler(random.Random(8).getrandbits(32))
    storage = optuna.storages.InMemoryStorage()
    monkeypatch.setattr(logging.getLogger("optuna"), "disabled", True)
    study = optuna.create_study(storage=storage, direction="maximize", sampler=sampler)
    for trial in history:
        params = {name: int(level[1:]) for name, level in trial.ask.point.items()}
        study.add_trial(optuna.create_trial(params=params, distributions=space, value=trial.mean))
    theirs = study.ask(space).params
    assert ours == Point({name: f"l{index}" for name, index in theirs.items()})


def test_nothing_is_logged_or_warned_and_optuna_keeps_its_settings(caplog: pytest.LogCaptureFixture) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    problem = world(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(FullSchedule(TPE(startup=2), problem.examples, 5), problem)
    assert not caught
    assert not caplog.records
    assert optuna.logging.get_verbosity() == before


def test_optuna_is_loaded_only_when_a_point_is_asked_for() -> None:
    code = (
        "import sys, luthier.search.schedule, luthier.search.halving, luthier.study.study\n"
        "from luthier.search.tpe import TPE\nTPE()\n"
        "assert not {'optuna', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_ordinal_variable_is_searched_as_a_number() -> None:
    space = Space((Variable("size", tuple(str(i) for i in range(30)), "ordinal"),))
    history: list[Trial] = []
    for number in range(25):
        point = TPE(startup=8).suggest(space, history, [], random.Random(f"o/{number}"))
        assert point is not None
        value = -abs(int(point["size"]) - 21) / 30
        seen = (Observation(point, "e", 0, value, "scored"),)
        history.append(Trial(number, Ask(point, ("e",), Purpose.EXPLORE), seen))
    assert statistics.fmean(abs(int(t.ask.point["size"]) - 21) for t in history[-8:]) < 4


def test_a_level_or_variable_that_comes_later_can_be_asked_for() -> None:
    problem = world(0, variables=2, levels=3)
    history = run(FullSchedule(RandomSearch(), problem.examples, 9), problem)
    grown = problem.space.with_level("v0", "new")
    asked = {
        TPE(startup=1).suggest(grown, history, [], random.Random(i), set(all_points(problem.space))) for i in range(20)
    }
    assert all(point is not None and point["v0"] == "new" for point in asked)
    wider = Space((*problem.space.variables, Variable("late", ("a", "b"))))
    point = TPE(startup=1).suggest(wider, history, [], random.Random(0))
    assert point is not None
    assert set(point) == {"v0", "v1", "late"}


def test_pending_points_are_kept_away_from() -> None:
    problem = world(0, variables=2, levels=3)
    history = run(FullSchedule(RandomSearch(), problem.examples, 5), problem)
    pending: list[Ask] = []
    for number in range(9):
        point = TPE(startup=1).suggest(problem.space, history, pending, random.Random(number))
        assert point is not None
        pending.append(Ask(point, ("e0",), Purpose.EXPLORE))
    assert {ask.point for ask in pending} == set(all_points(problem.space))
    assert TPE(startup=1).suggest(problem.space, history, pending, random.Random(0)) is None


def test_start_up_takes_a_third_of_few_trials_and_ten_of_many() -> None:
    assert [startup_trials(n) for n in (1, 12, 16, 30, 300)] == [1, 4, 5, 10, 10]


def test_prior_trials_inform_but_do_not_end_the_start_up() -> None:
    problem = world(0, variables=2, levels=3)
    priors = [
        problem.trial(n, Ask(Point({"v0": a, "v1": b}), problem.examples, Purpose.FULL), prior=True)
        for n, (a, b) in enumerate(product(("l0", "l1"), ("l0", "l1")))
    ]
    uniform = RandomSearch().suggest(problem.space, priors, [], random.Random(5))
    assert TPE(startup=2).suggest(problem.space, priors, [], random.Random(5)) == uniform
