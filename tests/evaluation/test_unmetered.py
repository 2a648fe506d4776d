"""Calls that luthier sees nothing of are counted, and a budget says that it does not cover them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import luthier as lt
from luthier.cli.plan import show_plan
from luthier.cli.progress import Progress
from luthier.errors import BudgetExhausted, UnmeteredWarning
from luthier.lm.request import Usage
from luthier.lm.store import Store
from luthier.report.summary import summary
from luthier.study.events import read_all
from tests.lm.server import OpenAIServer
from tests.program.connect.desk import rows

PRICED = lt.LM(lambda request: "Name the queue in one word.", price=lt.Price(1.0, 1.0))


@lt.predictor
def queue(ticket: str) -> str:
    """Name the queue."""
    return "delivery" if lt.prompt().messages() else ""


def desk(ticket: str) -> str:
    return queue(ticket=ticket)


@lt.predictor
def declared(ticket: str) -> str:
    """Name the queue."""
    lt.prompt().used(prompt_tokens=900, completion_tokens=100, calls=2)
    return "delivery"


def honest(ticket: str) -> str:
    return declared(ticket=ticket)


@pytest.mark.parametrize("budget", [lt.Budget(usd=1.0), lt.Budget(tokens=10**6), lt.Budget(lm_calls=1000)])
def test_a_cap_that_misses_calls_warns_once_and_at_the_first_of_them(budget: lt.Budget) -> None:
    with pytest.warns(UnmeteredWarning, match=r"1 of predictor 'queue'.*does not cover") as told:
        found = lt.evaluate(desk, rows(20), lt.exact_match, lm=PRICED, budget=budget, concurrency=1)
    assert len(told) == 1
    assert found.unmetered == {"queue": 20}
    assert found.rollouts[0].trace.calls[0].usage is None


@pytest.mark.parametrize("budget", [None, lt.Budget(seconds=60)])
def test_without_such_a_cap_they_are_only_counted(budget: lt.Budget | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lt.evaluate(desk, rows(3), lt.exact_match, lm=PRICED, budget=budget).unmetered == {"queue": 3}


def test_what_is_declared_is_metered_and_charged(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.sqlite")
    found = lt.evaluate(honest, rows(3), lt.exact_match, lm=PRICED, budget=lt.Budget(usd=1.0), store=store)
    assert found.unmetered == {}
    assert found.usage == Usage(2700, 300, 0, 6)
    assert store.spent("")["task"] == pytest.approx({"lm_calls": 6.0, "tokens": 3000.0, "usd": 0.003})
    store.close()


def test_what_is_declared_counts_against_the_next_call() -> None:
    @lt.predictor
    def check(ticket: str) -> str:
        """Say the same."""
        return lt.predict()

    def both(ticket: str) -> str:
        return honest(ticket) and check(ticket=ticket)

    with pytest.raises(BudgetExhausted, match="tokens"):
        lt.evaluate(both, rows(30), lt.exact_match, lm=PRICED, budget=lt.Budget(tokens=8000), concurrency=1)


def test_a_refusal_says_that_the_cap_does_not_cover_them() -> None:
    @lt.predictor
    def check(ticket: str) -> str:
        """Say the same."""
        return lt.predict()

    def both(ticket: str) -> str:
        return desk(ticket) and check(ticket=ticket)

    with pytest.warns(UnmeteredWarning), pytest.raises(BudgetExhausted, match=r"Unmetered calls \(queue\)"):
        lt.evaluate(both, rows(30), lt.exact_match, lm=PRICED, budget=lt.Budget(lm_calls=4), concurrency=1)


def test_a_study_says_so_at_once_and_in_plan_journal_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events: list[Mapping[str, Any]] = []
    console = Console(record=True, width=400, file=io.StringIO())
    progress = Progress(console, live=False)

    def listen(event: Mapping[str, Any]) -> None:
        events.append(event)
        progress(event)

    lt.optimize(
        desk,
        rows(40),
        lt.exact_match,
        lm=PRICED,
        auto=60,
        budget=lt.Budget(usd=1.0),
        study_dir=tmp_path / "study",
        anyway=True,
        on_event=listen,
        concurrency=1,
    )
    told = [index for index, event in enumerate(events) if event["event"] == "warning"]
    first = next(index for index, event in enumerate(events) if event["event"] == "rollout")
    assert told == [first - 1]
    by_name = {event["event"]: event for event in events}
    n = len(by_name["baseline"]["outcomes"])
    assert by_name["baseline"]["unmetered"] == {"queue": n}
    assert by_name["baseline"]["outcomes"][0]["unmetered"] == {"queue": 1}
    sentence = f"unmetered calls: {n} of predictor 'queue'; the budget's cap (usd) does not cover them."
    assert any(text.startswith(sentence) for text in by_name["baseline"]["warnings"])
    assert any("own calls (queue) are counted" in note for note in by_name["plan"]["notes"])
    show_plan(by_name["plan_measured"])
    assert sentence in " ".join(capsys.readouterr().err.split())
    journal = [event for event in events if not event.get("transient")]
    assert any(text.startswith(sentence) for text in summary(read_all(journal)).warnings)
    assert sentence in (tmp_path / "study" / "report.html").read_text(encoding="utf-8").replace("&#x27;", "'").replace(
        "&#39;", "'"
    )
    shown = " ".join(console.export_text().split())
    assert "! unmetered calls: 1 of predictor 'queue'" in shown


def test_a_study_measures_plans_prices_and_charges_a_connected_programs_own_calls(tmp_path: Path) -> None:
    with OpenAIServer(lambda body: "delivery") as server:
        client = lt.connect(server.client(), price=lt.Price(1.0, 1.0))

        @lt.predictor
        def own(ticket: str) -> str:
            """Name the queue."""
            reply = client.chat.completions.create(model="m", messages=lt.prompt().messages(), temperature=0)
            return str(reply.choices[0].message.content)

        events: list[Mapping[str, Any]] = []
        result = lt.optimize(
            lambda ticket: own(ticket=ticket),
            rows(40),
            lt.exact_match,
            lm=lt.LM("big", client=client, price=lt.Price(100.0, 100.0)),
            auto=60,
            budget=lt.Budget(lm_calls=500),
            study_dir=tmp_path / "study",
            anyway=True,
            on_event=events.append,
        )
        by_name = {event["event"]: event for event in events}
        assert "unmetered" not in by_name["baseline"]
        assert not any(event["event"] == "warning" for event in events)
        cost = by_name["baseline"]["outcomes"][0]["cost"]
        assert cost["lm_calls"] == 1
        assert cost["prompt_tokens"] > 0
        store = Store(tmp_path / "study" / "store.sqlite")
        [study] = {row[0] for row in store._database.execute("SELECT study FROM attempts")}
        asked = sum(amounts["lm_calls"] for amounts in store.spent(study).values())
        store.close()
        own_lm, lm = f"m at {server.url}", f"big at {server.url}"
        assert by_name["baseline"]["own_lms"]["own"] == {
            "name": "m",
            "identity": own_lm,
            "price": {"input": 1.0, "output": 1.0, "cached_input": None},
        }
        assert by_name["baseline"]["outcomes"][0]["lms"] == {own_lm: cost}
        told = result.usage_by_lm
        assert told.keys() == {own_lm, lm}
        [baseline] = [phase for phase in by_name["plan_measured"]["phases"] if phase["name"] == "baseline"]
        assert baseline["usd"] == pytest.approx(baseline["tokens"] / 1e6, abs=1e-4)  # at the price of its own LM
        usd = (told[own_lm].tokens + 100 * told[lm].tokens) / 1e6
        assert summary(read_all(events)).spent.usd == pytest.approx(usd)
        assert own_lm in (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
        probes = sum(body.get("max_tokens") == 1 for body in server.requests)
        assert asked == len(server.requests)
        assert probes == 1
