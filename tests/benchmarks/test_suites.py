"""Suites as people write them: the paper's settings, what is refused, and what the command says and ends with."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import luthier as lt
from benchmarks.__main__ import app
from benchmarks.suites import running
from benchmarks.suites.running import run_case
from benchmarks.suites.suite import Case, Suite, declare, read_suite
from benchmarks.tasks.registry import task
from benchmarks.tasks.task import Task
from luthier.demo.packaged import DATA_DIR
from luthier.errors import ConfigError
from luthier.lm.doubles import ScriptedLM
from tests.cli.project import benchmarks
from tests.lm.server import OpenAIServer
from tests.studies import world

LM = """
import luthier as lt

def lm(request: lt.Request) -> str:
    return "setosa" if request.affinity == "iris" else "Name the species by the petal."

def locked(request: lt.Request) -> str:
    from luthier.errors import AccessDenied
    raise AccessDenied("the key was refused")
"""


def suite(*optimizers: str, **more: Any) -> Suite:
    return Suite(**{"tasks": ("heart_disease",), "optimizers": optimizers, "lm": "openai/scripted", **more})


# The paper's settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "evaluations", "joint", "alone"),
    [
        ("hotpotqa", 25_000, 30, 60),
        ("hotpotqa_conditional", 15_000, 30, 35),
        ("hover", 10_000, 10, 15),
        ("scone", 25_000, 70, 70),
        ("iris", 2_250, 30, 50),
        ("iris_typo", 2_250, 30, 50),
        ("heart_disease", 3_600, 15, 30),
    ],
)
def test_an_optimizer_of_the_paper_takes_the_papers_budget_n_and_temperature(
    name: str, evaluations: int, joint: int, alone: int
) -> None:
    wanted = {
        "mipro/paper": joint,
        "mipro0/paper": alone,
        "bayesian-bootstrap/paper": alone,
        "opro/paper": None,
        "bootstrap-random-search/paper": None,  # N is what the budget buys
    }
    for case in suite(*wanted, tasks=(name,)).cases():
        assert (case.evaluations, case.candidates, case.temperature) == (evaluations, wanted[case.optimizer], 0.7)
    (ours,) = suite("mipro", tasks=(name,)).cases()
    assert (ours.evaluations, ours.candidates, ours.temperature) == (None, None, None)


def test_what_a_suite_says_holds_instead_and_a_smaller_train_part_has_a_smaller_budget() -> None:
    (case,) = suite("mipro/paper", evaluations=300, candidates=5, temperature=0.0).cases()
    assert (case.evaluations, case.candidates, case.temperature) == (300, 5, 0.0)
    own = {"sizes": [10, 20, 30], "temperature": 0.2}
    (case,) = suite("mipro/paper", temperature=0.9, by_task={"heart_disease": own}).cases()
    assert (case.evaluations, case.sizes, case.temperature) == (30 * 30, (10, 20, 30), 0.2)


@pytest.mark.parametrize(("name", "train"), [("hotpotqa", 500), ("hotpotqa_conditional", 500), ("iris", 75)])
def test_train_and_val_together_are_as_large_as_the_papers_train_part(name: str, train: int) -> None:
    assert sum(task(name).sizes[:2]) == train


def test_a_study_is_run_with_the_n_and_the_temperature_of_its_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = Task(
        "numbers", world.describe, lt.exact_match("answer"), lambda: world.rows(120), (20, 20, 40), ("number",)
    )
    monkeypatch.setattr(running, "task", lambda name: numbers)
    lm = ScriptedLM(world.answer)
    case = Case("iris", "mipro/paper", "openai/scripted", 1, 160, candidates=3, temperature=0.6, endpoint="chat")
    result = run_case(case, tmp_path, lambda name, longest: lt.LM(lm, max_tokens=longest))
    assert result["status"] == "done" and result["scoring"]["n"] == 40, "train and val are scored on"
    assert (result["case"]["candidates"], result["case"]["temperature"]) == (3, 0.6)
    asked = [request for request in lm.requests if world.asked_for(request) is not None]
    assert {request.temperature for request in asked} >= {0.6} and 0.0 not in {r.temperature for r in asked}
    assert all(len(levels) <= 3 for levels in spaces(tmp_path))


def spaces(folder: Path) -> list[list[str]]:
    (journal,) = folder.rglob("journal.jsonl")
    events = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    (space,) = (event for event in events if event.get("event") == "space")
    return [variable["levels"] for variable in space["variables"]]


def test_nothing_is_claimed_of_optimizers_that_have_different_budgets_or_temperatures() -> None:
    claimed = {"comparisons": (("mipro/paper", "mipro"),)}
    with pytest.raises(ConfigError, match="the paper's evaluations and temperature; give"):
        suite("mipro/paper", "mipro", **claimed)
    with pytest.raises(ConfigError, match="give temperature, which"):
        suite("mipro/paper", "mipro", evaluations=500, **claimed)
    suite("mipro/paper", "mipro", evaluations=500, temperature=0.0, **claimed)
    suite("mipro/paper", "mipro0/paper", comparisons=(("mipro/paper", "mipro0/paper"),))


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tasks": "iris"}, r"tasks cannot be read: 'iris' is no list; write \[\"iris\"\]"),
        ({"optimizers": "mipro"}, "optimizers cannot be read: 'mipro' is no list"),
        ({"seeds": 3}, r"seeds cannot be read: 3 is no list; write \[3\]"),
        ({"seeds": [1.5]}, "1.5 is no whole number"),
        ({"comparisons": "mipro"}, "comparisons cannot be read: 'mipro' is no list"),
        ({"comparisons": ["mipro", "mipro0"]}, "'mipro' is no pair of optimizers"),
        ({"lm": ["a", "b"]}, "lm cannot be read"),
        ({"by_task": {"iris": {"size": [20, 20, 20]}}}, "by_task.iris: there is no setting 'size'; there are eval"),
        ({"by_task": {"iris": {"evaluation": 20}}}, "no setting 'evaluation'"),
        ({"by_task": {"iris": {"sizes": [20, 20]}}}, "sizes = .* three whole numbers"),
        ({"by_task": {"iris": {"sizes": 20}}}, "three whole numbers"),
        ({"by_task": {"iris": 20}}, "no table of settings"),
        ({"evaluations": 0}, "evaluations = 0: a whole number, at least 1"),
        ({"evaluations": "many"}, "evaluations = 'many'"),
        ({"temperature": -1}, "temperature = -1"),
        ({"temperature": math.inf}, "temperature = inf"),
        ({"endpoint": "chats"}, "endpoint = 'chats': must be one of chat, completions"),
        ({"candidates": 1}, "candidates = 1"),
        ({"optimizers": ["opro"], "candidates": 5}, "none of opro has an N"),
    ],
)
def test_what_a_file_says_wrongly_is_refused_by_name(changed: Mapping[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "suite.json"
    file.write_text(
        json.dumps({"tasks": ["iris"], "optimizers": ["mipro"], "lm": "openai/scripted", **changed}), encoding="utf-8"
    )
    with pytest.raises(ConfigError, match=said):
        read_suite(file)


def test_runs_with_another_temperature_or_n_are_another_suite(tmp_path: Path) -> None:
    declare(suite("mipro/paper"), tmp_path)
    for more in ({"temperature": 0.0}, {"candidates": 7}, {"endpoint": "chat"}):
        with pytest.raises(ConfigError, match=f"another {next(iter(more))}"):
            declare(suite("mipro/paper", **more), tmp_path)


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an LM made in Python, and flowers in the data folder."""
    (tmp_path / "lms.py").write_text(LM, encoding="utf-8")
    flowers = [
        {"petal_length": i, "petal_width": i, "sepal_length": i, "sepal_width": i, "species": f"s{i % 3}"}
        for i in range(60)
    ]
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris" / "iris.jsonl").write_text(
        "".join(json.dumps(flower) + "\n" for flower in flowers), encoding="utf-8"
    )
    monkeypatch.setenv(DATA_DIR, str(tmp_path))
    return tmp_path


