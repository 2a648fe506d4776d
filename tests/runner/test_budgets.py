"""Each limit alone: it holds, room is kept for the verdict, and it may be raised."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import BudgetExhausted, UserError
from luthier.lm.doubles import ScriptedLM
from luthier.lm.request import Completion, Usage
from luthier.lm.store import Store
from tests.optimizers.studies import Interrupted, event, journal, stop_after, tune
from tests.studies import world

PRICE = lt.Price(input=1.0, output=4.0)


class Metered:
    """The world's LM, with bills: a token for every four characters."""

    def __init__(self, *, wait: float = 0.0) -> None:
        self.tokens = 0
        self.usd = 0.0
        self.scripted = ScriptedLM(self.answer, latency=wait)

    def answer(self, request: lt.Request) -> Completion:
        text = world.answer(request)
        read, written = sum(len(m.text) for m in request.messages) // 4, len(text) // 4 + 1
        self.tokens += read + written
        self.usd += PRICE.usd(read, written)
        return Completion(text, usage=Usage(read, written))

    def lm(self) -> lt.LM:
        return lt.LM(self.scripted, price=PRICE, max_tokens=60)


@pytest.mark.parametrize("tokens", [40_000, 80_000, 160_000])
def test_a_limit_on_tokens_holds_though_demos_make_prompts_longer(tmp_path: Path, tokens: int) -> None:
    metered = Metered()
    result = tune(tmp_path / "s", auto=None, lm=metered.lm(), budget=lt.Budget(tokens=tokens))
    assert metered.tokens <= tokens
    assert result.verdict.n == 40
    assert event(tmp_path / "s", "loop_end")["trials"] >= 5, "there is room for a search"


@pytest.mark.parametrize("usd", [0.06, 0.12])
def test_a_limit_in_dollars_holds(tmp_path: Path, usd: float) -> None:
    metered = Metered()
    result = tune(tmp_path / "s", auto=None, lm=metered.lm(), budget=lt.Budget(usd=usd))
    assert metered.usd <= usd
    assert result.verdict.n == 40


def test_a_limit_on_seconds_ends_the_search_in_time_for_the_verdict(tmp_path: Path) -> None:
    # The whole plan is 3,200 calls of 40 ms, eight at a time: no machine makes it in eight seconds.
    metered = Metered(wait=0.04)
    result = tune(tmp_path / "s", lm=metered.lm(), concurrency=8, auto="heavy", budget=lt.Budget(seconds=8))
    assert result.verdict.n == 40
    times = [found["time"] for found in result.events]
    assert seconds_between(times[0], times[-1]) < 14  # room for a busy machine
    planned = next(found["trials"] for found in result.events if found["event"] == "plan")
    # A slow baseline cuts the plan to what there is time for; otherwise the clock ends the search.
    assert event(tmp_path / "s", "loop_end")["trials"] < planned


def seconds_between(begin: str, end: str) -> float:
    from datetime import datetime

    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def test_a_search_cut_short_still_scores_the_best_in_full(tmp_path: Path) -> None:
    # The settings ask for far more than the budget allows, so that the ledger's veto ends the loop.
    greedy = lt.MIPRO(candidates=12, trials=300, minibatch=9, closing=3)
    lm = ScriptedLM(world.answer)
    result = tune(tmp_path / "s", greedy, lm=lt.LM(lm), auto=None, budget=lt.Budget(lm_calls=1200))
    assert lm.calls <= 1200
    assert event(tmp_path / "s", "loop_end")["reason"] == "budget"
    assert len(event(tmp_path / "s", "closing")["trials"]) == 3
    assert not event(tmp_path / "s", "choice")["is_original"]
    assert result.verdict.n == 40


def test_the_verdict_can_be_paid_though_one_calls_worst_case_is_large(tmp_path: Path) -> None:
    metered = Metered()
    lm = lt.LM(metered.scripted, max_tokens=4000)
    result = tune(tmp_path / "s", auto=None, lm=lm, budget=lt.Budget(tokens=60_000))
    assert metered.tokens <= 60_000
    assert result.verdict.n == 40


def test_an_overshoot_by_a_bill_above_its_reservation_is_reported(tmp_path: Path) -> None:
    given: dict[str, Any] = {"optimizer": "labeled-few-shot", "concurrency": 1, "budget": lt.Budget(tokens=100_000)}
    sober = Metered()
    assert "warnings" not in tune(tmp_path / "sober", lm=sober.lm(), **given).events[-1]
    dear = Metered()

    def answer(request: lt.Request) -> Completion:
        made = dear.answer(request)
        if dear.scripted.calls < sober.scripted.calls:
            return made
        return Completion(made.text, usage=Usage(200_000, 1))

    dear.scripted = ScriptedLM(answer)
    (warning,) = tune(tmp_path / "dear", lm=dear.lm(), **given).events[-1]["warnings"]
    assert "overshot by" in warning
    assert "tokens" in warning


def test_a_judge_in_the_metric_is_budgeted_too(tmp_path: Path) -> None:
    @lt.predictor(stop=["#judge"])
    def judgement(said: str, right: str) -> bool:
        """Say whether what was said is right."""
        return lt.predict()

    def judged(example: Mapping[str, Any], prediction: str) -> bool:
        return judgement(said=prediction, right=example["answer"])

    def answer(request: lt.Request) -> str:
        if world.asked_for(request) != "judge":
            return world.answer(request)
        said, right = (line.split(":")[1].strip() for line in request.messages[-1].text.splitlines()[:2])
        return "true" if said == right else "false"

    lm = ScriptedLM(answer)
    result = tune(tmp_path / "s", metric=judged, lm=lt.LM(lm), auto=None, budget=lt.Budget(lm_calls=1000))
    assert lm.calls <= 1000
    assert result.verdict.n == 40
    baseline = event(tmp_path / "s", "baseline")
    assert baseline["judge"]["lm_calls"] == baseline["n"]
    assert {v["name"].split(".")[0] for v in event(tmp_path / "s", "space")["variables"]} == {"parity", "size"}


