"""Verdicts: ties, groups, and looks at the same test examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import ConfigError
from luthier.evaluation.rollout import Job, Outcome, Rollout, Score
from luthier.lm.doubles import ScriptedLM
from luthier.optimizers.verdict import verdict_event
from luthier.program.candidate import Candidate
from luthier.program.trace import Trace
from tests.integration import world
from tests.optimizers.studies import event, tune


def rollouts(values: Sequence[float]) -> list[Rollout]:
    return [
        Rollout(Job(Candidate({}), f"e{i}"), Outcome.SCORED, Score(value), None, Trace())
        for i, value in enumerate(values)
    ]


def verdict(before: Sequence[float], after: Sequence[float], **given: Any) -> dict[str, Any]:
    settings = {"look": 1, "groups": None, "same": False, "rivals": 1, "seed": 0, **given}
    return verdict_event(rollouts(before), rollouts(after), **settings)


def test_a_tie_keeps_the_original() -> None:
    assert verdict([0, 1, 1, 0] * 10, [1, 0, 1, 0] * 10)["decision"] == "keep"
    assert verdict([1] * 40, [1] * 40)["decision"] == "keep"


def test_a_small_gain_is_undecided_and_a_large_one_adopted() -> None:
    before = [0.0] * 40
    assert verdict(before, [1.0] * 2 + [0.0] * 38)["decision"] == "undecided"
    assert verdict(before, [1.0] * 20 + [0.0] * 20)["decision"] == "adopt"
    assert verdict([1.0] * 40, [0.0] * 20 + [1.0] * 20)["decision"] == "keep"


def test_the_kth_look_asks_for_more() -> None:
    before, after = [0.0] * 40, [1.0] * 5 + [0.0] * 35
    first, third = verdict(before, after), verdict(before, after, look=3)
    assert (first["level"], third["level"]) == (0.95, pytest.approx(1 - 0.05 / 3))
    assert third["low"] < first["low"]
    assert third["smallest_detectable"] > first["smallest_detectable"]


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


def test_studies_that_share_a_store_count_their_looks_and_pay_for_no_answer_twice(tmp_path: Path) -> None:
    lm, store = ScriptedLM(world.answer), tmp_path / "shared" / "store.sqlite"
    tune(tmp_path / "a", lm=lt.LM(lm), store=store)
    first = lm.calls
    tune(tmp_path / "b", lm=lt.LM(lm), store=store, seed=1)
    assert lm.calls - first < 0.9 * first, "the original's answers are there"
    looks = [event(tmp_path / name, "verdict") for name in "ab"]
    assert [(look["look"], look["level"]) for look in looks] == [(1, 0.95), (2, 0.975)]
    assert not (tmp_path / "a" / "store.sqlite").exists()
    apart = tune(tmp_path / "c", lm=lt.LM(lm), seed=2)
    assert apart.verdict.level == 0.95


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
    assert "Fewer than 60" in result.verdict.sentence


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
