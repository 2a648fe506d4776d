"""Studies in MLflow: a real tracking server on loopback, read back through MLflow's own client."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import UserError
from tests.cli.project import OPTIMIZE, luthier, project
from tests.lm.server import OpenAIServer
from tests.repository.blocks import blocks
from tests.repository.desk import answer, tickets
from tests.repository.sources import ROOT

pytestmark = [
    pytest.mark.integrations,
    pytest.mark.filterwarnings("ignore"),  # MLflow's own
    pytest.mark.timeout(400),  # its server takes a minute to start on a small machine
]


@lt.predictor
def route(ticket: str) -> str:
    """Reply with the queue that a ticket belongs to."""
    return lt.predict()


def desk(ticket: str) -> str:
    return route(ticket=ticket)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a tracking server with a database of its own."""
    if sys.platform == "win32":
        pytest.skip("a server ends with its process group")
    pytest.importorskip("mlflow")
    directory = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{directory}/mlflow.db", "--artifacts-destination", f"{directory}/artifacts",
    ]  # fmt: skip
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/health", directory / "log")
        yield address
    finally:
        os.killpg(server.pid, 15)
        server.wait(20)


@pytest.fixture
def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def study(directory: Path, listener: Any, *, budget: lt.Budget | None = None) -> lt.Result[Any]:
    # A port of its own would be another LM to a study that is resumed.
    return lt.optimize(
        desk,
        tickets(80),
        lt.exact_match("queue"),
        lm=lt.LM(scripted),
        optimizer=lt.MIPRO(candidates=3, trials=6, minibatch=6, closing=1),
        budget=budget,
        study_dir=directory,
        on_event=listener,
    )


def scripted(request: lt.Request) -> str:
    return answer({"messages": [{"role": turn.role, "content": turn.text} for turn in request.messages]})


def test_a_study_is_a_run_with_parameters_metrics_and_artifacts(tmp_path: Path, uri: str, client: Any) -> None:
    from luthier.integrations import mlflow as lt_mlflow

    with lt_mlflow.tracking(uri, experiment="desk") as listener:
        result = study(tmp_path / "tickets", listener)
    run = _only_run(client, "desk")
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "tickets"
    params = run.data.params
    assert (params["program"].split(":")[-1], params["optimizer"], params["optimizer.trials"]) == ("desk", "mipro", "6")
    assert params["data.test"] == str(len(result.events[1]["test"]))
    assert run.data.tags["luthier.decision"] == result.decision
    assert run.data.tags["mlflow.note.content"] == result.verdict.sentence
    scores = {point.step: point.value for point in client.get_metric_history(run.info.run_id, "trial.score")}
    told = {event["trial"]: event["mean"] for event in result.events if event["event"] == "tell"}
    assert scores == pytest.approx({trial: mean for trial, mean in told.items() if trial in scores})
    full = {point.step: point.value for point in client.get_metric_history(run.info.run_id, "trial.score_in_full")}
    assert {0, *told} <= scores.keys() | full.keys()
    assert full[0] == pytest.approx(next(e for e in result.events if e["event"] == "baseline")["mean"])
    best = client.get_metric_history(run.info.run_id, "best_so_far")
    assert sorted(point.step for point in best) == sorted(scores.keys() | full.keys())
    calls = [point.value for point in client.get_metric_history(run.info.run_id, "spent.lm_calls")]
    assert calls == sorted(calls)
    assert calls[-1] > 100
    assert run.data.metrics["verdict.difference"] == pytest.approx(result.verdict.difference)
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert artifacts == {"prompts", "report.html"}
    (tmp_path / "down").mkdir()
    local = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path / "down")))
    assert (local / "report.html").read_bytes() == result.report.read_bytes()
    assert (local / "prompts" / "candidate.json").read_bytes() == (
        result.study_dir / "prompts" / "candidate.json"
    ).read_bytes()


def test_metrics_come_while_the_study_runs(tmp_path: Path, uri: str, client: Any) -> None:
    from luthier.integrations import mlflow as lt_mlflow

    seen: list[int] = []

    def look(event: Any) -> None:
        listener(event)
        if event["event"] == "loop_end":
            end = time.monotonic() + 20
            while time.monotonic() < end and not seen:
                for run in _runs(client, "live"):
                    assert run.info.status == "RUNNING"
                    if "trial.score" in run.data.metrics:
                        seen.append(1)
                time.sleep(0.1)

    with lt_mlflow.tracking(uri, experiment="live") as listener:
        study(tmp_path / "study", look)
    assert seen


