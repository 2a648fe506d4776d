"""Metrics and judges are user code: they score, wait, fail, and are asked about apart from the program."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import luthier as lt
from luthier.errors import (
    MetricError,
    ProgramFailed,
)
from luthier.lm.doubles import ScriptedLM
from luthier.lm.request import Completion, Request
from luthier.program.trace import Trace
from tests.evaluation.world import DATA, World, aprogram, outcomes, program, right


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

    def test_a_judge_whose_server_flags_the_prompt_says_so(self) -> None:
        flagged = Completion("", "content_filter", refusal="the prompt was flagged")
        judging = ScriptedLM(lambda request: flagged, identity="judging")
        world = World(program, lt.judge("Is the answer kind?", lm=lt.LM(judging)), data=DATA[:1])
        assert "flagged" in world.run()[0].error

    def test_outside_of_any_run_it_says_what_it_needs(self) -> None:
        judge = lt.judge("Is the answer kind?")
        with pytest.raises(MetricError, match="needs an LM"):
            asyncio.run(judge({"a": 1}, "x"))
