"""What tables tell of results: sections, comparisons, what mattered, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.suites.claims import KEPT
from benchmarks.suites.files import DECLARED
from benchmarks.suites.page import curves
from benchmarks.suites.paper_results import paper_test
from benchmarks.suites.results import read_results
from benchmarks.suites.suite import Suite
from benchmarks.suites.tabling import tell
from luthier.errors import DataError

LM = "openai/scripted"


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
            "lm": LM,
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
        (folder / f"{number}.json").write_text(json.dumps(result), encoding="utf-8")
    if suite is not None:
        (folder / DECLARED).write_text(json.dumps(suite.to_json()), encoding="utf-8")
    return folder


def differences(folders: list[Path]) -> dict[str, dict[str, list[str]]]:
    """Return rows of the differences on test by section and comparison."""
    tables = {of.name: {title: rows for title, _, rows in of.tables()} for of in tell(folders).tasks}
    return {name: {row[0]: row for row in of.get("differences on test", [])} for name, of in tables.items()}


PAIR = Suite(("iris",), ("mipro", "mipro0"), LM, evaluations=120, comparisons=(("mipro", "mipro0"),))


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
    suite = Suite(("iris", "iris_typo"), names, LM, evaluations=120, comparisons=pairs)
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
    for result, low in zip(results, (0.1, -0.1), strict=False):
        result["insight"]["predictors"] = {"p": {"difference": 0.2, "low": low, "high": 0.3}}
    ((_, head, rows),) = [one for one in tell([write(tmp_path, *results)]).tasks[0].tables() if "mattered" in one[0]]
    assert head[-2:] == ("clearly, of seeds", "best by itself")
    assert [row[1:] for row in rows] == [
        ["p.demos", "40 %", "2 of 3", ""],
        ["p.instruction", "not clear", "0 of 3", ""],
        ["proposer.tip", "not clear", "0 of 3", "simple (2), creative (1)"],
        ["p, swapped back", "+20.0 points", "1 of 2", ""],
    ]


def test_the_papers_scores_stand_beside_the_papers_programs_alone() -> None:
    assert paper_test("mipro/paper", "iris") == 88.6
    assert paper_test("mipro", "iris_short") is None


@pytest.mark.parametrize(
    ("part", "broken"),
    [
        ("counts", {"phases": {}}),
        ("test", {"examples": ["a", "b"], "before": [0.0, 0.0], "after": [1.0]}),
        ("test", {"examples": ["a"], "before": [0.0], "after": [None]}),
        ("curve", []),
        ("curve", [[0]]),
        ("scoring", {"n": 0, "before": 0.0, "after": 0.0}),
        ("case", {**told_of()["case"], "seed": "x"}),
        ("case", {**told_of()["case"], "temperature": "hot"}),
    ],
)
def test_a_result_that_lacks_what_tables_need_is_named(part: str, broken: Any, tmp_path: Path) -> None:
    folder = write(tmp_path, {**told_of(), part: broken})
    with pytest.raises(DataError, match=r"0\.json is no result of a case: .*delete it"):
        tell([folder])


def test_what_an_error_says_breaks_no_table(tmp_path: Path) -> None:
    failed = {"case": told_of()["case"], "status": "failed", "error": "ProgramFailed: a | b <script>\n  more"}
    text = tell([write(tmp_path, failed)]).markdown()
    assert "| mipro | 1 | ProgramFailed: a \\| b &lt;script> |" in text


def test_a_chart_of_a_short_search_has_each_number_once_and_no_score_beyond_one() -> None:
    chart = curves({"mipro": [(0.0, 0.5, 0.4, 0.6), (3.0, 0.95, 0.7, 1.2)]})
    assert re.findall(r">(\d+)</text>", chart) == ["0", "1", "2", "3"]
    assert max(int(found) for found in re.findall(r">(\d+) %</text>", chart)) == 100


def test_more_lines_than_colours_are_told_apart() -> None:
    chart = curves({f"o{i}": [(0.0, i / 20, i / 20, i / 20), (9.0, 0.9, 0.9, 0.9)] for i in range(14)})
    assert chart.count('class="line dashed"') == 2 and chart.count("(dashed)") == 2
