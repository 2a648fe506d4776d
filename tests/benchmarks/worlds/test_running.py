"""Cases are run by workers against the real server, once, and told in tables and curves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from benchmarks.worlds import __main__ as command
from benchmarks.worlds import case as cases
from benchmarks.worlds import page, runner
from benchmarks.worlds.case import Case
from benchmarks.worlds.runner import run
from benchmarks.worlds.server import serving
from benchmarks.worlds.worker import accuracy, call, spent
from benchmarks.worlds.world import world


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cases, "RESULTS", tmp_path / "worlds")
    return tmp_path / "worlds"


def test_a_case_is_run_once_and_its_cost_and_worth_are_kept(results: Path) -> None:
    case = Case("labeled-few-shot", "reasons", 10, 75)
    done: list[Case] = []

    def report(case: Case, found: dict[str, Any]) -> None:
        done.append(case)

    run([case], jobs=1, peer_python="", report=report)
    run([case], jobs=1, peer_python="", report=report)
    assert done == [case]
    found = json.loads(case.path.read_text(encoding="utf-8"))
    assert found["accuracy"] > found["original"] + 0.2
    assert 15 <= found["runs"] <= 75
    assert found["decision"] in ("adopt", "keep", "undecided") and "error" not in found


def test_an_optimizer_that_ends_with_an_error_is_a_result_at_the_originals_worth(results: Path) -> None:
    case = Case("no-such-optimizer", "reasons", 10, 75)
    run([case], jobs=1, peer_python="", report=lambda case, found: None)
    found = json.loads(case.path.read_text(encoding="utf-8"))
    assert "no-such-optimizer" in found["error"]
    assert found["accuracy"] == found["original"]


def test_another_luthiers_results_are_known_by_its_version(tmp_path: Path) -> None:
    assert runner.release(runner.SOURCE) == lt.__version__
    with pytest.raises(SystemExit, match="imported"):
        runner.release(tmp_path)


def test_peers_need_a_python_of_their_own(results: Path) -> None:
    with pytest.raises(SystemExit, match="peer-python"):
        run([Case("gepa", "reasons", 10, 300)], jobs=1, peer_python="", report=lambda case, found: None)


@pytest.mark.parametrize("python", ["no/such/python", sys.executable], ids=["no file", "a Python without peers"])
def test_a_python_without_the_peers_is_named_before_anything_runs(results: Path, python: str) -> None:
    with pytest.raises(SystemExit, match="peer-python"):
        run([Case("gepa", "reasons", 10, 300)], jobs=1, peer_python=python, report=lambda case, found: None)
    assert not results.exists()


def test_a_case_whose_process_died_is_told_and_run_again(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("gepa", "reasons", 10, 300)
    monkeypatch.setattr(runner, "version_of", lambda optimizer, python, source: "1")
    told: list[dict[str, Any]] = []
    for _ in range(2):  # this Python has no gepa, so the worker ends at once
        run([case], jobs=1, peer_python=sys.executable, report=lambda case, found: told.append(found))
    assert ["ended" in found["error"] for found in told] == [True, True]
    assert not case.path.exists()


def test_a_case_that_takes_too_long_is_a_result_at_the_originals_worth(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CASE_SECONDS", 0.01)
    case = Case("mipro", "reasons", 10, 300)
    run([case], jobs=1, peer_python="", report=lambda case, found: None)
    found = json.loads(case.path.read_text(encoding="utf-8"))
    assert "more than" in found["error"] and found["accuracy"] == found["original"]
    assert "mipro" in page.tables(page.load(results))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal for one thread")
def test_an_interruption_ends_the_run_and_keeps_no_half_case(results: Path) -> None:
    done: list[Case] = []

    def interrupt(case: Case, found: dict[str, Any]) -> None:
        done.append(case)
        if len(done) == 1:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    asked = [Case("labeled-few-shot", "reasons", seed, 75) for seed in range(10, 16)]
    with pytest.raises(KeyboardInterrupt):
        run(asked, jobs=2, peer_python="", report=interrupt)
    assert 1 <= len(done) <= 3
    kept = page.load(results)
    assert len(kept) == len(done) and not any("error" in found for found in kept)


def test_two_runs_may_save_the_same_case_at_once(results: Path) -> None:
    case = Case("gepa", "reasons", 10, 300)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda turn: case.save("1", {"accuracy": turn / 100}), range(100)))
    assert case.result("1") is not None
    assert [path.name for path in case.path.parent.iterdir()] == [case.path.name]


@pytest.mark.parametrize(
    "words",
    [
        "--optimizers mirpo",
        "--optimizers dspy-gepaa",
        "--kinds nowhere",
        "--jobs 0",
        "--budgets 5",
        "--ability 2",
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_runs(
    results: Path, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["worlds", "run", *words.split()])
    monkeypatch.setattr(command, "run", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert words.split()[1] in capsys.readouterr().err


def asked_for(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[Case]:
    """Return the cases that the command would run."""
    found: list[Case] = []
    monkeypatch.setattr(sys, "argv", ["worlds", "run", *words])
    monkeypatch.setattr(command, "run", lambda cases, **_: found.extend(cases))
    command.main()
    return found


def test_quick_is_a_smaller_default_and_overrides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = asked_for(monkeypatch, "--quick", "--kinds", "long", "--optimizers", "mipro")
    assert [(case.kind, case.seed, case.budget) for case in quick] == [("long", 10, 300), ("long", 11, 300)]
    assert len(asked_for(monkeypatch, "--quick")) < len(asked_for(monkeypatch)) / 20


def test_results_of_another_version_of_the_world_are_in_no_table(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (Case("mipro", "reasons", seed, 300) for seed in (10, 11))
    with monkeypatch.context() as earlier:
        earlier.setattr(cases, "VERSION", 0)
        old.save("1", {"accuracy": 0.5})
    new.save("1", {"accuracy": 0.6})
    assert [found["seed"] for found in page.load(results)] == [11]


def test_the_server_ends_with_the_process_that_started_it() -> None:
    code = "from benchmarks.worlds.server import serving; import os\nwith serving() as url: print(url); os._exit(1)"
    url = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=runner.ROOT).stdout.strip()
    for _ in range(100):
        try:
            call(f"{url}/reasons/0/1/here/v1/spent")
        except OSError:
            return
        time.sleep(0.1)
    raise AssertionError("it still answers")


def test_the_server_is_an_openai_compatible_one_that_counts_and_probes() -> None:
    with serving() as server:
        url = f"{server}/reasons/0/1/here/v1"

        @lt.predictor
        def queue(note: str) -> str:
            """Choose the queue."""
            return str(lt.predict())

        @lt.predictor
        def priority(note: str) -> str:
            """Choose the priority."""
            return str(lt.predict())

        made = world("reasons", 0)
        row = made.columns(made.row(1))
        with lt.use(lt.LM("probe", base_url=url, api_key="none")):
            assert queue(note=str(row["note_1"])) == row["queue"]
            assert priority(note=str(row["note_2"])) == row["priority"]
        assert accuracy(url)["accuracy"] == pytest.approx(made.original())
        assert spent(url)["probe"]["calls"] == 2
        with pytest.raises(lt.errors.LMError, match="nobody"), lt.use(lt.LM("nobody", base_url=url, api_key="none")):
            queue(note="x")
        call(url, "DELETE")
        assert spent(url) == {}


def test_tables_and_curves_tell_what_was_found(results: Path, tmp_path: Path) -> None:
    for seed, worth in ((10, 0.5), (11, 0.7)):
        for name, version in (("mipro", "luthier 0"), ("gepa", "gepa 0")):
            cost = {"runs": 290.0, "proposer_calls": 5, "proposer_tokens": 50, "tokens_per_run": 100}
            Case(name, "reasons", seed, 300).save(version, {"accuracy": worth, **cost})
    Case("mipro", "null-nothing", 10, 300).save("luthier 0", {"accuracy": 0.2, "runs": 290.0, "decision": "adopt"})
    table = page.write_table(results, tmp_path / "worlds.md").read_text(encoding="utf-8")
    assert "60 ± " in table and "| mipro | 300 | 3 | 290 |" in table
    assert "| null-nothing | 1 | 1 |" in table
    curves = page.write_plot(results, tmp_path / "worlds.html").read_text(encoding="utf-8")
    assert "<svg" in curves and "gepa" in curves


def test_differences_to_the_strongest_peer_are_paired_by_kind_and_seed() -> None:
    def result(name: str, budget: int, kind: str, seed: int, accuracy: float) -> dict[str, Any]:
        return {"optimizer": name, "budget": budget, "kind": kind, "seed": seed, "accuracy": accuracy}

    cells = [("reasons", 10, 0.7), ("reasons", 11, 0.5), ("loop", 10, 0.6)]
    peer = [result(*page.RIVAL, kind, seed, accuracy) for kind, seed, accuracy in cells]
    ours = [result("mipro", 300, kind, seed, accuracy + 0.1) for kind, seed, accuracy in cells[:2]]
    ours += [result("mipro", 300, "loop", 10, 0.5), result("mipro", 300, "harsh", 10, 0.0)]  # which the peer has not
    row = next(line for line in page.differences([*peer, *ours]).splitlines() if line.startswith("| mipro"))
    assert [cell.strip() for cell in row.strip("|").split("|")][1:4] == ["300", "3", "+3.3"]
    assert "loop -10.0" in row and "harsh" not in row and "reasons" not in row
