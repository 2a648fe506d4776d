"""Rollouts end in one of four ways, which are never mixed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import luthier as lt
from luthier.errors import (
    ConfigError,
    ProgramFailed,
)
from luthier.evaluation.rollout import Job, Outcome
from luthier.lm.doubles import ScriptedLM
from luthier.types import Role
from tests.evaluation.world import DATA, World, aprogram, asked, kind, outcomes, right


class TestScored:
    def test_rollouts_come_back_in_the_order_of_the_jobs(self, both: Callable[..., Any]) -> None:
        world = World(both)
        rollouts = world.run()
        assert [rollout.job.example for rollout in rollouts] == [row.id for row in world.rows]
        assert [rollout.prediction for rollout in rollouts] == [row["answer"] for row in DATA]
        assert {rollout.value for rollout in rollouts} == {1.0}
        assert all(rollout.usage.calls == 1 and rollout.trace.calls[0].outputs for rollout in rollouts)
        assert sorted(r.job.example for r in world.seen) == sorted(r.job.example for r in rollouts)

    def test_an_evaluation_has_mean_and_error(self) -> None:
        world = World(answer=lambda request: "even")
        candidate = world.program.original
        evaluation = asyncio.run(world.evaluator.evaluate(candidate, [row.id for row in world.rows], repeats=2))
        assert (evaluation.mean, evaluation.n, evaluation.unscored) == (0.5, 10, 0)
        assert len(evaluation.rollouts) == 20
        assert 0.1 < evaluation.stderr < 0.2
        assert evaluation.usage.calls == 20

    def test_only_so_many_run_at_one_time(self, both: Callable[..., Any]) -> None:
        world = World(both, concurrency=3, latency=0.02)
        world.run()
        assert world.double.most_in_flight == 3

    def test_the_limit_holds_over_calls_that_run_together(self) -> None:
        world = World(aprogram, concurrency=3, latency=0.02)

        async def twice() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(world.evaluator.rollouts(world.jobs()))
                group.create_task(world.evaluator.rollouts(world.jobs(repeat=1)))

        asyncio.run(twice())
        assert world.double.most_in_flight == 3

    def test_a_candidates_examples_run_one_after_the_other(self) -> None:
        world = World(concurrency=1)
        one = world.program.original
        two = one.with_instruction("kind", "Is it even or odd?")
        jobs = [Job(candidate, row.id) for row in world.rows[:3] for candidate in (one, two)]
        rollouts = asyncio.run(world.evaluator.rollouts(jobs))
        assert [rollout.job for rollout in rollouts] == jobs
        assert [rollout.job.candidate.key for rollout in world.seen] == [one.key] * 3 + [two.key] * 3

    def test_another_lm_and_role_may_answer(self) -> None:
        world = World()
        teacher = ScriptedLM(right, identity="teacher")
        asyncio.run(world.evaluator.rollouts(world.jobs(), lm=lt.LM(teacher), role=Role.TEACHER))
        assert (teacher.calls, world.double.calls) == (10, 0)
        assert list(world.gateway.usage) == ["teacher"]

    def test_nothing_that_user_code_does_to_its_inputs_changes_the_data(self) -> None:
        def greedy(number: str, tags: list[str]) -> str:
            tags.append("mine")
            return kind(number=number)

        def metric(example: Any, prediction: str) -> bool:
            example.tags.append("mine, too")
            return bool(prediction == example.answer)

        world = World(greedy, metric, data=[{**row, "tags": ["a"]} for row in DATA])
        assert {rollout.value for rollout in world.run()} == {1.0}
        assert all(row.inputs["tags"] == ["a"] == row.example.tags for row in world.rows)

    def test_no_jobs_are_no_rollouts(self) -> None:
        assert asyncio.run(World().evaluator.rollouts([])) == []

    def test_at_least_one_must_run_at_a_time(self) -> None:
        with pytest.raises(ConfigError, match="concurrency=0"):
            World(concurrency=0)


class TestUnparseable:
    def test_an_unreadable_answer_scores_zero_and_names_the_predictor(self, both: Callable[..., Any]) -> None:
        world = World(both, answer=lambda request: "maybe" if asked(request) == 3 else right(request))
        rollouts = world.run()
        assert rollouts[3].outcome is Outcome.UNPARSEABLE
        assert rollouts[3].value == 0.0
        assert rollouts[3].blamed == world.program.predictors[0].name
        assert rollouts[3].trace.calls[0].text == "maybe"
        assert outcomes(rollouts).count("scored") == 9


class TestProgramErrors:
    def test_a_later_error_scores_zero_with_its_traceback(self, both: Callable[..., Any]) -> None:
        def broken(number: str) -> str:
            if number == "3":
                raise KeyError("colour")
            return kind(number=number)

        rollouts = World(broken).run()
        assert rollouts[3].outcome is Outcome.ERROR
        assert rollouts[3].value == 0.0
        assert rollouts[3].error == "KeyError: 'colour'"
        assert 'raise KeyError("colour")' in rollouts[3].traceback
        assert "luthier/evaluation" not in rollouts[3].traceback.split("test_evaluator.py")[0]

    def test_an_error_in_the_very_first_rollout_ends_the_study(self) -> None:
        def broken(number: str) -> str:
            return kind(number=number) + DATA[0]["colour"]

        with pytest.raises(ProgramFailed, match=r"(?s)KeyError: 'colour' in its very first run.*number='0'.*Traceback"):
            World(broken).run()

    def test_a_program_that_is_proven_may_fail_from_the_start(self) -> None:
        def broken(number: str) -> str:
            raise KeyError(kind.name)

        world = World(broken)
        world.evaluator.proven = True
        assert set(outcomes(world.run())) == {"error"}

    def test_keys_do_not_reach_the_error(self) -> None:
        def leaking(number: str) -> str:
            if number == "3":
                raise ValueError("bad key sk-abcdefghijklmnopqrst")
            return kind(number=number)

        rollout = World(leaking).run()[3]
        assert "abcdefghijklmnop" not in rollout.error + rollout.traceback.replace('"bad key', "")[-200:]


class TestMeetingPredictors:
    def test_a_predictor_first_met_at_run_time_is_reported(self) -> None:
        hidden = {"late": kind.named("late")}

        def sneaky(number: str) -> str:
            return hidden[min(hidden)](number=number) if number else kind(number=number)

        world = World(sneaky)
        world.run()
        known = {component.name for component in world.program.components}
        assert {predictor.name for predictor in world.evaluator.met} | known == {"kind", "late"}
