"""Rollouts end in one of four ways, which are never mixed; what cannot go on stops the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest

import luthier as lt
from luthier.budget import Ledger
from luthier.errors import (
    AccessDenied,
    BudgetExhausted,
    ConfigError,
    LMError,
    MetricError,
    ProgramFailed,
    RequestRejected,
    StudyPaused,
)
from luthier.evaluation.data import Row, load_rows, parameters_of
from luthier.evaluation.evaluator import Evaluator
from luthier.evaluation.rollout import Job, Outcome, Rollout
from luthier.lm.doubles import ScriptedLM
from luthier.lm.gateway import Gateway, RetryPolicy
from luthier.lm.request import Completion, Request
from luthier.program.program import discover
from luthier.program.trace import Trace
from luthier.types import Role


@lt.predictor
def kind(number: str) -> Literal["even", "odd"]:
    """Say whether the number is even."""
    return lt.predict()


@lt.predictor
async def akind(number: str) -> Literal["even", "odd"]:
    """Say whether the number is even."""
    return await lt.predict()


def program(number: str) -> str:
    return kind(number=number)


async def aprogram(number: str) -> str:
    return await akind(number=number)


TRUTH = {0: "even", 1: "odd"}
DATA = [{"number": str(i), "answer": TRUTH[i % 2]} for i in range(10)]


def asked(request: Request) -> int:
    return int(request.messages[-1].text.split()[-1])


def right(request: Request) -> str:
    return TRUTH[asked(request) % 2]


class World:
    """An evaluator on a scripted LM."""

    def __init__(
        self,
        function: Callable[..., Any] = program,
        metric: Any = lt.exact_match,
        answer: Callable[[Request], Completion | str] = right,
        *,
        data: Any = DATA,
        concurrency: int = 4,
        ledger: Ledger | None = None,
        latency: float = 0.0,
    ) -> None:
        self.double = ScriptedLM(answer, latency=latency)
        self.lm = lt.LM(self.double)
        self.program = discover(function)
        self.rows: list[Row] = load_rows(data, parameters_of(self.program))
        self.gateway = Gateway(ledger=ledger, retry=RetryPolicy(first=0.01, give_up_after=0.05))
        self.seen: list[Rollout] = []
        self.evaluator = Evaluator(
            self.program,
            metric,
            {row.id: row for row in self.rows},
            self.lm,
            self.gateway,
            concurrency=concurrency,
            on_rollout=self.seen.append,
        )

    def jobs(self, repeat: int = 0) -> list[Job]:
        return [Job(self.program.original, row.id, repeat) for row in self.rows]

    def run(self) -> list[Rollout]:
        try:
            return asyncio.run(self.evaluator.rollouts(self.jobs()))
        finally:
            self.gateway.close()


def outcomes(rollouts: list[Rollout]) -> list[str]:
    return [rollout.outcome.value for rollout in rollouts]


@pytest.fixture(params=[program, aprogram], ids=["sync", "async"])
def both(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    yield request.param


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


class TestInfrastructure:
    @pytest.mark.parametrize("error", [ConnectionError("gone"), TimeoutError("late"), lt.Unavailable("out")])
    def test_outages_of_user_code_leave_the_rollout_unscored(self, error: Exception) -> None:
        def flaky(number: str) -> str:
            if number == "3":
                raise error
            return kind(number=number)

        rollouts = World(flaky).run()
        assert rollouts[3].outcome is Outcome.UNSCORED
        assert rollouts[3].score is None
        assert str(error) in rollouts[3].error

    def test_an_outage_of_the_lm_leaves_the_rollout_unscored(self, both: Callable[..., Any]) -> None:
        def answer(request: Request) -> str:
            if asked(request) == 3:
                raise lt.Unavailable("down")
            return right(request)

        rollouts = World(both, answer=answer).run()
        assert outcomes(rollouts) == ["scored"] * 3 + ["unscored"] + ["scored"] * 6

    def test_an_outage_wrapped_by_user_code_is_still_an_outage(self) -> None:
        def wrapping(number: str) -> str:
            try:
                if number == "3":
                    raise ConnectionError("gone")
            except ConnectionError as error:
                raise ValueError("no documents") from error
            return kind(number=number)

        assert World(wrapping).run()[3].outcome is Outcome.UNSCORED

    def test_an_outage_inside_a_task_group_is_still_an_outage(self) -> None:
        async def parallel(number: str) -> str:
            async def ask() -> str:
                if number == "3":
                    raise lt.Unavailable("down")
                return await akind(number=number)

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask()) for _ in range(2)]
            return tasks[0].result()

        rollouts = World(parallel).run()
        assert rollouts[3].outcome is Outcome.UNSCORED
        assert rollouts[4].outcome is Outcome.SCORED

    def test_an_outage_in_the_first_rollout_leaves_the_next_to_prove_the_program(self) -> None:
        calls = []

        def flaky(number: str) -> str:
            calls.append(number)
            if len(calls) == 1:
                raise ConnectionError("gone")
            raise KeyError(kind.name)

        world = World(flaky, concurrency=1, data=DATA[:1])
        assert outcomes(asyncio.run(world.evaluator.rollouts(world.jobs()))) == ["unscored"]
        with pytest.raises(ProgramFailed):
            asyncio.run(world.evaluator.rollouts(world.jobs()))


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


class TestWhatEndsAll:
    @pytest.mark.parametrize("error", [AccessDenied("wrong key"), RequestRejected("no such model")])
    def test_what_no_rollout_can_get_past_is_raised_as_it_is(self, error: LMError, both: Callable[..., Any]) -> None:
        def answer(request: Request) -> str:
            if asked(request) == 3:
                raise error
            return right(request)

        with pytest.raises(type(error), match=str(error)):
            World(both, answer=answer, concurrency=2).run()

    def test_an_exhausted_budget_is_raised_and_the_rest_cancelled(self, both: Callable[..., Any]) -> None:
        world = World(both, ledger=Ledger({"lm_calls": 4}), concurrency=2)
        with pytest.raises(BudgetExhausted):
            world.run()
        assert world.double.calls == 4
        assert len(world.seen) <= 4

    def test_a_stopped_gateway_pauses(self) -> None:
        world = World()
        world.gateway.stop()
        with pytest.raises(StudyPaused):
            world.run()

    def test_user_code_that_wraps_it_does_not_hide_it(self) -> None:
        def wrapping(number: str) -> str:
            try:
                return kind(number=number)
            except Exception as error:
                raise RuntimeError("it failed") from error

        with pytest.raises(BudgetExhausted):
            World(wrapping, ledger=Ledger({"lm_calls": 4})).run()

    def test_cancelling_cancels(self) -> None:
        world = World(aprogram, latency=30)

        async def impatient() -> None:
            async with asyncio.timeout(0.1):
                await world.evaluator.rollouts(world.jobs())

        with pytest.raises(TimeoutError):
            asyncio.run(impatient())
        world.gateway.close()


class TestMetrics:
    def test_a_metric_that_raises_ends_the_study(self, both: Callable[..., Any]) -> None:
        def metric(example: Any, prediction: str) -> bool:
            return bool(DATA[0]["colour"] and prediction)

        world = World(both, metric)
        world.evaluator.proven = True
        with pytest.raises(ProgramFailed, match=r"(?s)metric .*metric raised KeyError.*the example.*Traceback"):
            world.run()

    def test_a_metric_that_returns_no_score_is_told_after_one_rollout(self, both: Callable[..., Any]) -> None:
        world = World(both, lambda example, prediction: prediction, concurrency=1)
        with pytest.raises(MetricError, match="returned 'even'"):
            world.run()
        assert world.double.calls == 1

    @pytest.mark.parametrize("error", [ConnectionError("gone"), lt.Unavailable("out"), lt.Unparseable("what?")])
    def test_an_outage_of_a_metric_leaves_the_rollout_unscored(
        self, error: Exception, both: Callable[..., Any]
    ) -> None:
        def metric(example: Any, prediction: str) -> bool:
            if example.number == "3":
                raise error
            return True

        rollouts = World(both, metric).run()
        assert outcomes(rollouts) == ["scored"] * 3 + ["unscored"] + ["scored"] * 6
        assert rollouts[3].error.startswith("metric: ")

    def test_an_async_metric_is_awaited(self, both: Callable[..., Any]) -> None:
        async def metric(example: Any, prediction: str) -> float:
            await asyncio.sleep(0)
            return 0.5

        assert {rollout.value for rollout in World(both, metric).run()} == {0.5}

    def test_a_function_that_returns_an_awaitable_is_awaited(self, both: Callable[..., Any]) -> None:
        async def half() -> float:
            return 0.5

        assert {r.value for r in World(both, lambda example, prediction: half()).run()} == {0.5}

    def test_a_metric_may_read_the_trace(self, both: Callable[..., Any]) -> None:
        def metric(example: Any, prediction: str, trace: Trace) -> bool:
            return bool(trace.calls[0].inputs["number"] == example.number)

        assert {rollout.value for rollout in World(both, metric).run()} == {1.0}

    def test_a_blocking_metric_does_not_hold_up_an_async_program(self) -> None:
        import threading

        together = threading.Barrier(4)

        def metric(example: Any, prediction: str) -> bool:
            together.wait(10)
            return True

        assert {rollout.value for rollout in World(aprogram, metric, data=DATA[:4]).run()} == {1.0}

    def test_predictors_in_a_metric_are_judges(self, both: Callable[..., Any]) -> None:
        @lt.predictor
        def verdict(question: str) -> bool:
            """Say whether it is so."""
            return lt.predict()

        def metric(example: Any, prediction: str) -> bool:
            return verdict(question=f"Is {example.number} {prediction}?")

        def answer(request: Request) -> str:
            return "true" if "Is " in request.messages[-1].text else right(request)

        world = World(both, metric, answer)
        rollouts = world.run()
        assert {rollout.value for rollout in rollouts} == {1.0}
        assert all(len(rollout.trace.calls) == 1 for rollout in rollouts)
        assert world.evaluator.met == set()
        assert {role: usage.calls for role, usage in world.gateway.usage.items()} == {"task": 10, "judge": 10}


class TestJudge:
    def answer(self, request: Request) -> str:
        text = "\n".join(message.text for message in request.messages)
        return "reasoning: it is\npasses: true" if "Is the answer kind?" in text else right(request)

    def test_it_asks_the_lm_on_a_judges_account(self, both: Callable[..., Any]) -> None:
        world = World(both, lt.judge("Is the answer kind?"), self.answer)
        rollouts = world.run()
        assert set(outcomes(rollouts)) == {"scored"}
        assert {rollout.value for rollout in rollouts} == {1.0}
        assert world.gateway.usage["judge"].calls == 10
        assert rollouts[0].score is not None
        assert rollouts[0].score.feedback == "it is"

    def test_it_may_have_an_lm_of_its_own(self) -> None:
        judging = ScriptedLM(self.answer, identity="judging")
        world = World(program, lt.judge("Is the answer kind?", lm=lt.LM(judging)))
        assert {rollout.value for rollout in world.run()} == {1.0}
        assert (judging.calls, world.double.calls) == (10, 10)

    def test_a_judge_that_cannot_be_read_is_asked_again_and_then_leaves_the_rollout_unscored(self) -> None:
        judging = ScriptedLM(lambda request: "", identity="judging")
        world = World(program, lt.judge("Is the answer kind?", lm=lt.LM(judging)), data=DATA[:2])
        rollouts = world.run()
        assert outcomes(rollouts) == ["unscored", "unscored"]
        assert "no readable verdict" in rollouts[0].error
        assert judging.calls == 6

    def test_outside_of_any_run_it_says_what_it_needs(self) -> None:
        judge = lt.judge("Is the answer kind?")
        with pytest.raises(MetricError, match="needs an LM"):
            asyncio.run(judge({"a": 1}, "x"))


class TestMeetingPredictors:
    def test_a_predictor_first_met_at_run_time_is_reported(self) -> None:
        hidden = {"late": kind.named("late")}

        def sneaky(number: str) -> str:
            return hidden[min(hidden)](number=number) if number else kind(number=number)

        world = World(sneaky)
        world.run()
        assert {predictor.name for predictor in world.evaluator.met} | set(world.evaluator._known) == {"kind", "late"}