def test_a_dear_judge_of_its_own_is_reserved_at_its_own_price(tmp_path: Path) -> None:
    spent = {"usd": 0.0}
    dear = lt.Price(input=50.0, output=200.0)

    def bill(request: lt.Request, text: str, price: lt.Price) -> Completion:
        read, written = sum(len(m.text) for m in request.messages) // 4, len(text) // 4 + 1
        spent["usd"] += price.usd(read, written)
        return Completion(text, usage=Usage(read, written))

    def verdict_of(request: lt.Request) -> Completion:
        said = request.messages[-1].text
        right = '"answer":"' + said.rsplit("prediction:", 1)[-1].strip().splitlines()[0] + '"' in said
        return bill(request, f"Reasoning: looked.\nPasses: {'true' if right else 'false'}", dear)

    judge = lt.LM(verdict_of, price=dear, max_tokens=40)
    task = lt.LM(lambda request: bill(request, world.answer(request), PRICE), price=PRICE, max_tokens=60)
    metric = lt.judge("The prediction equals the answer.", lm=judge)
    result = tune(tmp_path / "s", metric=metric, lm=task, auto=None, budget=lt.Budget(usd=6.0))
    assert result.verdict.n == 40
    assert spent["usd"] <= 6.0
    planned = next(phase for phase in event(tmp_path / "s", "plan_measured")["phases"] if phase["name"] == "verdict")
    assert planned["usd"] > 0.3, "a judge's call costs a hundred times the task's"


def test_a_budget_too_small_for_a_verdict_is_refused_before_or_after_the_baseline(tmp_path: Path) -> None:
    lm = ScriptedLM(world.answer)
    with pytest.raises(UserError, match=r"150 program runs need about 300 LM calls"):
        tune(tmp_path / "s", lm=lt.LM(lm), budget=lt.Budget(lm_calls=299))
    assert lm.calls == 0

    def wordy(number: str) -> str:
        for _ in range(5):
            world.size(number=number + "0")
            world.size(number=number + "1")
        return world.describe(number)

    with pytest.raises(BudgetExhausted, match="cannot pay"):
        tune(tmp_path / "w", program=wordy, lm=lt.LM(lm), budget=lt.Budget(lm_calls=1000))
    assert lm.calls <= 35 * 4, "equal calls are asked once, and the baseline is all that was paid"
    result = tune(tmp_path / "w", program=wordy, lm=lt.LM(lm), budget=lt.Budget(lm_calls=9000))
    assert result.verdict.n == 40


def test_a_budget_that_ended_too_early_is_raised_and_the_study_goes_on(tmp_path: Path) -> None:
    lm = ScriptedLM(world.answer)
    with pytest.raises(BudgetExhausted, match="set aside") as ended:
        tune(tmp_path / "s", "bootstrap-random-search", lm=lt.LM(lm), auto=None, budget=lt.Budget(lm_calls=315))
    (said,) = ended.value.__notes__
    assert "ended before the search began" in said
    enough = int(re.findall(r"at most ([\d,]+) LM calls", said)[0].replace(",", ""))
    spent = lm.calls
    assert spent <= 315
    assert "verdict" not in [found["event"] for found in journal(tmp_path / "s")]
    budget = lt.Budget(lm_calls=enough)
    result = tune(tmp_path / "s", "bootstrap-random-search", lm=lt.LM(lm), auto=None, budget=budget)
    assert result.verdict.n == 40
    assert lm.calls <= enough


def test_a_raised_budget_changes_nothing_that_was_decided(tmp_path: Path) -> None:
    tune(tmp_path / "whole", auto=None, budget=lt.Budget(lm_calls=1200))
    for limit, stop in ((1200, 12), (1500, 10), (4000, 8)):
        with pytest.raises(Interrupted):
            tune(tmp_path / "s", auto=None, budget=lt.Budget(lm_calls=limit), on_event=stop_after(stop))
    tune(tmp_path / "s", auto=None, budget=lt.Budget(lm_calls=4000))
    assert journal(tmp_path / "s") == journal(tmp_path / "whole")


def test_resuming_never_resets_what_was_spent_nor_the_time_that_passed(tmp_path: Path) -> None:
    lm = ScriptedLM(world.answer, latency=0.002)
    stops = 0
    budget = lt.Budget(lm_calls=900, seconds=600)
    while True:
        try:
            tune(tmp_path / "s", lm=lt.LM(lm), auto=None, budget=budget, on_event=stop_after(12))
            break
        except Interrupted:
            stops += 1
    assert stops > 2
    assert lm.calls <= 900
    store = Store(tmp_path / "s" / "store.sqlite")
    (elapsed,) = [store.value(key) for key in keys(store) if key.startswith("elapsed/")]
    (study,) = [key.removeprefix("elapsed/") for key in keys(store) if key.startswith("elapsed/")]
    spent = store.spent(study)
    store.close()
    assert sum(amounts["lm_calls"] for amounts in spent.values()) == lm.calls
    times = [found["time"] for found in lt_events(tmp_path / "s")]
    assert elapsed >= 0.9 * seconds_between(times[0], times[-1]) - 0.1 * stops


def lt_events(directory: Path) -> list[dict[str, Any]]:
    from luthier.study.journal import read_journal

    return read_journal(directory / "journal.jsonl")


def keys(store: Store) -> list[str]:
    return [row[0] for row in store._database.execute("SELECT key FROM vals")]
