"""Verdicts: ties, groups, and looks at the same test examples."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import ConfigError
from luthier.evaluation.rollout import Job, Outcome, Rollout, Score
from luthier.lm.doubles import ScriptedLM
from luthier.program.candidate import Candidate
from luthier.program.trace import Trace
from luthier.runner.verdict import verdict_event
from luthier.study.events import to_json
from luthier.study.looks import looks_file
from tests.optimizers.studies import event, journal, tune
from tests.studies import world


def rollouts(values: Sequence[float]) -> list[Rollout]:
    return [
        Rollout(Job(Candidate({}), f"e{i}"), Outcome.SCORED, Score(value), None, Trace())
        for i, value in enumerate(values)
    ]


def verdict(before: Sequence[float], after: Sequence[float], **given: Any) -> dict[str, Any]:
    settings = {"look": 1, "groups": None, "same": False, "rivals": 1, "seed": 0, **given}
    return to_json(verdict_event(rollouts(before), rollouts(after), **settings))


def test_a_tie_keeps_the_original() -> None:
    assert verdict([0, 1, 1, 0] * 10, [1, 0, 1, 0] * 10)["decision"] == "keep"
    assert verdict([1] * 40, [1] * 40)["decision"] == "keep"


def test_a_small_gain_is_undecided_and_a_large_one_adopted() -> None:
    before = [0.0] * 40
    assert verdict(before, [1.0] * 2 + [0.0] * 38)["decision"] == "undecided"
    assert verdict(before, [1.0] * 20 + [0.0] * 20)["decision"] == "adopt"
    assert verdict([1.0] * 40, [0.0] * 20 + [1.0] * 20)["decision"] == "keep"


def test_the_kth_look_asks_for_more() -> None:
    before, after = [0.0] * 60, [1.0] * 6 + [0.0] * 54
    first, third = verdict(before, after), verdict(before, after, look=3)
    assert (first["level"], third["level"]) == (0.95, pytest.approx(1 - 0.1 / 12))
    assert (first["decision"], third["decision"]) == ("adopt", "undecided")
    assert third["low"] < first["low"]
    assert third["smallest_detectable"] > first["smallest_detectable"]
    assert "99.17 %" in third["sentence"] and "look 3" in third["sentence"] and "look" not in first["sentence"]


@pytest.mark.parametrize("look", [1, 2, 10, 30, 100, 1000])
def test_no_interval_claims_to_be_certain(look: int) -> None:
    sentence = verdict([0.0] * 40, [1.0] * 2 + [0.0] * 38, look=look)["sentence"]
    assert " 100 %" not in sentence.partition("points, ")[2]


@pytest.mark.parametrize("n", [24, 30, 40, 200])
@pytest.mark.parametrize("gained", [1, 2, 3])
def test_undecided_speaks_of_the_interval_it_measured_and_of_nothing_assumed(n: int, gained: int) -> None:
    found = verdict([0.0] * n, [1.0] * gained + [0.0] * (n - gained))
    assert found["decision"] == "undecided"
    for end in (found["low"], found["high"]):
        assert f"{abs(100 * end):.1f} points" in found["sentence"].partition("chance")[2]
    assert "detect" not in found["sentence"] and "can hardly" not in found["sentence"]


def test_few_test_examples_have_no_smallest_detectable_gain_and_may_show_a_large_one_all_the_same() -> None:
    found = verdict([0.0] * 24, [1.0] * 12 + [0.0] * 12)
    assert (found["decision"], found["smallest_detectable"]) == ("adopt", None)


def test_groups_are_resampled_whole() -> None:
    before, after = [0.0] * 40, [1.0] * 10 + [0.0] * 30
    groups = {f"e{i}": "first" if i < 10 else f"g{i // 10}" for i in range(40)}
    alone, grouped = verdict(before, after), verdict(before, after, groups=groups)
    assert alone["decision"] == "adopt"
    assert grouped["high"] - grouped["low"] > alone["high"] - alone["low"]
    assert grouped["decision"] == "undecided"


def test_the_sentence_says_why_the_original_is_kept() -> None:
    assert "no other candidate did better" in verdict([1.0] * 9, [1.0] * 9, same=True)["sentence"]
    assert "no other candidate was scored on all" in verdict([1.0] * 9, [1.0] * 9, same=True, rivals=0)["sentence"]


def test_studies_count_their_looks_and_those_that_share_a_store_pay_for_no_answer_twice(tmp_path: Path) -> None:
    lm, store = ScriptedLM(world.answer), tmp_path / "shared" / "store.sqlite"
    tune(tmp_path / "a", lm=lt.LM(lm), store=store)
    first = lm.calls
    tune(tmp_path / "b", lm=lt.LM(lm), store=store, seed=1)
    assert lm.calls - first < 0.9 * first, "the original's answers are there"
    looks = [event(tmp_path / name, "verdict") for name in "ab"]
    assert [(look["look"], look["level"]) for look in looks] == [(1, 0.95), (2, pytest.approx(1 - 0.1 / 6))]
    assert not (tmp_path / "a" / "store.sqlite").exists()
    tune(tmp_path / "c", lm=lt.LM(lm), seed=2)
    assert event(tmp_path / "c", "verdict")["look"] == 3, "without the shared store, too"


QUICK = "labeled-few-shot"


def look_of(directory: Path, **given: Any) -> int:
    tune(directory, QUICK, **given)
    return int(event(directory, "verdict")["look"])


def test_a_study_that_is_repeated_and_comes_to_the_same_is_the_same_look(tmp_path: Path) -> None:
    assert [look_of(tmp_path / name) for name in "ab"] == [1, 1]
    assert look_of(tmp_path / "c", seed=1) == 2
    assert look_of(tmp_path / "d") == 1, "it was the first, and stays it"
    assert journal(tmp_path / "d") == journal(tmp_path / "a")


def test_a_repeated_study_that_comes_to_something_else_is_another_look(tmp_path: Path) -> None:
    lucky = random.Random(0)

    def metric(example: Mapping[str, Any], prediction: str) -> bool:
        return lucky.random() < 0.5

    assert [look_of(tmp_path / name, metric=metric) for name in "ab"] == [1, 2]


def test_other_test_examples_begin_with_a_first_look(tmp_path: Path) -> None:
    rows = world.rows(200)
    assert [look_of(tmp_path / name, data=data) for name, data in (("a", rows[:100]), ("b", rows[100:]))] == [1, 1]


def test_test_examples_that_mostly_stay_are_the_same(tmp_path: Path) -> None:
    rows = world.rows(200)
    first = lt.Splits(rows[:20], rows[20:60], rows[60:100])
    moved = lt.Splits(rows[:20], rows[20:60], rows[70:110])
    most_are_new = lt.Splits(rows[:20], rows[20:60], rows[95:135])
    found = [look_of(tmp_path / str(n), data=data) for n, data in enumerate((first, moved, most_are_new))]
    assert found == [1, 2, 1]


def test_looks_can_be_counted_beside_the_data_and_a_shared_store_counts_those_of_others(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine.sqlite", tmp_path / "theirs.sqlite"
    assert look_of(tmp_path / "a", looks=mine) == 1
    assert look_of(tmp_path / "b", looks=theirs, seed=1) == 1
    assert look_of(tmp_path / "c", looks=mine, seed=2) == 2
    shared = tmp_path / "store.sqlite"
    assert look_of(tmp_path / "d", looks=mine, seed=3, store=shared) == 3
    assert look_of(tmp_path / "e", looks=theirs, seed=4, store=shared) == 3, "theirs, its own, and that of the store"


def test_a_study_whose_look_cannot_be_counted_ends_with_its_verdict_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = tune(tmp_path / "s", QUICK, looks=tmp_path / "file" / "looks.sqlite")
    assert result.verdict.n == 40 and event(tmp_path / "s", "done")
    (warning,) = event(tmp_path / "s", "verdict")["warnings"]
    assert "looks.sqlite" in warning and "LUTHIER_LOOKS" in warning
    assert warning in result.report.read_text(encoding="utf-8") or "cannot be counted" in result.report.read_text(
        encoding="utf-8"
    )


def test_a_study_that_reads_no_test_examples_takes_no_look(tmp_path: Path) -> None:
    tune(tmp_path / "few", QUICK, examples=50)
    assert not looks_file().exists()


def test_the_environment_names_the_shared_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_STORE", str(tmp_path / "store.sqlite"))
    for name in "ab":
        tune(tmp_path / name, "labeled-few-shot", seed=ord(name))
    assert event(tmp_path / "b", "verdict")["look"] == 2


def test_a_store_that_cannot_be_written_is_found_before_any_call(tmp_path: Path) -> None:
    lm = ScriptedLM(world.answer)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot write the store"):
        tune(tmp_path / "s", lm=lt.LM(lm), store=tmp_path / "file" / "store.sqlite")
    assert lm.calls == 0


def test_fewer_than_sixty_examples_get_no_verdict_but_a_best_candidate(tmp_path: Path) -> None:
    result = tune(tmp_path / "s", examples=50)
    assert (result.decision, result.verdict.n) == ("undecided", 0)
    assert result.candidate != result.best
    assert "held out" in result.verdict.sentence and "60" in result.verdict.sentence


def test_the_verdict_reads_only_the_test_rows_and_nothing_else_reads_them(tmp_path: Path) -> None:
    seen: list[str] = []

    def metric(example: Mapping[str, Any], prediction: str) -> bool:
        seen.append(example["number"])
        return bool(prediction == example["answer"])

    before: list[int] = []

    def listen(found: Mapping[str, Any]) -> None:
        if found["event"] == "choice":
            before.append(len(seen))

    tune(tmp_path / "s", metric=metric, on_event=listen)
    searched = set(seen[: before[0]])
    split = event(tmp_path / "s", "split")
    assert len(searched) == len(split["train"]) + len(split["val"])
    tested = {o["example"] for o in event(tmp_path / "s", "verdict")["outcomes_before"]}
    assert tested == set(split["test"])
    assert not tested & (set(split["train"]) | set(split["val"]))
