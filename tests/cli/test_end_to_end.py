from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from luthier.cli.app import app

from .project import OPTIMIZE, environment, luthier, project


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    directory = project(tmp_path_factory.mktemp("project"))
    return directory, luthier(directory, *OPTIMIZE, "--study-dir", "runs/a", "--json")


def test_optimize_ends_with_0_json_on_stdout_and_words_on_stderr(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    directory, run = finished
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["decision"] == "adopt"
    assert found["verdict"]["low"] > 0
    assert (directory / found["report"]).is_file()
    assert "trial 1/" in run.stderr
    assert "Adopt the tuned prompts" in run.stderr
    assert "\x1b" not in run.stderr


def test_a_finished_study_is_returned_again_without_a_call(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    directory, first = finished
    journal = (directory / "runs/a/journal.jsonl").read_bytes()
    again = luthier(directory, *OPTIMIZE, "--study-dir", "runs/a", "--json", "--quiet")
    assert again.returncode == 0
    assert again.stdout == first.stdout
    assert again.stderr == ""
    assert (directory / "runs/a/journal.jsonl").read_bytes() == journal


def test_show_says_where_the_study_stands(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    directory, _ = finished
    words = luthier(directory, "show", "runs/a")
    assert words.returncode == 0
    assert words.stdout == ""
    assert "verdict" in words.stderr and "Report: runs/a/report.html" in words.stderr
    found = json.loads(luthier(directory, "show", "runs/a", "--json").stdout)
    assert (found["phase"], found["decision"]) == ("done", "adopt")


def test_show_follow_ends_with_the_study(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    directory, _ = finished
    assert luthier(directory, "show", "runs/a", "--follow").returncode == 0


def test_evaluate_scores_the_program_with_the_saved_prompts(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    directory, _ = finished
    common = ("flowers:classify", "--data", "data.jsonl", "--metric", "flowers.py:metric", "--lm", "python:flowers:lm")
    before = json.loads(luthier(directory, "evaluate", *common, "--json").stdout)
    after = json.loads(luthier(directory, "evaluate", *common, "--candidate", "runs/a/prompts", "--json").stdout)
    assert before["mean"] == 0.5
    assert after["mean"] == 1.0
    assert after["n"] == 120


@pytest.mark.parametrize("source", ["runs/a", "runs/a/prompts"])
def test_export_gives_json_markdown_and_openai_messages(
    finished: tuple[Path, subprocess.CompletedProcess[str]], source: str
) -> None:
    directory, _ = finished
    candidate = json.loads(luthier(directory, "export", source, "--to", "json").stdout)
    assert set(candidate["prompts"]) == {"size", "species"}
    markdown = luthier(directory, "export", source, "--to", "markdown").stdout
    assert "## species" in markdown and "### Demo 1" in markdown
    messages = json.loads(luthier(directory, "export", source, "--to", "openai").stdout)
    assert messages["species"][0]["role"] == "system"
    assert messages["species"][-1]["role"] == "user"
    assert "{petal}" in messages["species"][-1]["content"]


def test_export_with_the_program_renders_what_the_program_sends(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    directory, _ = finished
    run = luthier(directory, "export", "runs/a", "--to", "openai", "--program", "flowers:classify", "-o", "out.json")
    assert run.returncode == 0, run.stderr
    system = json.loads((directory / "out.json").read_text(encoding="utf-8"))["species"][0]["content"]
    assert "setosa" in system and "virginica" in system  # the choices of the Literal


def test_an_interrupted_study_says_how_to_go_on_and_resume_goes_on(tmp_path: Path) -> None:
    directory = project(tmp_path)
    arguments = [argument.replace(":lm", ":slow") for argument in OPTIMIZE]
    command = [sys.executable, "-m", "luthier", *arguments, "--study-dir", "runs/b", "--concurrency", "2"]
    slow = {**environment(), "SECONDS_A_CALL": "0.1"}
    running = subprocess.Popen(
        command, cwd=directory, env=slow, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    journal = directory / "runs/b/journal.jsonl"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and '"event":"plan"' not in (
        journal.read_text(encoding="utf-8") if journal.exists() else ""
    ):
        time.sleep(0.05)
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    _, words = running.communicate(timeout=20)
    assert running.returncode == 130, words
    assert "luthier resume runs/b" in words
    assert "Traceback" not in words
    assert "Not finished" in luthier(directory, "show", "runs/b").stderr

    refused = luthier(directory, "resume", "runs/b")
    assert refused.returncode == 2
    assert "flowers:classify" in refused.stderr and "--yes" in refused.stderr
    resumed = luthier(directory, "resume", "runs/b", "--yes", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["decision"] == "adopt"


def test_a_budget_too_small_for_a_verdict_is_refused_before_a_call(tmp_path: Path) -> None:
    directory = project(tmp_path)
    run = luthier(directory, *OPTIMIZE, "--study-dir", "runs/c", "--budget-calls", "20")
    assert run.returncode == 2
    assert "budget" in run.stderr


def test_a_program_that_cannot_be_helped_is_kept(tmp_path: Path) -> None:
    directory = project(tmp_path)
    arguments = [argument.replace(":lm", ":deaf") for argument in OPTIMIZE]
    run = luthier(directory, *arguments, "--study-dir", "runs/d", "--quiet", "--json")
    assert run.returncode == 10, run.stderr
    assert json.loads(run.stdout)["decision"] == "keep"


def test_the_plan_alone_calls_and_writes_nothing(tmp_path: Path) -> None:
    directory = project(tmp_path)
    run = luthier(directory, *OPTIMIZE, "--plan", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["total"]["calls"] > 0
    assert not (directory / "runs").exists()


FAULTS = {
    "no module": (("--lm", "python:flowers:lm"), "nowhere:classify", 2, "no module 'nowhere'"),
    "no function": ((), "flowers:clasify", 2, "did you mean 'classify'"),
    "no colon": ((), "flowers", 2, "MODULE:FUNCTION"),
    "no file": ((), "missing.py:classify", 2, "there is no file missing.py"),
    "a module that raises": ((), "broken:classify", 5, "no database here"),
    "no data": (("--data", "nothing.jsonl"), None, 2, "nothing.jsonl"),
    "empty data": (("--data", "empty.jsonl"), None, 2, "empty"),
    "no such metric": (("--metric", "exactly"), None, 2, "exact_match"),
    "no such column": (("--metric", "exact_match:colour"), None, 2, "colour"),
    "a metric that returns text": (("--metric", "flowers:wordy"), None, 2, "wordy"),
    "a metric that raises": (("--metric", "flowers:raising"), None, 5, "the metric is broken"),
    "no key": (("--lm", "openai/gpt-4.1-mini"), None, 2, "OPENAI_API_KEY"),
    "no such variable": (("--lm", "openai/x", "--api-key-env", "NO_SUCH_KEY"), None, 2, "NO_SUCH_KEY"),
    "a password in the address": (("--lm", "vllm/x", "--base-url", "http://me:pw@127.0.0.1:9/v1"), None, 2, "api-key"),
    "no such optimizer": (("--optimizer", "magic"), None, 2, "mipro"),
    "no such preset": (("--auto", "extreme"), None, 2, "light"),
    "half a price": (("--price-in", "1"), None, 2, "--price-out"),
    "a negative budget": (("--budget-calls", "-5"), None, 2, "-5"),
    "an unwritable directory": (("--study-dir", "flowers.py/study"), None, 2, "flowers.py"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_static_fault_gets_a_clear_line_and_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.chdir(project(tmp_path))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for module in ("flowers", "broken"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    options, program, code, word = FAULTS[fault]
    arguments = [*OPTIMIZE[:1], program or OPTIMIZE[1], *OPTIMIZE[2:], *options]
    run = CliRunner().invoke(app, arguments, env={"COLUMNS": "300", "NO_COLOR": "1"})
    assert run.exit_code == code, run.output
    assert word in run.stderr
    assert run.stderr.count("error: ") == 1
    assert 'File "' not in run.stderr.partition("error: ")[0]
    assert "me:pw" not in run.stderr
