"""Runs: contexts, threads, traces, bodies of both kinds."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import pytest

import luthier as lt
from luthier.errors import ConfigError, DataError, Unparseable
from luthier.lm.doubles import ScriptedLM
from luthier.lm.gateway import Gateway
from luthier.lm.request import Completion, Request, Usage
from luthier.lm.user_code import in_daemon_thread
from luthier.program.candidate import Candidate, Prompt
from luthier.program.component import Component
from luthier.program.context import Run, current_run, running
from luthier.program.program import discover
from luthier.program.run import run_program
from luthier.program.trace import Call, Trace
from luthier.types import Role


@lt.predictor
def echo(text: str) -> str:
    """Echo."""
    return lt.predict()


@lt.predictor
async def aecho(text: str) -> str:
    """Echo, later."""
    return lt.predict()


@lt.predictor
async def choose(text: str) -> Literal["a", "b"]:
    """Choose."""
    return await lt.predict()


@lt.predictor
def by_hand(text: str) -> str:
    """Make the call by hand."""
    prompt = lt.prompt()
    assert prompt.text().endswith("by_hand:")
    return f"{prompt.instruction} {prompt.messages()[-1]['content']} {prompt.messages(text='other')[-1]['content']}"


@lt.predictor
async def by_hand_later(text: str) -> Literal["a", "b"]:
    """Make the call by hand."""
    await asyncio.sleep(0)
    answer: Literal["a", "b"] = lt.prompt().parse(text)
    return answer


def last_line(request: Request) -> str:
    return request.messages[-1].text.removeprefix("text: ")


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    opened = Gateway()
    yield opened
    opened.close()


def scripted(function: Callable[[Request], str | Completion] = last_line, **settings: Any) -> lt.LM:
    return lt.LM(ScriptedLM(function), **settings)


def execute(program: Callable[..., Any], inputs: Mapping[str, Any], run: Run) -> tuple[Any, Trace]:
    return asyncio.run(run_program(discover(program), inputs, run, lambda prediction, trace: (prediction, trace)))


def twice(text: str) -> str:
    return echo(text=echo(text) + "!")


async def twice_at_once(text: str) -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(aecho(f"{text}{n}")) for n in range(20)]
    return [task.result() for task in tasks]


def test_a_sync_program_runs_in_a_daemon_thread_and_leaves_a_trace(gateway: Gateway) -> None:
    threads = []

    def program(text: str) -> str:
        threads.append(threading.current_thread())
        return twice(text)

    prediction, trace = execute(program, {"text": "hi"}, Run(scripted(), gateway))
    assert prediction == "hi!"
    assert [(call.predictor, call.index, call.inputs, call.outputs) for call in trace.calls] == [
        ("echo", 0, {"text": "hi"}, {"echo": "hi"}),
        ("echo", 1, {"text": "hi!"}, {"echo": "hi!"}),
    ]
    assert threads[0].daemon
    assert threads[0] is not threading.current_thread()
    assert trace.usage.calls == 2


def test_a_predictor_that_asked_twice_counts_as_two_calls() -> None:
    once = Call("p", 0, {}, {"p": "x"}, None, "x", "stop", Usage(3, 1))
    twice = replace(once, index=1, usage=Usage(6, 2, calls=2))
    assert Trace([once, twice]).usage == Usage(9, 3, calls=3)


def test_an_async_program_may_call_its_predictors_at_once(gateway: Gateway) -> None:
    prediction, trace = execute(twice_at_once, {"text": "t"}, Run(scripted(), gateway))
    assert prediction == [f"t{n}" for n in range(20)]
    assert sorted((call.index, call.inputs["text"]) for call in trace.calls) == [(n, f"t{n}") for n in range(20)]


def test_the_candidates_prompt_is_the_one_rendered(gateway: Gateway) -> None:
    lm = scripted(lambda request: request.messages[0].text.split("\n")[0])
    candidate = Candidate({"echo": Prompt("Tuned.")})
    assert execute(echo, {"text": ""}, Run(lm, gateway, candidate))[0] == "Tuned."
    assert execute(echo, {"text": ""}, Run(lm, gateway))[0] == "Echo."


def test_runs_of_different_candidates_do_not_meet(gateway: Gateway) -> None:
    lm = scripted(lambda request: request.messages[0].text.split("\n")[0])

    async def all_at_once() -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    run_program(
                        discover(twice),
                        {"text": ""},
                        Run(lm, gateway, Candidate({"echo": Prompt(str(n))})),
                        lambda p, t: p,
                    )
                )
                for n in range(30)
            ]
        return [task.result() for task in tasks]

    assert asyncio.run(all_at_once()) == [str(n) for n in range(30)]


def test_a_body_that_makes_its_own_call_is_traced_with_what_it_returned(gateway: Gateway) -> None:
    candidate = Candidate({"by_hand": Prompt("Tuned.")})
    prediction, trace = execute(by_hand, {"text": "t"}, Run(scripted(), gateway, candidate))
    assert prediction == "Tuned. text: t text: other"
    assert trace.calls[0].outputs == {"by_hand": prediction}
    assert trace.calls[0].usage is None


def test_an_answer_its_own_body_cannot_read_is_traced_as_unreadable(gateway: Gateway) -> None:
    assert execute(by_hand_later, {"text": "A."}, Run(scripted(), gateway))[0] == "a"
    run = Run(scripted(), gateway)
    with pytest.raises(Unparseable):
        execute(by_hand_later, {"text": "c"}, run)
    assert (run.trace.calls[0].outputs, run.trace.calls[0].text) == (None, "c")


def test_an_unreadable_answer_is_raised_and_traced(gateway: Gateway) -> None:
    run = Run(scripted(lambda request: "neither"), gateway)
    with pytest.raises(Unparseable):
        execute(choose, {"text": ""}, run)
    assert run.trace.calls[0].text == "neither"
    assert run.trace.calls[0].error is not None
    assert "not one of a, b" in run.trace.calls[0].error


def test_the_metric_runs_in_the_same_thread_without_the_candidate(gateway: Gateway) -> None:
    lm = scripted(lambda request: request.messages[0].text.split("\n")[0])
    seen: list[Any] = []

    def program(text: str) -> str:
        seen.append(threading.get_ident())
        return echo(text)

    def metric(prediction: str, trace: Trace) -> str:
        seen.append(threading.get_ident())
        run = current_run()
        assert run is not None
        assert run.role is Role.JUDGE
        return f"{prediction} {echo('')} {len(trace.calls)}"

    run = Run(lm, gateway, Candidate({"echo": Prompt("Tuned.")}))
    assert asyncio.run(run_program(discover(program), {"text": ""}, run, metric)) == "Tuned. Echo. 1"
    assert seen[0] == seen[1]
    assert gateway.requested["judge"].calls == 1


def test_a_sync_predictor_on_a_running_loop_is_refused_inside_an_evaluation(gateway: Gateway) -> None:
    async def program(text: str) -> str:
        return echo(text)

    with pytest.raises(ConfigError, match="make it async"):
        execute(program, {"text": ""}, Run(scripted(), gateway))


def test_a_predictor_outside_of_any_run_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"lt\.use.*lt\.bind"):
        echo("x")
    with pytest.raises(ConfigError, match="outside of any run"):
        asyncio.run(aecho("x"))


def test_predict_and_prompt_outside_a_body_are_refused() -> None:
    for asked in (lt.predict, lt.prompt):
        with pytest.raises(ConfigError, match="inside the body"):
            asked()


def test_a_predictor_met_at_run_time_is_reported_once(gateway: Gateway) -> None:
    met: list[Component] = []

    def program(text: str) -> list[str]:
        return [echo.named("dynamic")(text) for _ in range(3)] + [echo(text)]

    run = Run(scripted(lambda request: "x"), gateway, known=frozenset({"echo"}), on_new=met.append)
    assert execute(program, {"text": "t"}, run)[0] == ["x"] * 4
    assert [predictor.name for predictor in met] == ["dynamic"]


def test_draws_are_numbered_by_repeat_predictor_and_repetition(gateway: Gateway) -> None:
    double = ScriptedLM(lambda request: "same")
    lm = lt.LM(double, temperature=1.0)

    def program(text: str) -> str:
        echo(text)
        echo.named("twin")(text)
        return echo(text)

    def samples(repeat: int) -> list[int]:
        double.requests.clear()
        execute(program, {"text": "t"}, Run(lm, gateway, repeat=repeat))
        return [request.sample for request in double.requests]

    first = samples(0)
    assert len({*first, *samples(1)}) == 6
    assert samples(0) == first
    assert 0 not in first
    cold = ScriptedLM(lambda request: "same", identity="cold")
    execute(echo, {"text": "t"}, Run(lt.LM(cold), gateway, repeat=3))
    assert cold.requests[0].sample == 0


def test_the_runs_temperature_overrules_the_predictors(gateway: Gateway) -> None:
    double = ScriptedLM(lambda request: "x")
    hot = echo.named("hot", temperature=0.7, max_tokens=5, stop="end", instruction="Be hot.")
    execute(hot, {"text": ""}, Run(lt.LM(double), gateway))
    execute(hot, {"text": ""}, Run(lt.LM(double), gateway, temperature=1.0))
    assert [(r.temperature, r.max_tokens, r.stop) for r in double.requests] == [(0.7, 5, ("end",)), (1.0, 5, ("end",))]
    assert double.requests[0].messages[0].text.startswith("Be hot.")


def test_methods_get_their_instance(gateway: Gateway) -> None:
    class Stage:
        suffix = "?"

        @lt.predictor
        def ask(self, text: str, times: int = 2) -> str:
            """Ask."""
            return str(lt.predict()) + self.suffix

        def __call__(self, text: str) -> str:
            return self.ask(text, times=1) + Stage.ask(self, text)

    prediction, trace = execute(Stage(), {"text": "t"}, Run(scripted(), gateway))
    assert prediction == "t\ntimes: 1?t\ntimes: 2?"
    assert trace.calls[1].inputs == {"text": "t", "times": 2}


def test_user_threads_join_by_copying_their_context(gateway: Gateway) -> None:
    def program(text: str) -> list[str]:
        found: list[str] = []
        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(lambda n=n: found.append(echo(f"{n}")),))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(found)

    prediction, trace = execute(program, {"text": ""}, Run(scripted(), gateway))
    assert prediction == [str(n) for n in range(8)]
    assert sorted(call.index for call in trace.calls) == list(range(8))


def test_errors_of_user_code_come_as_they_are_and_exits_do_not_end_the_loop(gateway: Gateway) -> None:
    def fails(text: str) -> str:
        raise KeyError(echo(text))

    def leaves(text: str) -> str:
        return str(sys.exit(echo(text)))

    with pytest.raises(KeyError, match="t"):
        execute(fails, {"text": "t"}, Run(scripted(), gateway))
    with pytest.raises(RuntimeError, match="SystemExit"):
        execute(leaves, {"text": "t"}, Run(scripted(), gateway))


def test_a_missing_input_is_named(gateway: Gateway) -> None:
    with pytest.raises(DataError, match="needs 'text'"):
        execute(twice, {}, Run(scripted(), gateway))


def test_threads_are_used_again_and_nobody_waits_for_them() -> None:
    async def two() -> tuple[int, int]:
        return await in_daemon_thread(threading.get_ident), await in_daemon_thread(threading.get_ident)

    async def leave() -> None:
        task = asyncio.ensure_future(in_daemon_thread(lambda: time.sleep(5)))
        await asyncio.sleep(0.01)
        task.cancel()

    first, second = asyncio.run(two())
    assert first == second or first != threading.get_ident()
    start = time.monotonic()
    asyncio.run(leave())
    assert time.monotonic() - start < 2


def test_a_hundred_threads_run_at_once() -> None:
    barrier = threading.Barrier(100, timeout=10)

    async def all_at_once() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(_wait(barrier))

    asyncio.run(all_at_once())


async def _wait(barrier: threading.Barrier) -> None:
    await in_daemon_thread(barrier.wait)


def test_a_run_ends_with_its_block(gateway: Gateway) -> None:
    with running(Run(scripted(), gateway)):
        assert current_run() is not None
    assert current_run() is None
