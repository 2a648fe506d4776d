"""Tuning again: prompts to start from are tried whole and first, and the verdict is against what is deployed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import CandidateError, ConfigError, DataError, StudyMismatch
from luthier.lm.doubles import ScriptedLM
from luthier.program.candidate import Demo, DemoSource, Prompt, Provenance
from luthier.program.program import discover
from tests.lengths import in_rings
from tests.optimizers.studies import Interrupted, event, journal, stop_after, told, tune
from tests.studies import world

SEARCH = lt.MIPRO(candidates=3, demo_sizes=(0, 3), instructions=2, trials=4, minibatch=6, closing=1)
ONE_OF_EACH_SHAPE = (
    "mipro",
    "reflect",
    "mipro0",
    "mipro++",
    "bayesian-bootstrap",
    "bootstrap-random-search",
    "opro/paper",
    "ca-opro",
    "random-search-opro",
    "labeled-few-shot",
)
FINGERPRINTS = discover(world.describe).original.fingerprints


def candidate(parity: str = "", size: str = "", *, demos: int = 0) -> lt.Candidate:
    """Return prompts; an instruction with "carefully" in it and many demos are better ones."""
    shown = tuple(
        Demo({"number": str(i)}, {"size": world.truth("size", i)}, None, Provenance(DemoSource.WRITTEN))
        for i in range(1000, 1000 + demos)
    )
    prompts = {"parity": Prompt(parity), "size": Prompt(size, shown)}
    return lt.Candidate({n: p for n, p in prompts.items() if p.instruction or p.demos}, FINGERPRINTS)


GOOD = candidate("Look carefully at the number.", "Look carefully, and say small or large.", demos=6)
BAD = candidate("Say something.", "Say anything.")


def test_a_start_is_scored_whole_and_first_and_the_original_stays_a_candidate(tmp_path: Path) -> None:
    tune(tmp_path / "s", SEARCH, start=[BAD, GOOD])
    manifest, space, starts = (event(tmp_path / "s", name) for name in ("manifest", "space", "starts"))
    assert manifest["start"]["deployed"] is not None
    assert len(manifest["start"]["tried"]) == 2
    names = [found["event"] for found in journal(tmp_path / "s")]
    assert names.index("starts") < names.index("ask")
    val = event(tmp_path / "s", "split")["val"]
    assert [trial["number"] for trial in starts["trials"]] == [1, 2]
    assert all([o["example"] for o in trial["outcomes"]] == val for trial in starts["trials"])
    assert told(tmp_path / "s")[0][0]["trial"] == 3
    first = {v["name"]: space["payloads"][v["name"]][v["levels"][0]] for v in space["variables"]}
    assert first["size.instruction"]["instruction"] == "Say anything."
    levels = space["payloads"]["size.instruction"].values()
    assert {"Say anything.", "Say whether the number is small.", GOOD.prompts["size"].instruction} <= {
        level["instruction"] for level in levels
    }


def test_the_verdict_is_against_what_is_deployed_and_that_is_what_stays(tmp_path: Path) -> None:
    result = tune(tmp_path / "s", SEARCH, start=[GOOD])
    baseline = event(tmp_path / "s", "baseline")
    evaluated = lt.evaluate(
        world.describe,
        world.rows(100),
        lt.exact_match("answer"),
        lm=lt.LM(ScriptedLM(world.answer)),
        candidate=GOOD,
    )
    by_id = evaluated.scores
    assert baseline["mean"] == pytest.approx(sum(by_id[o["example"]] for o in baseline["outcomes"]) / baseline["n"])
    test = event(tmp_path / "s", "split")["test"]
    assert result.verdict.before == pytest.approx(sum(by_id[example] for example in test) / len(test))
    assert result.decision in ("keep", "undecided")
    assert result.candidate.prompts["size"] == GOOD.prompts["size"]
    assert result.candidate.prompts["parity"].instruction == "Look carefully at the number."
    if result.decision == "keep":
        assert result.verdict.sentence.startswith("Keep what is deployed")
    page = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert "Deployed" in page and "Look carefully at the number." in page


def test_the_word_original_makes_the_programs_own_prompts_what_is_compared_with(tmp_path: Path) -> None:
    result = tune(tmp_path / "s", SEARCH, start=["original", GOOD])
    assert event(tmp_path / "s", "manifest")["start"]["deployed"] is None
    assert result.decision == "adopt"
    trial = event(tmp_path / "s", "starts")["trials"][0]
    # Nothing that was searched for has to beat it: the start itself can be chosen.
    assert event(tmp_path / "s", "choice")["mean"] >= sum(o["value"] for o in trial["outcomes"]) / 35


def test_a_start_may_be_saved_prompts_or_a_studys_directory_and_counts_by_content(tmp_path: Path) -> None:
    GOOD.save(tmp_path / "prompts")
    (tmp_path / "study").mkdir()
    GOOD.save(tmp_path / "study" / "prompts")
    tune(tmp_path / "s", SEARCH, start=[str(tmp_path / "prompts")])
    calls = len(journal(tmp_path / "s"))
    tune(tmp_path / "s", SEARCH, start=[tmp_path / "study"])  # the same prompts: the same, finished study
    assert len(journal(tmp_path / "s")) == calls
    with pytest.raises(StudyMismatch, match=r"start\.deployed"):
        tune(tmp_path / "s", SEARCH, start=[BAD])


def test_prompts_made_for_other_fields_are_refused_by_name(tmp_path: Path) -> None:
    drifted = lt.Candidate({"size": Prompt("Say it.")}, {"size": "size(colour) -> size # 123"})
    with pytest.raises(CandidateError, match=r"predictor 'size' was made for `size\(colour\)"):
        tune(tmp_path / "s", SEARCH, start=[drifted])
    with pytest.raises(CandidateError, match="'sise'"):
        tune(tmp_path / "s", SEARCH, start=[lt.Candidate({"sise": Prompt("Say it.")})])
    for wrong in (GOOD, "prompts"):
        with pytest.raises(ConfigError, match="start= is a list"):
            tune(tmp_path / "s", SEARCH, start=wrong)
    with pytest.raises(CandidateError, match="nowhere"):
        tune(tmp_path / "s", SEARCH, start=[tmp_path / "nowhere"])
    assert not (tmp_path / "s").exists()


def test_examples_that_a_start_shows_are_learnt_from_and_neither_choose_nor_judge(tmp_path: Path) -> None:
    tune(tmp_path / "plain", SEARCH)
    split = event(tmp_path / "plain", "split")
    shown = [split["val"][0], split["test"][0], split["test"][1], split["train"][0]]
    number = {"parity": "even"}
    demos = tuple(
        Demo({"number": "7"}, number, None, Provenance(DemoSource.LABELED, example=example, predictor="parity"))
        for example in shown
    )
    by_hand = Demo({"number": str(_number(tmp_path / "plain", split["test"][2]))}, number)
    start = lt.Candidate({"parity": Prompt("Say whether it is even.", (*demos, by_hand))}, FINGERPRINTS)
    tune(tmp_path / "s", SEARCH, start=[start])
    now = event(tmp_path / "s", "split")
    assert not {*now["val"], *now["test"]} & {*shown, split["test"][2]}
    assert {*shown, split["test"][2]} <= set(now["train"])
    assert (len(now["val"]), len(now["test"])) == (34, 37)
    assert any(note.startswith("4 examples are learnt from only") for note in event(tmp_path / "s", "plan")["notes"])


def test_a_start_that_shows_every_held_out_example_is_refused(tmp_path: Path) -> None:
    rows = world.rows(80)
    demos = tuple(Demo({"number": row["number"]}, {"parity": row["parity"]}) for row in rows[70:])
    start = lt.Candidate({"parity": Prompt("Say it.", demos)}, FINGERPRINTS)
    with pytest.raises(DataError, match="every example of the test part"):
        tune(tmp_path / "s", SEARCH, start=[start], data=lt.Splits(rows[:30], rows[30:70], rows[70:]))


@pytest.mark.parametrize("name", in_rings(ONE_OF_EACH_SHAPE, ["mipro", "reflect", "opro"]))
def test_every_optimizer_starts_from_prompts_and_resumes_to_the_same_journal(name: str, tmp_path: Path) -> None:
    start = [candidate("Say whether it is even or odd.", demos=2), GOOD]
    settings: dict[str, Any] = {"start": start, "auto": 150}
    lm = ScriptedLM(world.answer)
    tune(tmp_path / "whole", name, lm=lt.LM(lm), **settings)
    expected = journal(tmp_path / "whole")
    again, rng = ScriptedLM(world.answer), random.Random(name)
    for _ in range(2):
        with pytest.raises(Interrupted):
            listener = stop_after(rng.randint(2, len(expected) // 4))
            tune(tmp_path / "cut", name, lm=lt.LM(again), on_event=listener, **settings)
    tune(tmp_path / "cut", name, lm=lt.LM(again), **settings)
    assert journal(tmp_path / "cut") == expected
    assert again.calls == lm.calls
    points = [trial["point"] for trial in event(tmp_path / "whole", "starts")["trials"]]
    assert len(points) == 2  # the second start, and the program's own prompts
    assert not any(ask["point"] in points and ask["purpose"] == "full" for ask, _ in told(tmp_path / "whole"))
    table = event(tmp_path / "whole", "choice")["table"]
    assert all(any(row["point"] == point for row in table) for point in points)


def test_the_plan_counts_the_starts_and_a_budget_that_cannot_pay_them_is_refused(tmp_path: Path) -> None:
    tune(tmp_path / "s", SEARCH, start=[BAD, GOOD])
    planned = {phase["name"]: phase for phase in event(tmp_path / "s", "plan")["phases"]}
    assert planned["starts"]["rollouts"] == 2 * 35
    # 2 × 35 + 2 × 40 program runs of two calls are 300; the starts take 140 more.
    with pytest.raises(lt.LuthierError, match="cannot pay for the original"):
        tune(tmp_path / "t", SEARCH, start=[BAD, GOOD], budget=lt.Budget(lm_calls=400))


def _number(directory: Path, example: str) -> int:
    """Return the number that a test example is about; its row is that number, from 1."""
    return int(event(directory, "split")["numbers"][example]) - 1
