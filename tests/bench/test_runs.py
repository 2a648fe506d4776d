"""Suites of optimizers on tasks: declared, run, resumed, and told."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.bench import running, suite
from luthier.bench.claims import KEPT
from luthier.bench.page import curves
from luthier.bench.paper_results import paper_test
from luthier.bench.running import read_results, run_case
from luthier.bench.suite import DECLARED, Case, Suite, declare, read_suite
from luthier.bench.tabling import tell
from luthier.errors import ConfigError, DataError
from luthier.lm.doubles import ScriptedLM
from luthier.lm.request import Request
from luthier.propose.tips import TIPS
from luthier.tasks.task import Task
from tests.integration import world

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
    assert declare(SUITE, tmp_path) == read_suite(tmp_path / suite.DECLARED) == SUITE


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


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tasks": ["nothing"]}, "no task 'nothing'"),
        ({"optimizers": ["best"]}, "no optimizer is called 'best'"),
        ({"comparisons": [["mipro", "mipro0"]]}, "none of the suite's optimizers"),
        ({"seed": 1}, "no 'seed'"),
        ({"seeds": "a"}, "cannot be read"),
        ({"by_task": {"scone": {}}}, "none of the suite's tasks"),
    ],
)
def test_a_suite_that_makes_no_sense_is_refused_by_name(changed: Mapping[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "suite.json"
    file.write_text(json.dumps({**SUITE.to_json(), **changed}))
    with pytest.raises(ConfigError, match=said):
        read_suite(file)


def test_what_is_no_suite_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("tasks = [")
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
    return json.loads(next((folder / "cut" / "results").glob("*.json")).read_text())["insight"]


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
    assert result["counts"]["new_rollouts"] == result["counts"]["calls_paid"] - proposals


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
    rows = tell([runs / "results"]).tasks[0].tables()[2][2]
    assert len(rows) == 2 and all("not declared" in row[0] and row[4] == "–" for row in rows)
    with pytest.raises(DataError, match="bench run writes them"):
        tell([tmp_path])


def told_of(
    task: str = "iris",
    optimizer: str = "mipro",
    seed: int = 1,
    *,
    rate: float = 0.5,
    instruction: str = "Say so.",
    insight: Mapping[str, Any] | None = None,
    **case: Any,
) -> dict[str, Any]:
    """Return what a case came to, its program right on ``rate`` of the test examples, the original on half of them."""
    n = 40
    before, after = ([float(i < share * n) for i in range(n)] for share in (0.5, rate))
    names = ("search_rollouts", "rollouts", "new_rollouts", "calls_paid", "tokens_cached", "tokens_uncached")
    return {
        "case": {
            "task": task,
            "optimizer": optimizer,
            "seed": seed,
            "lm": SUITE.lm,
            "evaluations": 120,
            "sizes": None,
            **case,
        },
        "status": "done",
        "scoring": {"n": 30, "before": 0.5, "after": rate},
        "test": {"examples": [f"e{i}" for i in range(n)], "before": before, "after": after},
        "prompts": {"p": {"instruction": instruction, "demos": 0}},
        "curve": [[0, 0.5], [120, rate]],
        "counts": {**dict.fromkeys((*names, "tokens_out"), 100), "phases": {}},
        "insight": {"variables": insight or {}},
    }


def write(folder: Path, *results: Mapping[str, Any], suite: Suite | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for number, result in enumerate(results):
        (folder / f"{number}.json").write_text(json.dumps(result))
    if suite is not None:
        (folder / DECLARED).write_text(json.dumps(suite.to_json()))
    return folder


def differences(folders: list[Path]) -> dict[str, dict[str, list[str]]]:
    """Return rows of the differences on test by section and comparison."""
    tables = {of.name: {title: rows for title, _, rows in of.tables()} for of in tell(folders).tasks}
    return {name: {row[0]: row for row in of.get("differences on test", [])} for name, of in tables.items()}


PAIR = Suite(("iris",), ("mipro", "mipro0"), SUITE.lm, evaluations=120, comparisons=(("mipro", "mipro0"),))


def test_with_one_seed_there_is_no_p_and_the_interval_is_said_to_cover_examples_only(tmp_path: Path) -> None:
    folder = write(tmp_path, told_of(rate=0.9), told_of(optimizer="mipro0"), suite=PAIR)
    row = differences([folder])["iris"]["mipro − mipro0"]
    assert row[1] == "+40.0" and row[3:5] == ["one seed", "one seed"] and row[6] == "–"
    assert "with one seed the interval covers examples only" in tell([folder]).markdown()


def test_where_both_kept_the_original_that_is_said_in_place_of_a_difference(tmp_path: Path) -> None:
    kept = [told_of(optimizer=name, seed=seed) for name in ("mipro", "mipro0") for seed in (1, 2)]
    assert differences([write(tmp_path, *kept, suite=PAIR)])["iris"]["mipro − mipro0"][1:3] == [KEPT, "–"]
    kept[0]["prompts"]["q"] = {"instruction": "Of a predictor that the others left out.", "demos": 0}
    assert differences([write(tmp_path, *kept, suite=PAIR)])["iris"]["mipro − mipro0"][1:3] == [KEPT, "–"]
    kept[-1]["prompts"]["p"]["instruction"] = "Another one, which changes no score."
    assert differences([write(tmp_path, *kept)])["iris"]["mipro − mipro0"][1] == "+0.0"


def test_the_original_is_told_with_the_mean_of_what_every_optimizer_measured_of_it(tmp_path: Path) -> None:
    results = [told_of(), told_of(optimizer="mipro0"), told_of(seed=2)]
    results[0]["scoring"]["before"], results[0]["test"]["before"] = 0.9, [1.0] * 40
    scores = tell([write(tmp_path, *results)]).tasks[0].tables()[0][2]
    assert scores[-1][:4] == ["original", "2", "60.0 ± 14.1", "62.5 ± 17.7"]


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_curves_that_never_rise_stay_within_their_chart(score: float) -> None:
    chart = curves({"mipro": [(0.0, score, score, score), (40.0, score, score, score)]})
    heights = [float(found) for found in re.findall(r'y\d?="([-\d.]+)"', chart)]
    heights += [float(place.split(",")[1]) for place in re.findall(r'points="([^"]+)"', chart)[0].split()]
    assert len(set(heights)) > 6 and min(heights) >= 0 and max(heights) <= 420
    written = [int(found) for found in re.findall(r">(\d+) %</text>", chart)]
    assert min(written) <= 100 * score <= max(written) <= 100


@pytest.mark.parametrize(
    ("other", "headings"),
    [
        ({"evaluations": 200}, ["iris, 120 evaluations, LM a", "iris, 200 evaluations, LM a"]),
        ({"evaluations": None}, ["iris, 120 evaluations, LM a", "iris, the optimizers' own budgets, LM a"]),
        ({"lm": "b"}, ["iris, 120 evaluations, LM a", "iris, 120 evaluations, LM b"]),
        (
            {"sizes": [9, 9, 9]},
            ["iris, 120 evaluations, LM a, the task's own sizes", "iris, 120 evaluations, LM a, sizes 9/9/9"],
        ),
        (
            {"temperature": 0.7},
            ["iris, 120 evaluations, LM a, the LM's own temperature", "iris, 120 evaluations, LM a, at 0.7"],
        ),
        (
            {"proposer_lm": "c"},
            ["iris, 120 evaluations, LM a, proposer the same", "iris, 120 evaluations, LM a, proposer c"],
        ),
        ({"task": "iris_typo"}, ["iris", "iris_typo"]),
    ],
)
def test_results_of_other_lms_budgets_or_sizes_are_sections_of_their_own(
    other: Mapping[str, Any], headings: list[str], tmp_path: Path
) -> None:
    told = tell([write(tmp_path / "a", told_of(lm="a")), write(tmp_path / "b", told_of(**{"lm": "a", **other}))])
    assert [of.name for of in told.tasks] == headings
    assert [len(own) for of in told.tasks for own in of.results.values()] == [1, 1]


def test_two_results_of_one_case_are_refused_by_the_names_of_their_files(tmp_path: Path) -> None:
    folders = [write(tmp_path / name, told_of()) for name in "ab"]
    with pytest.raises(DataError, match=r"a/0\.json and .*b/0\.json are results of the same case"):
        tell(folders)
    assert len(read_results([folders[0], folders[0]])) == 1, "a folder that is named twice is one folder"


def test_one_optimizer_with_different_n_is_not_told_as_one(tmp_path: Path) -> None:
    folders = [write(tmp_path / "a", told_of()), write(tmp_path / "b", told_of(seed=2, candidates=9))]
    with pytest.raises(DataError, match="its own and 9 candidates"):
        tell(folders)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*typo"):
        tell([write(tmp_path, told_of()), tmp_path / "typo"])


def test_comparisons_are_those_of_the_folder_that_declares_them(tmp_path: Path) -> None:
    both = [told_of(optimizer=name, seed=seed) for name in ("mipro", "mipro0") for seed in (1, 2)]
    of_b = [{**result, "case": {**result["case"], "task": "iris_typo"}} for result in both]
    folders = [write(tmp_path / "a", *both, suite=PAIR), write(tmp_path / "b", *of_b)]
    told = differences(folders)
    assert list(told["iris"]) == ["mipro − mipro0"]
    assert list(told["iris_typo"]) == ["mipro − mipro0 (not declared)"]
    further = [told_of(optimizer=name, seed=3) for name in ("mipro", "mipro0")]
    pooled = [folders[0], write(tmp_path / "c", *further)]
    assert differences(pooled)["iris"]["mipro − mipro0"][5] == "2 × 40", "seeds that nobody declared are not claimed on"


def test_holms_correction_counts_comparisons_that_have_no_result_yet(tmp_path: Path) -> None:
    names = ("mipro", "mipro0", "opro", "opro-g")
    pairs = (("mipro", "mipro0"), ("mipro", "opro"), ("opro", "opro-g"))
    suite = Suite(("iris", "iris_typo"), names, SUITE.lm, evaluations=120, comparisons=pairs)
    runs = [told_of(optimizer=o, seed=s, rate=r) for o, r in (("mipro", 0.65), ("mipro0", 0.5)) for s in (1, 2)]
    folder = write(tmp_path, *runs, told_of(optimizer="opro"), suite=suite)
    told = differences([folder])["iris"]
    p, corrected = (float(told["mipro − mipro0"][place]) for place in (3, 4))
    assert 0 < p < 1 / 6 and corrected == pytest.approx(6 * p, abs=0.004)
    assert told["mipro − opro"][3:5] == ["one seed", "one seed"]
    lead = tell([folder]).markdown()
    assert "over 6 comparisons" in lead and "seeds may have been added to a suite after looking" in lead


def test_shares_are_told_where_they_are_clear_and_learned_settings_with_their_best_level(tmp_path: Path) -> None:
    def insight(share: float, p: float, **more: Any) -> dict[str, Any]:
        return {"share": share, "p": p, "best": "b2:0", **more}

    variables = [
        {
            "p.demos": insight(0.4, 0.01),
            "p.instruction": insight(1.0, 0.235),
            "proposer.tip": insight(0.2, 0.3, label=tip),
        }
        for tip in ("simple", "creative", "simple")
    ]
    variables[1]["p.demos"] = insight(0.9, 0.4)
    results = [told_of(seed=seed, insight=found) for seed, found in enumerate(variables)]
    ((_, head, rows),) = [one for one in tell([write(tmp_path, *results)]).tasks[0].tables() if "mattered" in one[0]]
    assert head[-2:] == ("clearly, of seeds", "best by itself")
    assert [row[1:] for row in rows] == [
        ["p.demos", "40 %", "2 of 3", ""],
        ["p.instruction", "not clear", "0 of 3", ""],
        ["proposer.tip", "not clear", "0 of 3", "simple (2), creative (1)"],
    ]


def test_a_case_keeps_its_learned_settings_readable(tmp_path: Path) -> None:
    case = Case("iris", "mipro0++", "openai/scripted", 1, 400)
    result = run_case(case, tmp_path, made(ScriptedLM(world.answer)))
    learned = {n: v["label"] for n, v in result["insight"]["variables"].items() if n.startswith("proposer.")}
    assert learned["proposer.history"] in ("True", "False") and learned["proposer.tip"] in TIPS


def test_the_papers_scores_stand_beside_the_papers_programs_alone() -> None:
    assert paper_test("mipro/paper", "iris") == 88.6
    assert paper_test("mipro", "iris_short") is None
