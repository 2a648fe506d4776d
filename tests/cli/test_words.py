"""What people read: the plan, the progress, and what an error tells them to do."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from luthier.budget import Budget
from luthier.cli.console import people
from luthier.cli.importing import load
from luthier.cli.launch import metric_named
from luthier.cli.plan import show_plan
from luthier.cli.progress import Progress, charges
from luthier.cli.tuning import _resumable
from luthier.errors import BudgetExhausted, ConfigError, SignatureError, StudyMismatch
from luthier.lm.store import Store
from luthier.report.paid import STORE, remarks
from luthier.report.spending import Amounts
from luthier.study.events import read_all

from ..report.fixture import journal
from .project import luthier, project

UNTYPED = 'import luthier as lt\n@lt.predictor\ndef f(a: str):\n    """Say."""\ndef p(a: str): return f(a=a)\n'


def plan(**more: Any) -> dict[str, Any]:
    phases = [{"name": "insight", "rollouts": 40, "calls": 80, "tokens": 900, "usd": None, "seconds": None}]
    total = {"rollouts": 40, "calls": 80, "tokens": 900, "usd": None, "seconds": None}
    return {"phases": phases, "total": total, "splits": {"train": 30, "val": 20, "test": 20}, **more}


def test_a_plan_has_no_column_for_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(plan())
    said = capsys.readouterr().err
    assert "LM calls" in said and "price" not in said and "time" not in said
    assert "each predictor's part" in said


def test_a_plan_says_where_the_budget_cuts_it(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(plan(), Budget(lm_calls=50, tokens=5000))
    assert "The budget of 50 LM calls may end the search early" in capsys.readouterr().err


def test_a_plan_says_when_there_will_be_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(plan(splits={"train": 20, "val": 20, "test": 0}))
    assert "no verdict" in capsys.readouterr().err


def test_a_resumed_study_shows_what_was_done_before() -> None:
    events = journal()
    cut = next(index for index, event in enumerate(events) if event["event"] == "tell")
    out = io.StringIO()
    with Progress(Console(file=out, width=100), live=True) as progress:
        progress.recall(events[:cut])
        assert out.getvalue().strip() == ""
        progress(events[cut])
    assert "✓  original" in out.getvalue() and "trial 1/" in out.getvalue()


def test_what_was_recalled_is_not_shown_where_nothing_is_added() -> None:
    out = io.StringIO()
    with Progress(Console(file=out, width=100), live=True) as progress:
        progress.recall(journal())
    assert "original" not in out.getvalue()


def test_a_measured_plan_and_warnings_are_said() -> None:
    out = io.StringIO()
    with Progress(Console(file=out, width=200), live=False) as progress:
        for event in journal(until="plan_measured"):
            progress(event)
        progress({"event": "bootstrap", "sets": [], "warnings": ["no passing trace with label 'today'"]})
    assert "the plan, now measured: " in out.getvalue()
    assert "! no passing trace with label 'today'" in out.getvalue()


def test_who_reads_along_may_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[tuple[int, int]] = []
    monkeypatch.setattr("os.dup2", lambda a, b: closed.append((a, b)))
    console = people()
    console.on_broken_pipe()
    assert console.quiet and closed[0][1] == sys.stderr.fileno()


def test_a_predictor_that_cannot_be_used_is_bad_input_at_the_users_line(tmp_path: Path) -> None:
    (tmp_path / "untyped.py").write_text(UNTYPED, encoding="utf-8")
    with pytest.raises(SignatureError, match=r"say what it returns.*untyped\.py, line \d\)"):
        load(f"{tmp_path}/untyped.py:p", "the program")


def test_a_misspelt_metric_is_told_its_name() -> None:
    with pytest.raises(ConfigError, match="did you mean exact_match"):
        metric_named("exact_mach:label")


def test_repaired_code_is_told_how_to_go_on() -> None:
    def study() -> None:
        raise StudyMismatch('holds another:\n  - code.metric: was "a", is "b"\nName another.')

    with pytest.raises(StudyMismatch) as caught:
        _resumable(Path("runs/x"), "luthier resume runs/x", study)
    assert "luthier resume runs/x --code-changed" in caught.value.__notes__[0]


def test_an_exhausted_budget_names_the_limits_there_were() -> None:
    def study() -> None:
        raise BudgetExhausted("over")

    with pytest.raises(BudgetExhausted) as caught:
        _resumable(Path("runs/x"), "luthier resume runs/x", study, limits=["--budget-seconds"])
    assert caught.value.__notes__ == ["Go on with a larger budget: luthier resume runs/x --budget-seconds …"]


def test_a_studys_directory_serves_as_its_prompts_and_demos_met_again_are_said(tmp_path: Path) -> None:
    directory = project(tmp_path)
    common = ("flowers:classify", "--data", "data.jsonl", "--metric", "flowers.py:metric", "--lm", "python:flowers:lm")
    tuned = luthier(directory, "optimize", *common, "--study-dir", "runs/a", "--auto", "light", "-y", "-q")
    assert tuned.returncode == 0, tuned.stderr
    run = luthier(directory, "evaluate", *common, "--candidate", "runs/a", "--json")
    assert json.loads(run.stdout)["mean"] == 1.0
    assert "the score flatters" in luthier(directory, "evaluate", *common, "--candidate", "runs/a").stderr


def test_what_was_paid_counts_earlier_runs_and_not_stored_answers() -> None:
    events = journal()
    cut = next(index for index, event in enumerate(events) if event["event"] == "tell")
    out = io.StringIO()
    with Progress(Console(file=out, width=300), live=False) as progress:
        progress.recall(events[:cut], Amounts(100, 900, 100))
        progress({"event": "rollout", "transient": True, "paid": {"lm_calls": 20, "tokens": 200}})
        progress(events[cut])
    assert "120" in out.getvalue() and "tokens paid" in out.getvalue()


def test_charges_of_a_shared_store_are_not_taken_for_one_studys(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    for study in ("a", "b"):
        store.open_attempt(study, "task", {"lm_calls": 1.0})
    store.close()
    assert charges(tmp_path) is None


@pytest.mark.parametrize("width", [60, 80, 110])
def test_budget_used_and_time_left_are_read_in_full_on_a_narrow_terminal(width: int) -> None:
    out = io.StringIO()
    progress = Progress(Console(file=io.StringIO(), width=width), live=True)
    for event in journal(until="tell"):
        progress(event)
    progress({"event": "rollout", "transient": True, "paid": {"lm_calls": 20, "tokens": 200}})
    progress._began = (time.monotonic() - 60.0, 0)
    Console(file=out, width=width).print(progress.render())
    told = " ".join(out.getvalue().split())
    assert "program runs" in told and "LM calls" in told and told.endswith("left")


def test_attempts_of_a_running_study_may_be_in_flight(tmp_path: Path) -> None:
    store = Store(tmp_path / STORE)
    store.open_attempt("study", "task", {"lm_calls": 1}, "lm")
    store.close()
    events = journal()
    assert remarks(read_all(events[:-1]), tmp_path / STORE) == [
        "1 attempt in flight or without a bill, charged at the worst case"
    ]
    assert remarks(read_all(events), tmp_path / STORE) == ["1 attempt without a bill, charged at the worst case"]