RUN = ("run", "iris", "--optimizer", "labeled-few-shot", "--sizes", "10,10,20", "--evaluations", "20")


def test_an_lm_that_cannot_be_asked_is_found_out_before_anything_is_kept(desk: Path) -> None:
    for wrong in (
        ["--lm", "qwen"],
        ["--lm", "local/nope"],
        ["--lm", "python:lms:lm", "--proposer-lm", "python:lms:no"],
    ):
        done = benchmarks(desk, *RUN, *wrong)
        assert done.returncode == 2, done.stderr
        assert not (desk / "runs").exists()
    done = benchmarks(desk, *RUN, "--lm", "python:lms:lm")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0].startswith("1 study, kept in runs/bench")
    assert done.stderr.splitlines()[-1] == "1 of 1 study done. Compare them: python -m benchmarks table runs/bench"
    assert "done before" not in done.stderr
    assert (
        "1 of 1  iris, labeled-few-shot, seed 1: done before" in benchmarks(desk, *RUN, "--lm", "python:lms:lm").stderr
    )


def test_a_server_that_refuses_is_found_out_before_anything_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    with OpenAIServer(key="wrong") as server:
        told = [*RUN, "--lm", "openai/any", "--base-url", server.url]
        ended = CliRunner().invoke(app, told)
    assert ended.exit_code == 2 and "denies access" in ended.stderr, ended.stderr
    ended = CliRunner().invoke(app, told)
    assert ended.exit_code == 2 and "Is a server for openai/any running there?" in ended.stderr, ended.stderr
    assert not (tmp_path / "runs").exists()


