"""Suites of optimizers on tasks: declared, run, resumed, and told."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from benchmarks.suites import running
from benchmarks.suites.files import DECLARED, write_json
from benchmarks.suites.results import read_results
from benchmarks.suites.running import run_case
from benchmarks.suites.suite import Case, Suite, declare, read_suite
from benchmarks.suites.tabling import tell
from benchmarks.tasks.task import Task
from luthier.errors import ConfigError, DataError
from luthier.lm.doubles import ScriptedLM
from luthier.lm.request import Request
from luthier.propose.tips import TIPS
from tests.studies import world

NUMBERS = Task(
    name="numbers",
    program=world.describe,
    metric=lt.exact_match("answer"),
    examples=lambda: world.rows(120),
    sizes=(30, 30, 40),
    inputs=("number",),
)
PARITY = Task(
    name="parity",
    program=world.parity,
    metric=lt.exact_match("parity"),
    examples=lambda: [*world.rows(110), *world.rows(10)],  # some of them twice
    sizes=(30, 30, 40),
    inputs=("number",),
)
SUITE = Suite(
    tasks=("iris",),
    optimizers=("mipro", "labeled-few-shot", "opro"),
    lm="openai/scripted",
    seeds=(1, 2),
    evaluations=120,
    comparisons=(("mipro", "labeled-few-shot"), ("mipro", "opro")),
)


class Interrupted(Exception):
    """Raised by a listener."""


@pytest.fixture(autouse=True)
def _numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every task be the small world's."""
    monkeypatch.setattr(running, "task", lambda name: NUMBERS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "task", lambda name: NUMBERS)
        for case in declare(SUITE, folder).cases():
            run_case(case, folder, made(ScriptedLM(world.answer)))
    return folder


def made(lm: Any) -> running.MakeLM:
    return lambda name, longest: lt.LM(lm, max_tokens=longest)


def test_a_suite_read_back_from_its_declaration_is_the_same(tmp_path: Path) -> None:
    assert declare(SUITE, tmp_path) == read_suite(tmp_path / DECLARED) == SUITE


def test_tasks_and_seeds_may_join_a_suite_but_its_comparisons_stay(tmp_path: Path) -> None:
    declare(SUITE, tmp_path)
    more = Suite(tasks=("iris_typo",), optimizers=("mipro0",), lm=SUITE.lm, seeds=(3,), evaluations=120)
    joined = declare(more, tmp_path)
    assert (joined.seeds, joined.optimizers[-1], joined.comparisons) == ((1, 2, 3), "mipro0", SUITE.comparisons)
    other = Suite(
        **{
            **{f: getattr(SUITE, f) for f in ("tasks", "optimizers", "lm", "evaluations")},
            "comparisons": (("opro", "mipro"),),
        }
    )
    with pytest.raises(ConfigError, match="another comparisons"):
        declare(other, tmp_path)


def test_tasks_of_other_sizes_may_join_a_suite_but_not_other_sizes_of_a_task(tmp_path: Path) -> None:
    def of(name: str, *sizes: int) -> Suite:
        return Suite((name,), ("mipro",), SUITE.lm, by_task={name: {"sizes": sizes}})

    declare(of("iris", 20, 20, 20), tmp_path)
    joined = declare(of("scone", 30, 30, 30), tmp_path)
    assert joined.tasks == ("iris", "scone") and joined.by_task.keys() == {"iris", "scone"}
    assert declare(of("iris", 20, 20, 20), tmp_path) == read_suite(tmp_path / DECLARED)
    with pytest.raises(ConfigError, match=r"another sizes of iris: \[20, 20, 20\] there, \[20, 20, 30\] here"):
        declare(of("iris", 20, 20, 30), tmp_path)


def test_what_is_named_twice_is_run_once() -> None:
    assert len(list(Suite(("iris", "iris"), ("mipro", "mipro"), SUITE.lm, seeds=(1, 1)).cases())) == 1


def test_comparisons_are_not_declared_after_results(tmp_path: Path) -> None:
    write_json(tmp_path / "results" / "one.json", {})
    with pytest.raises(ConfigError, match="declared before the first run"):
        declare(SUITE, tmp_path)


