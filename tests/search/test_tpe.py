from __future__ import annotations

import logging
import random
import statistics
import subprocess
import sys
import warnings
from collections.abc import Sequence
from itertools import product
from typing import Literal

import numpy as np
import optuna
import pytest

from luthier.search.random import RandomSearch, uniform_point
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


@pytest.mark.parametrize("kinds", [("categorical",), ("categorical", "ordinal")], ids=["categorical", "ordinal too"])
def test_the_answers_are_those_of_optunas_multivariate_tpe(
    kinds: Sequence[Literal["categorical", "ordinal"]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Optuna sorts equal observations in an order that depends on the processor.
    argsort = np.argsort
    monkeypatch.setattr(np, "argsort", lambda values, **settings: argsort(values, **{**settings, "kind": "stable"}))
    monkeypatch.setattr(logging.getLogger("optuna"), "disabled", True)
    for case in range(60):
        rng = random.Random(f"{kinds}/{case}")
        variables = [
            Variable(f"v{i}", tuple(f"l{j}" for j in range(rng.randint(2, 9))), rng.choice(kinds))
            for i in range(rng.randint(1, 6))
        ]
        space = Space(tuple(variables))

        def drawn(rng: random.Random = rng, variables: Sequence[Variable] = variables) -> Point:
            return Point({variable.name: rng.choice(variable.levels) for variable in variables})

        points = [drawn() for _ in range(rng.randint(2, 80))]
        history = [
            Trial(n, Ask(point, ("e",), Purpose.EXPLORE), (Observation(point, "e", 0, rng.random(), "scored"),))
            for n, point in enumerate(points)
        ]
        pending = [Ask(drawn(), ("e",), Purpose.EXPLORE) for _ in range(rng.randint(0, 4))]
        closed: set[Point] = set()
        ours = TPE(startup=1, adjust=False).suggest(space, history, pending, random.Random(case), closed)
        assert ours == _optunas(space, history, pending, random.Random(case)), (case, variables)


def _optunas(space: Space, history: Sequence[Trial], pending: Sequence[Ask], rng: random.Random) -> Point | None:
    """What a real Optuna study would ask next, with luthier's rule for points that are taken."""
    kinds: dict[str, optuna.distributions.BaseDistribution] = {
        v.name: optuna.distributions.IntDistribution(0, len(v.levels) - 1)
        if v.kind == "ordinal"
        else optuna.distributions.CategoricalDistribution(range(len(v.levels)))
        for v in space.variables
    }
    for _ in range(4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what one version calls experimental, and another deprecated
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=0,
                n_ei_candidates=24,
                seed=rng.getrandbits(32),
                multivariate=True,
                constant_liar=True,
            )
            study = optuna.create_study(direction="maximize", sampler=sampler)
            for state, point, value in (
                *(("COMPLETE", trial.ask.point, trial.mean) for trial in history),
                *(("RUNNING", ask.point, None) for ask in pending),
            ):
                params = {name: int(level[1:]) for name, level in point.items()}
                study.add_trial(
                    optuna.create_trial(
                        state=optuna.trial.TrialState[state], params=params, distributions=kinds, value=value
                    )
                )
            found = study.ask(kinds).params
        point = Point({name: f"l{level}" for name, level in found.items()})
        if point not in {ask.point for ask in pending}:
            return point
    return uniform_point(space, {ask.point for ask in pending}, rng)


def test_numpy_is_loaded_only_when_a_point_is_asked_for() -> None:
    code = (
        "import sys, luthier.search.schedule, luthier.search.halving, luthier.study.study\n"
        "from luthier.search.tpe import TPE\nTPE()\n"
        "assert 'numpy' not in sys.modules"
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
