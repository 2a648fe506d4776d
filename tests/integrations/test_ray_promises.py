"""What holds for rollouts in this process holds on a cluster: bills, budgets, errors, privacy; and nothing hangs."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import ConfigError, ProgramFailed, StudyPaused
from luthier.evaluation.rollout import Outcome
from luthier.study.journal import read_journal, without_times
from tests.integrations import on_workers
from tests.integrations.collector import Collector
from tests.integrations.conftest import node
from tests.lm.server import Body, OpenAIServer

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(200)]


@pytest.fixture(autouse=True)
def cluster(ray_cluster: Any) -> Any:
    return ray_cluster


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(last, latency=0.02) as running:
        yield running


def last(body: Body) -> str:
    return str(body["messages"][-1]["content"]).split(": ", 1)[-1]


def lm_at(server: OpenAIServer) -> lt.LM:
    return lt.LM("small", base_url=server.url, api_key="sk-key-of-the-driver")


def rows(n: int, **more: str) -> list[dict[str, str]]:
    return [{"number": str(i), **more} for i in range(n)]


def asked_twice(server: OpenAIServer) -> list[str]:
    counted = Counter(json.dumps(body, sort_keys=True) for body in server.requests)
    return [body for body, n in counted.items() if n > 1]


def evaluated(program: Any, data: Any, lm: Any, metric: Any = on_workers.always, **more: Any) -> lt.Evaluation:
    return lt.evaluate(program, data, metric, lm=lm, **{"executor": "ray", "concurrency": 8, **more})


class TestALostWorker:
    def test_without_a_store_nothing_is_paid_twice_either(self, cluster: Any, server: OpenAIServer) -> None:
        from luthier.integrations.ray import cluster as opened

        doomed = cluster.add_node(**node(2))
        cluster.wait_for_nodes()
        with opened() as executor:
            ends = [threading.Timer(0.1, lambda: cluster.remove_node(doomed, allow_graceful=False))]

            def answer(body: Body) -> str:
                if len(server.requests) >= 10 and ends:
                    ends.pop().start()
                return last(body)

            server.handler = answer
            found = evaluated(on_workers.slow_pair, rows(60), lm_at(server), executor=executor, concurrency=12)
            assert executor.lost
        assert found.n == 60
        assert len(server.requests) == 120
        assert not asked_twice(server)
        assert found.usage.calls == 120

    def test_a_program_that_takes_its_worker_down_is_unscored_and_the_others_go_on(self) -> None:
        found = evaluated(on_workers.fragile, rows(6), on_workers.Even(), concurrency=2)
        unscored = [rollout for rollout in found.rollouts if rollout.outcome is Outcome.UNSCORED]
        assert len(unscored) == 1
        assert "lost 5 times" in unscored[0].error
        assert found.n == 5

    def test_a_client_of_the_programs_own_is_asked_once_for_each_request(self, tmp_path: Path) -> None:
        with OpenAIServer(last, latency=0.2) as server:
            data = rows(20, url=server.url, marks=str(tmp_path))
            found = evaluated(on_workers.asking_alone, data, on_workers.Even(), budget=lt.Budget(lm_calls=60))
        assert len(list(tmp_path.iterdir())) == 2, "one worker was lost, and the run was made again"
        assert found.n == 20
        assert found.usage.calls == 40
        assert found.unmetered == {}
        # What a lost worker's client had sent, and nobody could read, had to be sent again: it had five other runs.
        assert 40 <= len(server.requests) <= 46
        assert {headers["Authorization"] for headers in server.headers} == {"Bearer sk-own-key-of-the-client"}

    def test_what_is_recorded_is_computed_once_in_the_whole_cluster(self, tmp_path: Path) -> None:
        data = rows(12, marks=str(tmp_path))
        found = evaluated(on_workers.retrieving, data, on_workers.Even(), store=":memory:")
        assert found.n == 12
        assert {mark.name: mark.read_text(encoding="utf-8") for mark in tmp_path.iterdir()} == {
            "0": "x",
            "1": "x",
            "2": "x",
        }


class TestOneExecutor:
    def test_serves_one_study_after_the_other_and_two_at_one_time(self, server: OpenAIServer) -> None:
        from luthier.integrations.ray import cluster as opened

        with opened(workers=2) as executor, OpenAIServer(last) as other:
            processes = set()
            for _ in range(2):
                found = evaluated(on_workers.where, rows(8), lm_at(server), executor=executor)
                processes |= {rollout.prediction for rollout in found.rollouts}
            assert len(processes) == 2, "the same workers"
            assert len(server.requests) == 16
            two = [lm_at(server), lm_at(other)]
            results: list[lt.Evaluation] = []

            def run(lm: lt.LM) -> None:
                budget = lt.Budget(lm_calls=20)
                results.append(evaluated(on_workers.slow_pair, rows(10), lm, executor=executor, budget=budget))

            threads = [threading.Thread(target=run, args=(lm,)) for lm in two]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert [found.usage.calls for found in results] == [20, 20]
        assert (len(server.requests), len(other.requests)) == (36, 20)

    def test_workers_that_find_no_room_hold_nothing_up(self, cluster: Any) -> None:
        from luthier.integrations.ray import cluster as opened

        with opened(workers=6) as executor:
            begun = time.monotonic()
            found = evaluated(on_workers.where, rows(12), on_workers.Even(), executor=executor, concurrency=12)
            assert time.monotonic() - begun < 60
        assert found.n == 12
        assert len({rollout.prediction for rollout in found.rollouts}) <= 2


class TestErrors:
    def test_an_lm_that_fails_with_an_error_of_its_own_fails_so_in_the_program(self) -> None:
        found = evaluated(on_workers.shaken, rows(3), on_workers.failing)
        assert {rollout.prediction for rollout in found.rollouts} == {"caught no such word"}

    def test_a_broken_metric_ends_the_evaluation_with_its_traceback(self) -> None:
        with pytest.raises(ProgramFailed, match="no such column") as caught:
            evaluated(on_workers.where, rows(3), on_workers.Even(), metric=on_workers.broken_metric)
        assert "on_workers.py" in str(caught.value)

    def test_what_a_recorded_function_raises_keeps_its_traceback(self) -> None:
        with pytest.raises(ProgramFailed, match="the index is broken") as caught:
            evaluated(on_workers.retrieving_in_vain, rows(3), on_workers.Even())
        assert "broken_index" in str(caught.value)

    def test_a_program_that_cannot_travel_is_refused_with_what_to_do(self) -> None:
        with pytest.raises(ConfigError, match="cannot travel"):
            lt.evaluate(
                on_workers.Holding(),
                rows(3),
                on_workers.always,
                lm=on_workers.Even(),
                executor="ray",
            )

    def test_a_wrong_key_pauses_at_once(self) -> None:
        with OpenAIServer(last, key="sk-another-key") as server, pytest.raises(StudyPaused):
            evaluated(on_workers.slow_pair, rows(4), lm_at(server))


def test_a_judge_that_is_a_callable_is_asked_by_the_driver() -> None:
    judge = lt.judge("Any word will do.", lm=lt.LM(Passing()))
    found = evaluated(on_workers.where, rows(4), on_workers.Even(), metric=judge)
    assert found.mean == 1.0


def test_a_predictor_that_only_a_run_shows_is_tuned_as_it_is_here(tmp_path: Path) -> None:
    def tune(executor: str) -> Any:
        data = [{"number": str(i), "answer": "eveneven" if i % 2 else "odd"} for i in range(80)]
        lt.optimize(
            on_workers.sneaky,
            data,
            lt.exact_match("answer"),
            lm=on_workers.Even(),
            optimizer=lt.MIPRO(candidates=2, demo_sizes=(0, 2), instructions=2, trials=3, minibatch=6, closing=1),
            study_dir=tmp_path / executor,
            executor=executor,
            concurrency=8,
        )
        return without_times(read_journal(tmp_path / executor / "journal.jsonl"))

    there = tune("ray")
    assert next(event for event in there if event["event"] == "baseline")["predictors"]["met"].keys() == {"late"}
    assert there == tune("local")


def test_spans_of_calls_lie_in_their_rollouts_without_private_fields(server: OpenAIServer) -> None:
    from luthier.integrations import otel

    secret = "Rumpelstiltskin Ångström"
    with Collector() as collector, otel.tracing(endpoint=collector.endpoint, content=True):
        evaluated(on_workers.discreet, rows(4, patient=secret), lm_at(server))
    calls, rollouts = collector.named("chat "), {span.id: span for span in collector.named("rollout")}
    assert len(calls) == len(rollouts) == 4
    for call in calls:
        assert call.attributes["luthier.predictor"] == "secretive"
        assert call.attributes["luthier.example"] == rollouts[call.parent].attributes["luthier.example"]
        assert "[private]" in call.attributes["gen_ai.input.messages"]
    assert secret.encode() not in b"".join(collector.bodies)


class Passing:
    """A judge's LM, which cannot travel."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, request: lt.Request) -> str:
        return "reasoning: fine\n\npasses: true"
