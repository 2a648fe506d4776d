"""Cards: what notebooks show of a result."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.evaluation.rollout import Job, Outcome, Rollout
from luthier.program.candidate import Candidate
from luthier.program.trace import Trace
from luthier.report.cards import card, result_card
from luthier.runner.verdict import Verdict, no_verdict_event
from luthier.study.events import VerdictEvent, event_of, read_all

from .fixture import hostile, journal

POISON = "<script>alert(1)</script>\"'&\u202e"


class Tags(HTMLParser):
    """Holds a text to being balanced HTML without anything that acts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        self.seen.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def found(decision: str = "adopt", poison: str = "") -> tuple[Verdict, Candidate]:
    events = journal(decision=decision)
    if poison:
        events = hostile(json.loads(json.dumps(events), object_hook=_without_provenance), poison)
    verdict = next(event for event in events if event["event"] == "verdict")
    choice = next(event for event in events if event["event"] == "choice")
    return Verdict.of(event_of(read_all([verdict]), VerdictEvent)), Candidate.from_json(choice["candidate"])


def _without_provenance(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "provenance"}


def evaluation(values: list[float | None]) -> lt.Evaluation:
    candidate = Candidate({"queue": lt.Prompt("Choose.")})
    rollouts = [
        Rollout(
            Job(candidate, f"b2:{index}"),
            Outcome.UNSCORED if value is None else Outcome.SCORED,
            None if value is None else lt.Score(value),
            "billing",
            Trace(),
        )
        for index, value in enumerate(values)
    ]
    return lt.Evaluation(candidate, tuple(rollouts))


@pytest.mark.parametrize("decision", ["adopt", "keep", "undecided"])
def test_a_verdict_shows_its_decision_sentence_and_interval(decision: str) -> None:
    verdict, _ = found(decision)
    text = verdict._repr_html_()
    Tags(text)
    assert f'class="badge {decision}"' in text
    assert verdict.sentence.replace("'", "&#x27;") in text
    assert ('class="span good"' in text) == (verdict.low > 0)


def test_a_verdict_without_held_out_examples_shows_no_numbers() -> None:
    verdict = Verdict.of(no_verdict_event())
    assert math.isnan(verdict.difference)
    text = verdict._repr_html_()
    Tags(text)
    assert "nan" not in text.split("</style>")[1].casefold()


def test_a_result_shows_what_it_recommends_and_the_best_where_that_is_another() -> None:
    verdict, best = found()
    same = result_card(verdict, best, best, Path("runs/x"), Path("runs/x/report.html"))
    other = result_card(
        verdict, best.with_instruction("route_ticket", "Else."), best, Path("runs/x"), Path("runs/x/report.html")
    )
    assert "Best prompts found" not in same
    assert "Best prompts found" in other
    assert "runs/x/report.html" in same


def test_an_evaluation_shows_its_mean_and_what_was_not_scored() -> None:
    text = evaluation([1.0, 0.0, 1.0, None])._repr_html_()
    Tags(text)
    assert "66.7 %" in text
    assert "unscored" in text
    assert "unscored" not in evaluation([1.0])._repr_html_()
    assert "–" in evaluation([None])._repr_html_()


def test_a_candidate_shows_instructions_and_demonstrations() -> None:
    _, best = found()
    text = best._repr_html_()
    Tags(text)
    assert "Answer with one" in text
    assert "12 demonstrations" in text


def test_nothing_that_a_model_wrote_becomes_markup() -> None:
    verdict, best = found(poison=POISON)
    text = result_card(replace(verdict, sentence=POISON), best, best, Path(POISON), Path(POISON))
    assert Tags(text).seen <= {"div", "style", "span", "p", "i", "b", "code", "details", "summary", "h4", "pre"}
    assert "\u202e" not in text


def test_there_is_no_card_of_anything_else() -> None:
    with pytest.raises(TypeError, match="dict"):
        card({})
