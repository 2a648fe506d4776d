"""Rollouts on a real Ray cluster of two nodes on loopback: the same study, nothing lost, nothing paid twice."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.study.journal import read_journal, without_times
from tests.integrations.conftest import node
from tests.lm.server import OpenAIServer
from tests.repository.blocks import blocks
from tests.repository.sources import ROOT
from tests.studies import world
from tests.studies.test_kill_and_resume import answer

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(400)]
SETTINGS = lt.MIPRO(candidates=4, demo_sizes=(0, 3, 6), instructions=3, trials=8, minibatch=9, closing=2)


@pytest.fixture
def cluster(ray_cluster: Any) -> Any:
    return ray_cluster


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(answer, latency=0.01) as running:
        yield running


def tuned(server: OpenAIServer, folder: Path, **more: Any) -> lt.Result[Any]:
    lm = lt.LM("openai/world", base_url=server.url, api_key="secret-key")
    return lt.optimize(
        world.describe,
        world.rows(140),
        lt.exact_match("answer"),
        lm=lm,
        optimizer=SETTINGS,
        study_dir=folder,
        concurrency=8,
        **more,
    )


def events(folder: Path) -> list[Any]:
    found: list[Any] = without_times(read_journal(folder / "journal.jsonl"))
    return found


def asked_twice(server: OpenAIServer) -> list[str]:
    probes = '"max_tokens": 1,'
    counted = Counter(json.dumps(body, sort_keys=True) for body in server.requests)
    return [body for body, n in counted.items() if n > 1 and probes not in body]


def test_a_study_on_a_cluster_has_the_journal_of_a_local_one(
    cluster: Any, server: OpenAIServer, tmp_path: Path
) -> None:
    local = tuned(server, tmp_path / "local")
    server.requests.clear()
    remote = tuned(server, tmp_path / "remote", executor="ray")
    assert events(tmp_path / "remote") == events(tmp_path / "local")
    assert remote.verdict.sentence == local.verdict.sentence
    assert not asked_twice(server)


def test_a_node_killed_in_the_midst_loses_nothing_and_nothing_is_paid_twice(
    cluster: Any, server: OpenAIServer, tmp_path: Path
) -> None:
    from luthier.integrations.ray import cluster as opened

    tuned(server, tmp_path / "local")
    server.requests.clear()
    doomed = cluster.add_node(**node(2))
    cluster.wait_for_nodes()
    killed = threading.Event()

    def kill_at_the_second_trial(event: Mapping[str, Any]) -> None:
        if event["event"] == "ask" and event["trial"] >= 2 and not killed.is_set():
            killed.set()
            threading.Timer(0.05, lambda: cluster.remove_node(doomed, allow_graceful=False)).start()

    with opened() as executor:
        tuned(server, tmp_path / "remote", executor=executor, on_event=kill_at_the_second_trial)
        assert killed.is_set()
        assert executor.lost
    assert events(tmp_path / "remote") == events(tmp_path / "local")
    assert not asked_twice(server)


def test_a_budget_holds_and_errors_come_back_as_they_are(cluster: Any, server: OpenAIServer, tmp_path: Path) -> None:
    with pytest.raises(lt.LuthierError, match="budget"):
        lm = lt.LM("openai/world", base_url=server.url, api_key="secret-key")
        lt.evaluate(
            world.describe,
            world.rows(60),
            lt.exact_match("answer"),
            lm=lm,
            budget=lt.Budget(lm_calls=20),
            executor="ray",
        )
    assert len(server.requests) <= 20
    with pytest.raises(lt.LuthierError, match="very first run"):
        lt.evaluate(broken, world.rows(10), lt.exact_match("answer"), lm=lambda request: "even", executor="ray")


def test_async_programs_and_callables_as_lms_run_on_a_cluster(cluster: Any) -> None:
    evaluation = lt.evaluate(
        aword, [{"number": str(i), "answer": "even"} for i in range(6)], same, lm=Even(), executor="ray"
    )
    assert evaluation.mean == 1.0
    assert [rollout.prediction for rollout in evaluation.rollouts] == ["even"] * 6


def test_what_a_tool_was_paid_for_is_kept_in_the_studys_store(cluster: Any, tmp_path: Path) -> None:
    paid = tmp_path / "paid.txt"

    @lt.recorded
    def look_up(number: str) -> str:
        with paid.open("a", encoding="utf-8") as file:
            file.write(f"{number}\n")
        return f"number {number}"

    def program(number: str) -> str:
        return f"{look_up(number)}: {world.parity(number=number)}"

    def score(example: Mapping[str, Any], prediction: str) -> bool:
        return prediction.startswith(f"number {example['number']}")

    for _ in range(2):
        store = tmp_path / "store.sqlite"
        found = lt.evaluate(program, world.rows(12), score, lm=Even(), executor="ray", store=store)
        assert found.mean == 1.0
    assert len(paid.read_text(encoding="utf-8").split()) == 12


def test_the_page_of_the_docs_runs(cluster: Any) -> None:
    page: dict[str, Any] = {"__name__": "page", "lm": lt.LM(Even())}
    for block in blocks(ROOT / "docs" / "ray.md"):
        exec(compile(block.code, "docs/ray.md", "exec"), page)
    assert page["second"].n == 20


class Even:
    """An LM of the user's own, which cannot travel."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, request: lt.Request) -> str:
        return "even"


@lt.predictor
async def word(number: str) -> str:
    """Say a word."""
    return await lt.predict()


async def aword(number: str) -> str:
    return await word(number=number)


def same(example: Mapping[str, Any], prediction: str) -> bool:
    return bool(prediction == example["answer"])


def broken(number: str) -> str:
    raise ValueError(f"{world.parity(number=number)}: this program is broken")
