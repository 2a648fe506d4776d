"""A study stops after its baseline where there is nothing to win, and only there."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import LabelWarning
from luthier.evaluation.stats import look_level
from luthier.lm.doubles import ScriptedLM
from luthier.runner.headroom import chance_of_adoption, check_event
from luthier.study.events import BaselineEvent, event_of, read, to_json
from luthier.study.journal import read_journal
from tests.optimizers.studies import Interrupted, event, journal, stop_after, tune
from tests.studies import world

SEARCH = lt.MIPRO(candidates=3, demo_sizes=(0, 3), instructions=2, trials=4, minibatch=6, closing=1)


def knows_all_but(wrong: int) -> ScriptedLM:
    """Return an LM that is right on every number from ``wrong`` on."""

    def answer(request: lt.Request) -> str:
        asked = world.asked_for(request)
        if asked is None:
            return world.answer(request)
        number = int(request.messages[-1].text.rsplit(" ", 1)[-1])
        return world.truth(asked, number if number >= wrong else number + 1)

    return ScriptedLM(answer)


def names(directory: Path) -> list[str]:
    return [found["event"] for found in journal(directory)]


def baseline(right: int, wrong: int, **more: Any) -> dict[str, Any]:
    outcomes = [
        {"value": float(i < right), "outcome": "scored", "blamed": "", "error": "", **more}
        for i in range(right + wrong)
    ]
    return {"mean": right / (right + wrong), "outcomes": outcomes}


def checked(event: Mapping[str, Any], **given: Any) -> dict[str, Any]:
    """Return the check of a baseline event, as JSON."""
    return to_json(check_event(event_of([read({"event": "baseline", **event})], BaselineEvent), **given))


def test_a_program_that_is_always_right_is_kept_for_the_price_of_its_baseline(tmp_path: Path) -> None:
    lm = knows_all_but(0)
    result = tune(tmp_path / "s", SEARCH, lm=lt.LM(lm))
    assert names(tmp_path / "s") == ["manifest", "split", "plan", "baseline", "check"]
    assert lm.calls == 2 * 35
    assert (result.decision, result.stopped, result.verdict.n) == ("keep", True, 0)
    assert result.verdict.sentence.startswith("Nothing to win: the program is right on all 35 validation examples")
    assert result.candidate == result.best
    assert result.candidate.prompts["size"].instruction == "Say whether the number is small."
    assert (tmp_path / "s" / "prompts" / "candidate.json").exists()
    assert result.program("12") == world.both(12)
    page = result.report.read_text(encoding="utf-8")
    assert "Nothing to win" in page and "they stay" in page and "Not finished" not in page


def test_run_again_it_says_the_same_for_nothing_and_anyway_goes_on_from_there(tmp_path: Path) -> None:
    lm = knows_all_but(0)
    first = tune(tmp_path / "s", SEARCH, lm=lt.LM(lm))
    calls = lm.calls
    again = tune(tmp_path / "s", SEARCH, lm=lt.LM(lm))
    assert (again.verdict.sentence, lm.calls) == (first.verdict.sentence, calls)
    whole = tune(tmp_path / "s", SEARCH, lm=lt.LM(lm), anyway=True)
    assert not whole.stopped
    assert whole.verdict.n == 40
    assert names(tmp_path / "s")[4:6] == ["check", "anyway"]
    assert whole.decision == "keep", "nothing can be better than always right"
    straight = tmp_path / "straight"
    tune(straight, SEARCH, lm=lt.LM(knows_all_but(0)), anyway=True)
    assert journal(straight) == journal(tmp_path / "s")


def test_a_study_that_went_on_goes_on_after_an_interruption_without_being_told_again(tmp_path: Path) -> None:
    rng = random.Random("anyway")
    with pytest.raises(Interrupted):
        tune(tmp_path / "s", SEARCH, lm=lt.LM(knows_all_but(0)), anyway=True, on_event=stop_after(rng.randint(7, 9)))
    assert tune(tmp_path / "s", SEARCH, lm=lt.LM(knows_all_but(0))).verdict.n == 40


def test_where_even_flawless_prompts_could_not_be_shown_to_be_better_it_stops_too(tmp_path: Path) -> None:
    rows = world.rows(160)
    splits = lt.Splits(rows[:20], rows[20:120], rows[120:])
    result = tune(tmp_path / "s", SEARCH, lm=lt.LM(knows_all_but(21)), data=splits)
    assert result.stopped
    assert "right on 99 of 100" in result.verdict.sentence and "even flawless prompts" in result.verdict.sentence
    assert 0 < event(tmp_path / "s", "check")["chance"] < 0.1


@pytest.mark.parametrize(("n", "n_test"), [(20, 20), (35, 40), (70, 80), (175, 200), (300, 300)])
def test_with_the_usual_split_a_single_wrong_answer_is_enough_to_go_on(n: int, n_test: int) -> None:
    assert checked(baseline(n, 0), n_test=n_test, noise=None)["stop"]
    assert not checked(baseline(n - 1, 1), n_test=n_test, noise=None)["stop"]


def test_where_no_answer_can_be_read_it_stops_and_says_what_to_mend(tmp_path: Path) -> None:
    result = tune(tmp_path / "s", SEARCH, lm=lt.LM(ScriptedLM(lambda request: "I am only a parrot.")))
    assert result.stopped and result.decision == "unmeetable"
    assert "No answer could be read on any of 35" in result.verdict.sentence
    assert "'parity'" in result.verdict.sentence and "max_tokens" in result.verdict.sentence
    assert event(tmp_path / "s", "check")["unparseable"] == {"parity": 1.0}


@pytest.mark.parametrize("right", [0, 1, 10, 20, 30, 32])
def test_an_ordinary_program_is_never_stopped(right: int) -> None:
    found = checked(baseline(right, 35 - right), n_test=40, noise=None)
    assert not found["stop"]
    assert found["low"] <= found["mean"] <= found["high"]
    assert "40 held-out examples" in found["sentence"] and "19 points" in found["sentence"]


def test_at_a_later_look_flawless_prompts_are_adopted_less_often() -> None:
    first, fourth, tenth = (checked(baseline(30, 5), n_test=40, noise=None, level=look_level(n)) for n in (1, 4, 10))
    assert tenth["chance"] < fourth["chance"] < first["chance"]
    assert fourth["smallest_detectable"] is None and not fourth["stop"] and "too few" in fourth["sentence"]
    assert tenth["stop"] and "earlier looks" in tenth["sentence"]


def test_a_weak_model_whose_every_answer_is_wrong_but_readable_goes_on(tmp_path: Path) -> None:
    with pytest.warns(LabelWarning, match=r"scores 0 on all 35.*predicted 'even small' where the label is"):
        result = tune(tmp_path / "s", SEARCH, lm=lt.LM(knows_all_but(1000)))
    assert event(tmp_path / "s", "baseline")["mean"] == 0
    assert not result.stopped


def test_graded_scores_are_not_judged_by_what_is_true_of_right_and_wrong() -> None:
    graded = baseline(35, 0)
    for outcome in graded["outcomes"]:
        outcome["value"] = 0.98
    found = checked({**graded, "mean": 0.98}, n_test=40, noise=None)
    assert found["chance"] is None and not found["stop"]


def test_without_held_out_examples_only_what_is_always_right_stops() -> None:
    assert not checked(baseline(24, 1), n_test=0, noise=None)["stop"]
    assert checked(baseline(25, 0), n_test=0, noise=None)["stop"]


def test_measured_noise_stops_a_study_that_it_hides_everything_from_and_no_other() -> None:
    loud, quiet = {"flips": 0.6, "low": 0.45, "n": 30}, {"flips": 0.1, "low": 0.03, "n": 30}
    assert not checked(baseline(34, 1), n_test=40, noise=None)["stop"]
    assert not checked(baseline(33, 2), n_test=40, noise=quiet)["stop"]
    found = checked(baseline(34, 1), n_test=40, noise=loud)
    assert found["stop"] and "Noise hides" in found["sentence"] and "60 % of examples" in found["sentence"]
    assert not checked(baseline(10, 25), n_test=40, noise=loud)["stop"]


def test_the_chance_is_that_of_simulated_studies() -> None:
    rng, adopted, rounds = random.Random(0), 0, 4000
    for _ in range(rounds):
        wrong = rng.betavariate(2.5, 33.5)
        adopted += sum(rng.random() < wrong for _ in range(40)) >= 4  # the fewest whose interval lies above zero
    found = chance_of_adoption([1.0] * 33 + [0.0] * 2, 40)
    assert found == pytest.approx(adopted / rounds, abs=0.03)


def test_a_journal_from_before_there_were_checks_goes_on_where_it_was(tmp_path: Path) -> None:
    lm = knows_all_but(0)
    with pytest.raises(Interrupted):
        tune(tmp_path / "s", SEARCH, lm=lt.LM(lm), anyway=True, on_event=stop_after(8))
    _without(tmp_path / "s" / "journal.jsonl", {"check", "anyway"})
    result = tune(tmp_path / "s", SEARCH, lm=lt.LM(lm))
    assert result.verdict.n == 40


def _without(path: Path, skipped: set[str]) -> None:
    """Rewrite a journal as it would have been without some events."""
    kept = [found for found in read_journal(path) if found["event"] not in skipped]
    lines = [json.dumps({**found, "seq": number}) + "\n" for number, found in enumerate(kept)]
    path.write_text("".join(lines), encoding="utf-8")
