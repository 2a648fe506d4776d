"""What is kept back for the verdict covers what programs are really charged."""

from __future__ import annotations

import pytest

import luthier as lt
from luthier.budget import Ledger
from luthier.lm.doubles import ScriptedLM
from luthier.program.lms import LMs
from luthier.runner.plan import RolloutCost
from luthier.runner.reserve import MARGIN, Clock, Reserve
from luthier.search.space import Point
from luthier.search.trial import Ask, Observation, Purpose, Trial

POINT = Point({"a": "b"})


def reserve(ledger: Ledger) -> Reserve:
    cost = RolloutCost(calls=2.0, prompt_tokens=100.0, completion_tokens=10.0, seconds=0.0)
    lms = LMs(lt.LM(ScriptedLM(lambda request: "x")))
    return Reserve(ledger, Clock(None), lms, cost, closing=0, verdict=10, longest_answer=20, in_flight=4)


def trial(rollouts: int) -> Trial:
    cost = {"lm_calls": 2.0, "prompt_tokens": 100.0, "completion_tokens": 10.0}
    seen = tuple(Observation(POINT, f"e{n}", 0, 1.0, "scored", cost=cost) for n in range(rollouts))
    return Trial(1, Ask(POINT, tuple(o.example for o in seen), Purpose.EXPLORE), seen)


def room_for_the_search(ledger: Ledger) -> float:
    """Return how many calls the ledger lets the search make."""
    return ledger.remaining["lm_calls"]


@pytest.mark.parametrize("charged", [1.0, 3.0])
def test_attempts_without_a_bill_raise_what_is_kept_back_for_the_verdict(charged: float) -> None:
    ledger = Ledger({"lm_calls": 1000.0})
    kept = reserve(ledger)
    ledger.charge({"lm_calls": 20 * charged}, "task")
    kept.learn([trial(10)])
    verdict = MARGIN * charged * 10 * 4 + 1  # ten rows, twice, two calls each; and room for one call
    assert room_for_the_search(ledger) == pytest.approx(1000 - 20 * charged - verdict)


def test_what_comes_from_the_store_lowers_it_not() -> None:
    ledger = Ledger({"lm_calls": 1000.0})
    kept = reserve(ledger)
    kept.learn([trial(10)])
    assert room_for_the_search(ledger) == pytest.approx(1000 - (MARGIN * 40 + 1))