def test_a_search_too_small_to_score_one_candidate_is_refused_before_anything_is_kept(desk: Path) -> None:
    done = benchmarks(desk, *RUN[:-1], "5", "--lm", "python:lms:lm")
    assert done.returncode == 2 and not (desk / "runs").exists()
    assert "labeled-few-shot on iris: auto=5: a search on 10 examples takes two full evaluations" in done.stderr


def test_a_failed_study_does_not_end_in_success(desk: Path) -> None:
    done = benchmarks(desk, *RUN, "--lm", "python:lms:lm", "--budget-calls", "3")
    assert done.returncode == 2, done.stderr
    assert "failed: " in done.stderr and "0 of 1 study done, 1 failed" in done.stderr


@pytest.mark.parametrize(("kind", "code"), [("BudgetExhausted", 3), ("ProgramFailed", 5), ("Unparseable", 4)])
def test_the_first_failure_decides_the_exit_code(
    kind: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endings = iter([{"status": "failed", "error": f"{kind}: why"}, {"status": "failed", "error": "DataError: why"}])
    monkeypatch.setattr(running, "run_case", lambda case, *args, **more: next(endings))
    (tmp_path / "lms.py").write_text(LM, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    lm, out = "python:lms.py:lm", str(tmp_path / "out")
    ended = CliRunner().invoke(app, ["run", "iris", "--lm", lm, "--seeds", "1,2", "--out", out])
    assert (ended.exit_code, "0 of 2 studies done, 2 failed" in ended.stderr) == (code, True), ended.stderr


def test_a_suite_that_is_stopped_says_how_to_go_on(desk: Path) -> None:
    done = benchmarks(desk, *RUN, "--lm", "python:lms:locked")
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1] == "0 of 1 study ended; the same command goes on from here."


@pytest.mark.parametrize(
    "option",
    [
        ["--seeds", "1,2"], ["--proposer-lm", "x"], ["--teacher-lm", "x"], ["--temperature", "1"],
        ["--candidates", "3"], ["--lm", "x"], ["--optimizer", "opro"], ["--evaluations", "9"], ["--sizes", "1,1,1"],
        ["iris"],
    ],
)  # fmt: skip
def test_what_a_suites_file_would_hide_is_refused(option: list[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('lm = "vllm/any"\ntasks = ["iris"]\noptimizers = ["mipro"]\n', encoding="utf-8")
    ended = CliRunner().invoke(app, ["run", str(file), *option])
    assert ended.exit_code == 2
    assert f"mine.toml declares the whole suite: leave out {option[0]}, and write it into the file" in ended.stderr
