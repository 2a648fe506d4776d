from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.report.charts import Scale
from luthier.report.diff import runs, side_by_side
from luthier.report.figures import count, duration, percent, points
from luthier.report.html import el, escape
from luthier.report.model import view
from luthier.report.phases import actuals
from luthier.report.shrink import Tally, best_shrunken
from luthier.report.spending import Amounts, dollars_for, spending
from luthier.report.summary import outcome_count, summary
from luthier.study.events import read, read_all
from tests.lengths import examples

from .fixture import journal

PROSE = st.lists(st.sampled_from(["the", "cat", "sat", "\n", " ", ".", "on", "mats", "é"]), max_size=40).map(" ".join)


@given(PROSE | st.text(max_size=60), PROSE | st.text(max_size=60))
@settings(max_examples=examples(200), deadline=None)
def test_the_runs_of_a_diff_give_both_texts_back(before: str, after: str) -> None:
    parts = runs(before, after)
    assert "".join(run.before for run in parts) == before
    assert "".join(run.after for run in parts) == after


def test_a_diff_marks_the_words_that_changed_and_no_others() -> None:
    left, right = side_by_side("Answer the question.", "Answer the hard question.")
    assert left == "Answer the question."
    assert right == "Answer the <ins>hard </ins>question."


def test_a_text_written_anew_is_not_torn_into_words() -> None:
    left, right = side_by_side("Name the species.", "You are a botanist of forty years; weigh each petal.")
    assert "<del>" not in left and "<ins>" not in right


def test_the_best_so_far_believes_less_in_luck_than_the_raw_maximum() -> None:
    rng = random.Random(1)
    optimism_raw, optimism_shrunken = [], []
    for _ in range(100):
        arms = {str(arm): Tally().plus(float(rng.random() < 0.6) for _ in range(10)) for arm in range(12)}
        optimism_raw.append(max(arm.mean for arm in arms.values()) - 0.6)
        optimism_shrunken.append((best_shrunken(arms) or 0.0) - 0.6)
    assert sum(optimism_raw) / 100 > 0.2
    assert sum(optimism_shrunken) / 100 < 0.07


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=12), min_size=1, max_size=8))
def test_the_best_so_far_never_leaves_the_range_of_the_means(arms: list[list[float]]) -> None:
    tallies = {str(number): Tally().plus(values) for number, values in enumerate(arms)}
    means = [tally.mean for tally in tallies.values()]
    best = best_shrunken(tallies)
    assert best is not None
    assert min(means) - 1e-9 <= best <= max(means) + 1e-9


def test_nothing_seen_has_no_best() -> None:
    assert best_shrunken({}) is None


def test_a_real_gain_is_believed_once_there_is_evidence() -> None:
    tallies = {"original": Tally().plus([1.0] * 60 + [0.0] * 60), "better": Tally().plus([1.0] * 110 + [0.0] * 10)}
    assert (best_shrunken(tallies) or 0.0) > 0.88


def test_a_summary_knows_phase_trials_and_spending() -> None:
    events = read_all(journal())
    half = events[: len(events) * 2 // 3]
    state = summary(half)
    assert (state.phase, state.finished, state.decision) == ("searching", False, None)
    assert 0 < state.trials < (state.trials_planned or 0)
    assert state.spent.calls > 0
    assert state.spent.usd is not None
    assert state.budget == {"usd": 2.0, "lm_calls": 5000}
    done = summary(events)
    assert (done.phase, done.finished, done.decision) == ("done", True, "adopt")
    assert done.to_json()["verdict"]["n"] == 70
    assert "outcomes_before" not in done.to_json()["verdict"]


def test_a_study_without_events_is_starting() -> None:
    assert summary([]).phase == "starting"


@pytest.mark.parametrize("end", range(0, 70, 3))
def test_trials_on_the_chart_come_in_order_and_cost_only_grows(end: int) -> None:
    marks = view(read_all(journal()[:end])).marks
    assert [mark.number for mark in marks] == sorted(mark.number for mark in marks)
    assert [mark.calls for mark in marks] == sorted(mark.calls for mark in marks)


def test_bills_come_flat_by_role_or_from_outcomes() -> None:
    flat = {"event": "tell", "usage": {"lm_calls": 2, "prompt_tokens": 5, "completion_tokens": 1}}
    by_role = {"event": "tell", "usage": {"judge": {"calls": 3}}}
    outcomes = {"event": "tell", "outcomes": [{"cost": {"lm_calls": 1, "prompt_tokens": 4}}] * 2}
    assert spending(read(flat)) == {"task": Amounts(2, 5, 1)}
    assert spending(read(by_role)) == {"judge": Amounts(3)}
    assert spending(read(outcomes)) == {"task": Amounts(2, 8)}
    assert spending(read({"event": "split"})) == {}


def test_cached_tokens_are_cheaper_where_the_price_says_so() -> None:
    part = Amounts(1, 1_000_000, 0, 400_000)
    assert dollars_for(part, {"input": 1.0, "output": 2.0, "cached_input": 0.1}) == pytest.approx(0.64)
    assert dollars_for(part, {"input": 1.0, "output": 2.0, "cached_input": None}) == pytest.approx(1.0)
    assert dollars_for(part, None) is None


def test_phases_add_up_to_the_study() -> None:
    events = read_all(journal())
    took = actuals(events)
    assert sum(phase.rollouts for phase in took.values()) == summary(events).rollouts
    assert sum(phase.seconds for phase in took.values()) == pytest.approx(summary(events).seconds)


@given(st.floats(-5, 5), st.floats(0.001, 10))
def test_ticks_lie_on_their_scale(low: float, span: float) -> None:
    scale = Scale(low, low + span)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 11
    assert all(low - 1e-6 <= tick <= low + span + 1e-6 for tick in ticks)


def test_numbers_are_written_as_people_read_them() -> None:
    assert percent(0.4567) == "45.7 %"
    assert percent(None) == percent(math.nan) == "–"
    assert points(-0.031) == "−3.1"
    assert count(1234567) == "1\u202f234\u202f567"
    assert [duration(s) for s in (59, 61, 3700)] == ["59 s", "1 min 01 s", "1 h 01 min"]


@given(st.text())
def test_escaped_text_holds_nothing_that_acts(text: str) -> None:
    escaped = escape(text)
    assert not set("<>\"'") & set(escaped)
    assert el("p", text) == f"<p>{escaped}</p>"


def test_a_verdict_on_the_original_itself_is_one_evaluation() -> None:
    ran = [{"example": "a", "cost": {"lm_calls": 2, "prompt_tokens": 5, "completion_tokens": 1}}]
    kept = {"event": "verdict", "outcomes_before": ran, "outcomes_after": ran}
    assert outcome_count(read(kept)) == 1 and spending(read(kept)) == {"task": Amounts(2, 5, 1)}
    tuned = [{**ran[0], "cost": {"lm_calls": 2, "prompt_tokens": 9, "completion_tokens": 1}}]
    assert outcome_count(read({**kept, "outcomes_after": tuned})) == 2


def test_what_each_change_brings_is_part_of_the_cost() -> None:
    events = journal()
    insight = next(event for event in events if event["event"] == "insight")
    before = summary(read_all(events))
    insight |= {"rollouts": 90, "usage": {"lm_calls": 180, "prompt_tokens": 700, "completion_tokens": 20}}
    took = actuals(read_all(events))["insight"]
    assert (took.rollouts, took.amounts.calls) == (90, 180)
    after = summary(read_all(events))
    assert (after.rollouts - before.rollouts, after.spent.calls - before.spent.calls) == (90, 180)
