"""Programs that raise, and predictors that come and go."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

import luthier as lt
from luthier.errors import ProgramFailed
from luthier.lm.doubles import ScriptedLM
from tests.optimizers.studies import Interrupted, event, journal, stop_after, told, tune
from tests.studies import world

ONE_EACH = lt.MIPRO(candidates=4, demo_sizes=(0, 3, 6), instructions=2, trials=12, minibatch=9, closing=2)
SEARCH = lt.MIPRO(candidates=4, demo_sizes=(0, 3, 6), instructions=3, trials=12, minibatch=9, closing=2)


def instructed(request: lt.Request) -> str:
    return request.messages[0].text


def brittle(marker: str) -> Any:
    """Return an LM that answers "broken" where the instruction has the marker; fragile() raises on that."""

    def answer(request: lt.Request) -> str:
        if world.asked_for(request) == "word" and marker in instructed(request):
            return "broken"
        return "fine" if world.asked_for(request) == "word" else world.answer(request)

    return answer


@lt.predictor(stop=["#word"])
def word(number: str) -> str:
    """Say a word."""
    return lt.predict()


def fragile(number: str) -> str:
    """Describe a number, unless the word breaks."""
    if word(number=number) == "broken":
        raise ValueError("the word broke")
    return world.describe(number)


def test_a_candidate_that_raises_three_times_is_dropped_and_never_scored_in_full(tmp_path: Path) -> None:
    lm = lt.LM(ScriptedLM(brittle("Look at")))
    result = tune(tmp_path / "s", ONE_EACH, program=fragile, lm=lm)
    failing = [ask for ask, tell in told(tmp_path / "s") if any(o["outcome"] == "error" for o in tell["outcomes"])]
    assert failing, "some candidates must raise"
    points = [ask["point"] for ask, _ in told(tmp_path / "s")]
    assert all(points.count(ask["point"]) == 1 and ask["purpose"] == "explore" for ask in failing)
    assert result.best.prompts["word"].instruction == "Say a word."


def test_the_best_mean_is_not_chosen_where_its_full_evaluation_raised_three_times(tmp_path: Path) -> None:
    settings = lt.MIPRO(
        candidates=2, demo_sizes=(0, 6), instructions=2, trials=8, minibatch=6, closing=3, frozen=("size.demos",)
    )
    result = tune(tmp_path / "s", settings, program=uneven)
    choice = event(tmp_path / "s", "choice")
    assert choice["table"][0]["point"] != choice["point"]
    assert choice["table"][0]["mean"] > choice["mean"]
    assert not result.best.prompts["parity"].demos
    assert event(tmp_path / "s", "insight")


def uneven(number: str) -> str:
    """Describe a number; with demos, those that end in 3 raise."""
    if number.endswith("3") and _has_demos():
        raise ValueError("three")
    return world.describe(number)


def test_errors_before_an_interruption_count_after_it(tmp_path: Path) -> None:
    lm = lt.LM(ScriptedLM(brittle("Look at")))
    tune(tmp_path / "whole", ONE_EACH, program=fragile, lm=lm)
    for stop in (12, 9, 5, 4, 3):
        with pytest.raises(Interrupted):
            tune(tmp_path / "s", ONE_EACH, program=fragile, lm=lm, on_event=stop_after(stop))
    tune(tmp_path / "s", ONE_EACH, program=fragile, lm=lm)
    assert journal(tmp_path / "s") == journal(tmp_path / "whole")


def test_three_candidates_with_nothing_new_in_common_that_fail_alike_stop_the_study(tmp_path: Path) -> None:
    def answer(request: lt.Request) -> str:
        if world.asked_for(request) is None:
            return world.answer(request)
        changed = any(m.role == "assistant" for m in request.messages) or "Look at" in instructed(request)
        if world.asked_for(request) == "word":
            return "broken" if changed else "fine"
        return world.answer(request)

    with pytest.raises(ProgramFailed, match=r"nothing new in common.*\n(.*\n)*.*the word broke"):
        tune(tmp_path / "s", SEARCH, program=fragile, lm=lt.LM(ScriptedLM(answer)))
    asked = sum(found["event"] == "ask" for found in journal(tmp_path / "s"))
    with pytest.raises(ProgramFailed, match="nothing new in common"):
        tune(tmp_path / "s", SEARCH, program=fragile, lm=lt.LM(ScriptedLM(answer)))
    assert sum(found["event"] == "ask" for found in journal(tmp_path / "s")) == asked
    result = tune(tmp_path / "s", SEARCH, program=repaired, lm=lt.LM(ScriptedLM(answer)), code_changed=True)
    assert result.verdict.n == 40


def repaired(number: str) -> str:
    """Describe a number, whatever the word is."""
    word(number=number)
    return world.describe(number)


repaired.__qualname__ = fragile.__qualname__


def test_an_example_that_breaks_the_original_too_breaks_no_candidate(tmp_path: Path) -> None:
    result = tune(tmp_path / "s", SEARCH, program=unlucky, data=world.rows(200))
    baseline = event(tmp_path / "s", "baseline")
    assert 0 < baseline["counts"]["error"] <= 0.05 * baseline["n"]
    assert not event(tmp_path / "s", "choice")["is_original"]
    assert result.verdict.after > result.verdict.before


def unlucky(number: str) -> str:
    """Describe a number that does not end in 17."""
    if number.endswith("17"):
        raise ValueError("unlucky")
    return world.describe(number)


def test_an_original_that_raises_on_more_than_one_in_twenty_stops_the_study(tmp_path: Path) -> None:
    def often(number: str) -> str:
        if number.endswith("7"):
            raise ValueError("seven")
        return world.describe(number)

    with pytest.raises(ProgramFailed, match=r"raised on \d+ of 35 examples(.*\n)*.*ValueError: seven"):
        tune(tmp_path / "s", program=often, data=[*world.rows(100)])
    assert "baseline" not in [found["event"] for found in journal(tmp_path / "s")]


def test_a_predictor_that_is_never_called_is_left_out_with_a_warning(tmp_path: Path) -> None:
    result = tune(tmp_path / "s", SEARCH, program=cautious)
    baseline = event(tmp_path / "s", "baseline")
    assert baseline["predictors"] == {"never_called": ["word"], "met": {}}
    assert any("'word' was never called on 35 examples" in text for text in baseline["warnings"])
    assert {v["name"].split(".")[0] for v in event(tmp_path / "s", "space")["variables"]} == {"parity", "size"}
    assert result.program("12")


def test_a_predictor_behind_one_that_always_fails_is_tuned_all_the_same(tmp_path: Path) -> None:
    result = tune(tmp_path / "s", SEARCH, program=stepwise, lm=lt.LM(ScriptedLM(reserved)), anyway=True)
    baseline = event(tmp_path / "s", "baseline")
    assert baseline["counts"]["unparseable"] == baseline["n"] == 35
    assert baseline["predictors"]["never_called"] == []
    assert {v["name"].split(".")[0] for v in event(tmp_path / "s", "space")["variables"]} == {"judged", "size"}
    assert {"judged", "size"} == result.best.prompts.keys()


@lt.predictor(stop=["#judged"])
def judged(number: str) -> Literal["even", "odd"]:
    """Name the parity."""
    return lt.predict()


def stepwise(number: str) -> str:
    """Describe a number, one step after the other."""
    return f"{judged(number=number)} {world.size(number=number)}"


def reserved(request: lt.Request) -> str:
    return "cannot say" if world.asked_for(request) == "judged" else world.answer(request)


def cautious(number: str) -> str:
    """Describe a number, and say a word of those nobody has."""
    return word(number=number) if int(number) < 0 else world.describe(number)


def hidden(number: str) -> str:
    """Describe a number by predictors that no reader of the source can find."""
    found = {predictor.name: predictor for predictor in TOOLS[0]()}
    return f"{world.parity(number=number)} {found['size'](number=number)}"


TOOLS = [lambda: [getattr(world, "si" + "ze")]]


def test_a_predictor_met_in_the_baseline_is_tuned_and_deployed(tmp_path: Path) -> None:
    lm = ScriptedLM(world.answer)
    result = tune(tmp_path / "s", SEARCH, program=hidden, lm=lt.LM(lm))
    assert [p["name"] for p in event(tmp_path / "s", "manifest")["predictors"]] == ["parity"]
    assert list(event(tmp_path / "s", "baseline")["predictors"]["met"]) == ["size"]
    assert {v["name"].split(".")[0] for v in event(tmp_path / "s", "space")["variables"]} == {"parity", "size"}
    assert result.best.prompts.keys() == {"parity", "size"}
    assert result.program("12")
    calls = lm.calls
    again = tune(tmp_path / "s", SEARCH, program=hidden, lm=lt.LM(lm))
    assert again.candidate == result.candidate
    assert lm.calls == calls, "it is met again from the store"


def test_a_study_of_a_met_predictor_resumes_to_the_same_journal(tmp_path: Path) -> None:
    tune(tmp_path / "whole", SEARCH, program=hidden)
    for stop in (5, 8, 7):
        with pytest.raises(Interrupted):
            tune(tmp_path / "s", SEARCH, program=hidden, on_event=stop_after(stop))
    tune(tmp_path / "s", SEARCH, program=hidden)
    assert journal(tmp_path / "s") == journal(tmp_path / "whole")


def test_predictors_that_were_not_named_keep_their_prompts(tmp_path: Path) -> None:
    result = tune(tmp_path / "s", SEARCH, predictors=[world.size])
    assert {v["name"] for v in event(tmp_path / "s", "space")["variables"]} <= {"size.instruction", "size.demos"}
    assert any("'parity' is not among those to tune" in text for text in event(tmp_path / "s", "baseline")["warnings"])
    assert result.program("12")


def test_a_predictor_met_later_runs_with_its_original_prompt_and_is_reported(tmp_path: Path) -> None:
    def answer(request: lt.Request) -> str:
        if world.asked_for(request) == "word":
            assert instructed(request).startswith("Say a word.")
            return "hm"
        return world.answer(request)

    tune(tmp_path / "s", SEARCH, program=surprised, lm=lt.LM(ScriptedLM(answer)))
    assert event(tmp_path / "s", "baseline")["predictors"]["met"] == {}
    assert event(tmp_path / "s", "choice")["warnings"] == [
        "'word' was met after the baseline: it ran as it is and is not tuned"
    ]


def surprised(number: str) -> str:
    """Describe a number; once there are demos, say a word, too, by a predictor that is found at run time."""
    described = world.describe(number)
    if _has_demos():
        vars(LATER)["wo" + "rd"](number=number)
    return described


def _has_demos() -> bool:
    from luthier.program.context import current_run

    run = current_run()
    return run is not None and run.candidate is not None and any(p.demos for p in run.candidate.prompts.values())


class LATER:
    """Holds what no reader of the source finds."""


LATER.word = word  # type: ignore[attr-defined]
