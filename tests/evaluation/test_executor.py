"""Where rollouts are made can be chosen, and decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import ConfigError
from luthier.evaluation.executor import Assignment, Workplace
from luthier.evaluation.making import make_rollout
from luthier.evaluation.rollout import Rollout
from luthier.study.journal import read_journal, without_times
from tests.evaluation.world import DATA, program, right
from tests.studies import world


class Noting:
    """Makes rollouts here, and notes which."""

    def __init__(self) -> None:
        self.made: list[Assignment] = []

    async def rollout(self, workplace: Workplace, assignment: Assignment) -> Rollout:
        self.made.append(assignment)
        return await make_rollout(workplace, assignment)


def test_an_executor_makes_every_rollout_of_an_evaluation() -> None:
    noting = Noting()
    found = lt.evaluate(program, DATA, lt.exact_match, lm=lt.LM(right), executor=noting)
    assert found.mean == 1.0
    assert sorted(made.job.example for made in noting.made) == sorted(found.scores)
    assert sum(made.first for made in noting.made) == 1


def test_an_unknown_executor_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"executor='dask'.*local, ray"):
        lt.evaluate(program, DATA, lt.exact_match, lm=lt.LM(right), executor="dask")


def test_a_study_may_go_on_with_another_executor(tmp_path: Path) -> None:
    def tune(name: str, **more: Any) -> list[Any]:
        settings: dict[str, Any] = {"candidates": 3, "demo_sizes": (0, 3), "trials": 4, "minibatch": 6, "closing": 2}
        lt.optimize(
            world.describe,
            world.rows(110),
            lt.exact_match("answer"),
            lm=lt.LM(world.answer),
            optimizer=lt.MIPRO(instructions=2, **settings),
            study_dir=tmp_path / name,
            **more,
        )
        return [without_times(event) for event in read_journal(tmp_path / name / "journal.jsonl")]

    here = tune("here")
    noting = Noting()
    assert tune("there", executor=noting) == here
    assert noting.made
    made = len(noting.made)
    assert tune("there") == here
    assert len(noting.made) == made
