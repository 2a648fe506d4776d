from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import luthier
from luthier import errors
from luthier.cli.app import app
from luthier.cli.importing import load
from luthier.cli.launch import Launch, metric_named
from luthier.cli.reference import reference
from tests.lengths import times

from ..report.fixture import journal, study
from .project import project

OPTIMIZE = [
    "optimize",
    "flowers:classify",
    "--data",
    "data.jsonl",
    "--metric",
    "exact_match",
    "--lm",
    "python:flowers:lm",
]
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class FakeResult:
    decision: str | None
    study_dir: Path
    report: Path
    verdict: dict[str, Any]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(project(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("flowers", "broken"):
        sys.modules.pop(name, None)


Fake = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def fake(here: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts a stand-in for ``luthier.optimize``, and returns what it is called with."""

    def install(outcome: str | BaseException | None, *, writes_journal: bool = False) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def optimize(program: Any, data: Any, metric: Any, **arguments: Any) -> FakeResult:
            calls.append({"program": program, "data": data, "metric": metric, **arguments})
            directory = Path(arguments["study_dir"])
            if writes_journal:
                study(directory, journal(until="baseline"))
            if isinstance(outcome, BaseException):
                raise outcome
            return FakeResult(outcome, directory, directory / "report.html", {"low": float("nan"), "n": 3})

        monkeypatch.setattr(luthier, "optimize", optimize, raising=False)
        return calls

    return install


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "NO_COLOR": "1"})


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ("adopt", 0),
        ("keep", 10),
        ("undecided", 11),
        (None, 3),
        (errors.DataError("no rows"), 2),
        (errors.StudyMismatch("another study"), 2),
        (errors.JournalError("line 3 is damaged"), 2),
        (errors.RequestRejected("no such model"), 2),
        (errors.BudgetExhausted("used up"), 3),
        (errors.StudyPaused("no answer"), 4),
        (errors.AccessDenied("quota"), 4),
        (errors.WeightsError("a cut download"), 4),
        (errors.ProgramFailed("KeyError"), 5),
        (PermissionError(13, "Permission denied", "/root/x"), 2),
        (OSError(28, "No space left on device"), 4),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("oops"), 1),
    ],
)
def test_every_end_has_its_exit_code(fake: Fake, outcome: str | BaseException | None, code: int) -> None:
    fake(outcome)
    ended = run(*OPTIMIZE)
    assert ended.exit_code == code, ended.output
    assert "Traceback" not in ended.output
    assert ended.stderr.count("error: ") == (0 if outcome is None or isinstance(outcome, str) else 1)


def test_a_predictors_metric_reaches_the_study_and_its_launch(fake: Fake) -> None:
    given = fake("keep")
    ended = run(*OPTIMIZE, "--predictor-metric", "size=exact_match:petal", "--predictor-metric", "species=contains")
    assert ended.exit_code == 10, ended.output
    assert sorted(given[0]["predictor_metrics"]) == ["size", "species"]
    assert given[0]["launch"]["predictor_metric"] == ["size=exact_match:petal", "species=contains"]


@pytest.mark.parametrize("pair", ["size", "size=", "=contains", "size=contain"])
def test_a_predictors_metric_that_cannot_be_read_is_named(here: Path, pair: str) -> None:
    ended = run(*OPTIMIZE, "--predictor-metric", pair)
    assert ended.exit_code == 2
    assert "metric" in ended.stderr
    assert pair.partition("=")[2] in ended.stderr


@pytest.mark.parametrize("option", ["--predictor-metric", "--auto", "--teacher-lm", "--seed"])
def test_what_only_a_study_takes_is_no_option_of_an_evaluation(here: Path, option: str) -> None:
    ended = run("evaluate", *OPTIMIZE[1:], option, "1")
    assert ended.exit_code == 2
    assert option in ended.stderr


def test_an_interrupted_study_says_how_to_go_on(fake: Fake) -> None:
    fake(KeyboardInterrupt(), writes_journal=True)
    ended = run(*OPTIMIZE, "--study-dir", "runs/x")
    assert "luthier resume runs/x" in ended.stderr


def test_debug_shows_the_traceback(fake: Fake) -> None:
    fake(errors.ProgramFailed("KeyError"))
    assert "Traceback" in run(*OPTIMIZE, "--debug").stderr


def test_a_key_in_an_error_never_reaches_the_screen(fake: Fake) -> None:
    key = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"
    fake(errors.AccessDenied(f"the server said: invalid key {key}"))
    assert key not in run(*OPTIMIZE, "--debug").output


def test_text_of_models_cannot_drive_the_terminal(fake: Fake) -> None:
    fake(errors.ProgramFailed("bad \x1b]0;title\x07 \x1b[2J text [red]not markup[/red]"))
    shown = run(*OPTIMIZE).stderr
    assert "\x1b" not in shown and "\x07" not in shown
    assert "[red]not markup[/red]" in shown


def test_options_become_the_arguments_of_optimize(fake: Fake) -> None:
    calls = fake("adopt")
    extra = ["--optimizer", "mipro/paper", "--auto", "heavy", "--seed", "7", "--inputs", "petal, x", "--group", "g"]
    budget = ["--budget-usd", "2.5", "--budget-calls", "100", "--concurrency", "3"]
    assert run(*OPTIMIZE, *extra, *budget, "--teacher-lm", "local/smollm2-135m").exit_code == 0
    call = calls[0]
    assert call["program"].__name__ == "classify"
    assert (call["data"], call["optimizer"], call["auto"], call["seed"]) == ("data.jsonl", "mipro/paper", "heavy", 7)
    assert (call["inputs"], call["group"], call["concurrency"]) == (["petal", "x"], "g", 3)
    assert call["budget"] == luthier.Budget(usd=2.5, lm_calls=100)
    assert call["teacher_lm"].name == "local/smollm2-135m"
    assert call["study_dir"] == Path("runs/classify")


def test_quiet_says_nothing_and_json_is_all_there_is_on_stdout(fake: Fake) -> None:
    fake("keep")
    ended = run(*OPTIMIZE, "--quiet", "--json")
    assert ended.stderr == ""
    assert json.loads(ended.stdout)["verdict"] == {"low": None, "n": 3}


def test_resume_starts_the_same_call_again_with_a_raised_budget(fake: Fake, here: Path) -> None:
    calls = fake("adopt")
    run(*OPTIMIZE, "--budget-calls", "100", "--seed", "3", "--study-dir", "runs/x")
    events = journal(until="baseline")
    events[0]["launch"] = calls[0]["launch"]
    study(here / "runs/x", json.loads(json.dumps(events)))
    ended = run("resume", "runs/x", "--yes", "--budget-calls", "200", "--code-changed")
    assert ended.exit_code == 0, ended.output
    assert "flowers:classify" in ended.stderr and events[0]["code"]["program"] in ended.stderr
    first, second = calls
    assert second["budget"] == luthier.Budget(lm_calls=200)
    assert second["code_changed"] is True
    same = ("data", "seed", "optimizer", "study_dir", "concurrency", "program")
    assert {name: first[name] for name in same} == {name: second[name] for name in same}


def test_the_demo_shows_its_control_and_the_way_to_ones_own_program(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from luthier.demo import run as demo
    from luthier.evaluation.stats import PairedDifference

    result = FakeResult("adopt", here, here / "report.html", {"low": 0.2, "n": 60})
    against = PairedDifference(0.1, -0.02, 0.22, 60, (), (), "tango")
    found = SimpleNamespace(result=result, control=SimpleNamespace(mean=0.8), control_demos=18, against_control=against)
    monkeypatch.setattr(demo, "run_demo", lambda *_, **__: found)
    monkeypatch.setattr("luthier.cli.models.fetch", lambda *_, **__: here)
    ended = run("demo", "--json")
    assert ended.exit_code == 0, ended.output
    assert "18 labelled demos and no search: 80.0 %; tuned minus that: +10.0 points" in ended.stderr
    assert "luthier optimize MODULE:FUNCTION" in ended.stderr
    assert json.loads(ended.stdout)["control"]["difference"]["low"] == -0.02


def test_a_study_started_from_python_is_not_resumed_from_the_command_line(here: Path) -> None:
    events = journal(until="baseline")
    del events[0]["launch"]
    study(here / "runs/x", events)
    ended = run("resume", "runs/x", "--yes")
    assert ended.exit_code == 2
    assert "run the script" in ended.stderr


def test_a_plan_nobody_can_agree_to_needs_yes_or_a_budget(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake("adopt")
    run(*OPTIMIZE)
    run(*OPTIMIZE, "--budget-calls", "10")
    run(*OPTIMIZE, "--yes")
    leaving = {"phases": [], "total": {}, "leaves_machine": ["api.example.com"], "notes": []}
    with pytest.raises(errors.ConfigError, match="--yes"):
        calls[0]["confirm"](leaving)
    assert calls[0]["confirm"]({**leaving, "leaves_machine": []}) is True
    assert calls[1]["confirm"](leaving) is True
    assert calls[2]["confirm"](leaving) is True


@pytest.mark.parametrize("until", [None, "tell", "baseline", "manifest"])
def test_show_works_at_any_moment_of_a_study(tmp_path: Path, until: str | None) -> None:
    directory = study(tmp_path / "s", journal(until=until))
    ended = run("show", str(directory))
    assert ended.exit_code == 0, ended.output
    assert ("Not finished" in ended.stderr) is (until is not None)
    assert json.loads(run("show", str(directory), "--json").stdout)["finished"] is (until is None)


def test_show_can_write_the_report_of_an_unfinished_study(tmp_path: Path) -> None:
    directory = study(tmp_path / "s", journal(until="tell"))
    ended = run("show", str(directory), "--report")
    assert "report.html" in ended.stderr
    assert "not finished" in (directory / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [["show"], ["resume"], ["export"]])
def test_a_directory_without_a_study_is_bad_input(tmp_path: Path, command: list[str]) -> None:
    ended = run(*command, str(tmp_path))
    assert ended.exit_code == 2
    assert str(tmp_path) in ended.stderr


def test_export_recommends_the_original_unless_the_verdict_adopts(tmp_path: Path) -> None:
    directory = str(study(tmp_path / "s", journal(decision="keep")))
    recommended = json.loads(run("export", directory).stdout)
    assert recommended["prompts"]["route_ticket"]["demos"] == []
    best = json.loads(run("export", directory, "--best").stdout)
    assert len(best["prompts"]["route_ticket"]["demos"]) == 12


def test_looking_at_a_study_loads_neither_sockets_nor_samplers(tmp_path: Path) -> None:
    directory = study(tmp_path / "s", journal())
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from luthier.cli.app import app\n"
        f"for command in (['show', {str(directory)!r}], ['export', {str(directory)!r}], ['models', 'list']):\n"
        "    assert CliRunner().invoke(app, command).exit_code == 0, command\n"
        "print([name for name in ('aiohttp', 'optuna', 'xllamacpp') if name in sys.modules])\n"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_models_are_listed_with_their_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LUTHIER_CACHE_DIR", str(tmp_path))
    listed = json.loads(run("models", "list", "--json").stdout)
    assert {model["name"] for model in listed} >= {"qwen2.5-coder-0.5b", "smollm2-135m"}
    assert run("models", "path", "gpt-5").exit_code == 2
    assert run("models", "pull", "gpt-5").exit_code == 2


def test_launch_options_survive_the_journal() -> None:
    launch = Launch("a:b", "d.jsonl", "exact_match", "openai/x", inputs=("p", "q"), budget_usd=1.5, seed=4)
    assert Launch.from_json(json.loads(json.dumps(launch.to_json()))) == launch
    with pytest.raises(errors.JournalError, match="future"):
        Launch.from_json({**launch.to_json(), "future": 1})


def test_a_file_is_imported_once_for_program_and_metric(here: Path) -> None:
    program, metric = load("flowers.py:classify", "the program"), load("flowers.py:metric", "the metric")
    assert program.__globals__ is metric.__globals__


def test_built_in_metrics_go_by_name() -> None:
    assert metric_named("exact_match") is luthier.exact_match
    assert callable(metric_named("token_f1:answer"))


def test_the_reference_on_disk_is_that_of_the_commands() -> None:
    assert (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8") == reference(), (
        "run: python -m luthier.cli.reference > docs/cli.md"
    )


def test_the_version_is_said() -> None:
    assert luthier.__version__ in run("--version").output


WORDS = st.one_of(
    st.sampled_from(
        [
            *("demo", "optimize", "evaluate", "resume", "show", "export", "models", "list", "pull", "path"),
            *("--data", "--metric", "--lm", "--json", "--quiet", "--yes", "--plan", "--seed", "--to", "--follow"),
            *("--budget-usd", "--price-in", "--base-url", "--candidate", "--inputs", "-o", "-q", "--help", "--"),
            *(
                "flowers:classify",
                "flowers.py:classify",
                "broken:x",
                "data.jsonl",
                "exact_match:",
                ":",
                "a:",
                ":b",
                ".py:x",
            ),
            *(
                "local/",
                "openai/",
                "python:",
                "python:flowers:lm",
                "/",
                os.devnull,
                ".",
                "..",
                "-1",
                "nan",
                "1e999",
                "",
            ),
            *("http://[::1", "http://a:b@c", "runs", "json", "openai", "....:....", "flowers:__name__", "os:environ"),
        ]
    ),
    st.text(max_size=12).filter(lambda text: "\x00" not in text),
)


@given(st.lists(WORDS, max_size=9))
@settings(max_examples=times(100, 2500), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_arguments_whatever_end_in_a_traceback(fake: Fake, arguments: list[str]) -> None:
    fake("adopt")
    if "demo" in arguments or "pull" in arguments:
        arguments = [word for word in arguments if word not in ("demo", "pull")]
    ended = run(*arguments)
    assert ended.exit_code in (0, 2, 5, 10, 11), (ended.exit_code, ended.output)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    assert "Traceback" not in ended.output
    assert os.getcwd()