def test_the_result_of_another_case_is_not_taken_for_this_one(runs: Path) -> None:
    case = next(SUITE.cases())
    with pytest.raises(ConfigError, match="its lm is 'openai/scripted', here it is 'openai/other'; take another --out"):
        run_case(replace(case, lm="openai/other"), runs, made(ScriptedLM(world.answer)))


def test_a_result_that_was_cut_off_is_named_and_told_anew_from_its_study(tmp_path: Path) -> None:
    case, lm = Case("iris", "labeled-few-shot", "openai/scripted", 1, 120), ScriptedLM(world.answer)
    expected = json.loads(json.dumps(run_case(case, tmp_path, made(lm))))
    (file,) = (tmp_path / "results").glob("*.json")
    for broken, why in (
        (file.read_text(encoding="utf-8")[:100], "cannot be read"),
        (json.dumps({"case": expected["case"]}), "no result of a case"),
        (json.dumps({"case": {**expected["case"], "colour": 1}, "status": "done"}), "no result of a case"),
        (json.dumps({**expected, "counts": None} | {"status": "failed"}), "lacks 'error'"),
    ):
        file.write_text(broken, encoding="utf-8")
        with pytest.raises(DataError, match=rf"{re.escape(str(file))} .*{why}"):
            tell([tmp_path])
        calls = lm.calls
        assert run_case(case, tmp_path, made(lm))["test"] == expected["test"]
        assert lm.calls == calls, "nothing is paid for again"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tasks": ["nothing"]}, "no task 'nothing'"),
        ({"optimizers": ["best"]}, "no optimizer is called 'best'"),
        ({"comparisons": [["mipro", "mipro0"]]}, "none of the suite's optimizers"),
        ({"seed": 1}, "no 'seed'"),
        ({"comparisons": [["mipro", "mipro"]]}, "names 'mipro' twice"),
        ({"seeds": "a"}, "cannot be read"),
        ({"seeds": [-1]}, "-1 is no whole number"),
        ({"by_task": {"scone": {}}}, "none of the suite's tasks"),
    ],
)
def test_a_suite_that_makes_no_sense_is_refused_by_name(changed: Mapping[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "suite.json"
    file.write_text(json.dumps({**SUITE.to_json(), **changed}), encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        read_suite(file)


def test_what_is_no_suite_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("tasks = [", encoding="utf-8")
    with pytest.raises(DataError, match="is no suite"):
        read_suite(tmp_path / "a.toml")


def test_an_interrupted_case_goes_on_where_it_was_and_a_finished_one_is_read(tmp_path: Path) -> None:
    case, lm = Case("iris", "mipro", "openai/scripted", 1, 120), ScriptedLM(world.answer)
    whole = ScriptedLM(world.answer)
    expected = run_case(case, tmp_path / "whole", made(whole))

    def stop(event: Mapping[str, Any]) -> None:
        if event["event"] == "tell" and event["trial"] == 5:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_case(case, tmp_path / "cut", made(lm), on_event=stop)
    assert run_case(case, tmp_path / "cut", made(lm))["test"] == expected["test"]
    assert lm.calls == whole.calls, "nothing is paid for twice"
    assert run_case(case, tmp_path / "cut", made(lm)) == json.loads(json.dumps(expected)) | {
        "insight": any_insight(tmp_path)
    }
    assert lm.calls == whole.calls


def any_insight(folder: Path) -> Any:
    return json.loads(next((folder / "cut" / "results").glob("*.json")).read_text(encoding="utf-8"))["insight"]


def test_a_case_that_fails_is_written_down_and_does_not_end_the_suite(tmp_path: Path) -> None:
    case = Case("iris", "mipro", "openai/scripted", 1, 5)
    result = run_case(case, tmp_path, made(ScriptedLM(world.answer)))
    assert result["status"] == "failed"
    assert "two full evaluations" in result["error"]
    assert tell([tmp_path]).tasks[0].tables()[-1][2][0][0] == "mipro"


def test_counts_are_those_of_the_study(runs: Path) -> None:
    for result in read_results([runs]):
        counts = result["counts"]
        assert counts["search_rollouts"] <= 120
        assert counts["rollouts"] >= counts["new_rollouts"] > counts["search_rollouts"] / 2
        assert 0 < counts["calls_paid"] <= sum(phase["calls_asked"] for phase in counts["phases"].values())
        assert {"baseline", "bootstrap", "verdict"} <= counts["phases"].keys() or result["case"]["optimizer"] != "mipro"
        assert counts["tokens_uncached"] > 1000 and counts["tokens_out"] > 100
        assert result["curve"][0][0] == 0 and result["curve"][-1][0] == counts["search_rollouts"]
        assert result["curve"][-1][1] == result["scoring"]["after"]


@pytest.mark.parametrize("optimizer", [*SUITE.optimizers, "mipro0", "mipro0/paper", "mipro++", "mipro++/paper"])
@pytest.mark.parametrize("gains", [True, False])
def test_of_a_program_of_one_predictor_each_new_run_takes_one_paid_call(
    optimizer: str, gains: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: Request) -> str:
        no_better = world.asked_for(request) is not None and not gains
        return "even" if no_better else world.answer(request)

    monkeypatch.setattr(running, "task", lambda name: PARITY)
    lm = ScriptedLM(answer)
    result = run_case(Case("iris", optimizer, "openai/scripted", 1, 120), tmp_path, made(lm))
    proposals = sum(world.asked_for(request) is None for request in lm.requests)
    assert gains or (result["decision"], result["prompts"]["parity"]["demos"]) == ("keep", 0)
    counts = result["counts"]
    assert counts["new_rollouts"] == counts["calls_paid"] - proposals
    assert counts["new_rollouts"] <= counts["rollouts"]
    if (demos := counts["phases"].get("bootstrap")) is not None:  # MIPRO++ has one for each temperature
        assert demos["rollouts"] == demos["calls_asked"] > 0


def test_swapping_a_prompt_back_to_a_program_that_was_met_is_no_new_run(tmp_path: Path) -> None:
    result = run_case(Case("iris", "ca-opro", "openai/scripted", 1, 120), tmp_path, made(ScriptedLM(world.answer)))
    counts = result["counts"]
    # It changes one predictor, so without that change it is the original, which the baseline has run.
    assert len(result["insight"]["predictors"]) == 1 and counts["phases"]["insight"]["rollouts"] == 30
    assert counts["new_rollouts"] == counts["rollouts"] - 30


def test_tables_tell_scores_counts_and_the_declared_comparisons_corrected(runs: Path) -> None:
    told = tell([runs])
    tables = {title.split(":")[0].split(",")[0]: rows for title, _, rows in told.tasks[0].tables()}
    assert [row[0] for row in tables["scores"]][-1] == "original"
    assert {row[1] for row in tables["scores"]} == {"2"}
    claims = {row[0]: row for row in tables["differences on test"]}
    assert claims.keys() == {"mipro − labeled-few-shot", "mipro − opro"}
    assert all(row[4] >= row[3] or row[3] == "< 0.001" for row in claims.values())
    page = told.html()
    assert page.count("<svg") == 1 and "http" not in page.replace("http-equiv", "")
    assert "| mipro − opro |" in told.markdown()


def test_without_a_declaration_the_best_is_held_against_the_others_and_that_is_said(runs: Path, tmp_path: Path) -> None:
    assert tell([runs / "results"]).markdown() == tell([runs]).markdown(), "the declaration stands beside them"
    alone = tell([shutil.copytree(runs / "results", tmp_path / "alone")])
    rows = alone.tasks[0].tables()[2][2]
    assert len(rows) == 2 and all("not declared" in row[0] and row[4] == "–" for row in rows)
    assert "it is not known which comparisons were declared" in alone.markdown()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="run writes them"):
        tell([tmp_path / "empty"])


def test_a_case_keeps_its_learned_settings_readable(tmp_path: Path) -> None:
    case = Case("iris", "mipro0++", "openai/scripted", 1, 400)
    result = run_case(case, tmp_path, made(ScriptedLM(world.answer)))
    learned = {n: v["label"] for n, v in result["insight"]["variables"].items() if n.startswith("proposer.")}
    assert learned["proposer.history"] in ("True", "False") and learned["proposer.tip"] in TIPS