def test_a_resumed_study_goes_on_in_its_run_and_logs_nothing_twice(tmp_path: Path, uri: str, client: Any) -> None:
    from luthier.integrations import mlflow as lt_mlflow

    class Stop(Exception):
        """Somebody pulls the plug."""

    def plug(event: Any) -> None:
        listener(event)
        if event["event"] == "tell":
            raise Stop

    with lt_mlflow.tracking(uri, experiment="resumed") as listener, pytest.raises(Stop):
        study(tmp_path / "study", plug)
    broken_off = _only_run(client, "resumed")
    assert broken_off.info.status == "FAILED"
    assert "report.html" in {item.path for item in client.list_artifacts(broken_off.info.run_id)}
    with lt_mlflow.tracking(uri, experiment="resumed") as listener:
        result = study(tmp_path / "study", listener)
    run = _only_run(client, "resumed")
    assert (run.info.run_id, run.info.status) == (broken_off.info.run_id, "FINISHED")
    for name in ("trial.score", "trial.score_in_full", "best_so_far"):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
        assert len(steps) == len(set(steps)), name
    told = {event["trial"] for event in result.events if event["event"] == "tell"}
    assert told <= {point.step for point in client.get_metric_history(run.info.run_id, "best_so_far")}


def test_a_run_of_the_users_own_is_used_and_left_open(tmp_path: Path, uri: str, client: Any) -> None:
    import mlflow

    from luthier.integrations import mlflow as lt_mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("own")
    with mlflow.start_run() as mine:
        with lt_mlflow.tracking() as listener:
            study(tmp_path / "study", listener)
        assert client.get_run(mine.info.run_id).info.status == "RUNNING"
        mlflow.log_metric("something.else", 1.0)
    run = _only_run(client, "own")
    assert (run.info.run_id, run.info.status) == (mine.info.run_id, "FINISHED")
    assert {"best_so_far", "something.else"} <= run.data.metrics.keys()


def test_a_server_that_is_away_breaks_nothing_and_gets_everything_later(
    tmp_path: Path, uri: str, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from luthier.integrations import mlflow as lt_mlflow

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "luthier"), lt_mlflow.tracking("http://127.0.0.1:9") as listener:
        result = study(tmp_path / "study", listener)
    assert result.events[-1]["event"] == "done"
    assert time.monotonic() - began < 60
    assert [record.name for record in caplog.records if "MLflow did not take all" in record.message] == ["luthier"]
    with lt_mlflow.tracking(uri, experiment="later") as listener:
        assert study(tmp_path / "study", listener).decision == result.decision
    run = _only_run(client, "later")
    assert run.data.metrics["verdict.difference"] == pytest.approx(result.verdict.difference)
    assert len(client.get_metric_history(run.info.run_id, "trial.score")) >= 3


def test_a_study_without_budget_for_a_verdict_is_told_too(tmp_path: Path, uri: str, client: Any) -> None:
    from luthier.integrations import mlflow as lt_mlflow

    with lt_mlflow.tracking(uri, experiment="poor") as listener, pytest.raises(UserError):
        study(tmp_path / "study", listener, budget=lt.Budget(lm_calls=30))
    assert _only_run(client, "poor").info.status == "FAILED"


def test_the_command_line_tracks_and_resumes(tmp_path: Path, uri: str, client: Any) -> None:
    at = project(tmp_path)
    options = ("--yes", "--quiet", "--study-dir", "study", "--track", f"mlflow:{uri}")
    done = luthier(at, *OPTIMIZE, *options)
    assert done.returncode in (0, 10, 11), done.stderr
    run = next(run for run in _runs(client, "luthier") if run.data.params["program"].endswith("classify"))
    assert run.info.status == "FINISHED"
    again = luthier(at, "resume", "study", "--yes", "--quiet", "--track", f"mlflow:{uri}")
    assert again.returncode == done.returncode, again.stderr
    assert len([each for each in _runs(client, "luthier") if each.data.params["program"].endswith("classify")]) == 1


def test_the_documents_blocks_run(tmp_path: Path, uri: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tickets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tickets(120)), encoding="utf-8")
    with OpenAIServer(answer) as server:
        said: dict[str, Any] = {"lt": lt, "lm": lt.LM("m", base_url=server.url, api_key="none"), "desk": desk}
        run = [block for block in blocks(ROOT / "docs" / "tracking.md") if "mlflow" in block.code]
        assert run
        for block in run:
            exec(block.code.replace("http://localhost:5000", uri), said)
    assert _only_run(client, "support desk").info.status == "FINISHED"


def _runs(client: Any, experiment: str) -> list[Any]:
    found = client.get_experiment_by_name(experiment)
    return [] if found is None else list(client.search_runs([found.experiment_id]))


def _only_run(client: Any, experiment: str) -> Any:
    (run,) = _runs(client, experiment)
    return run


def _wait_for(url: str, log: Path) -> None:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text(encoding="utf-8")[-2000:])
