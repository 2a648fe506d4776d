from __future__ import annotations

import json
import sqlite3
from html.parser import HTMLParser
from pathlib import Path

import pytest

from luthier.report import write_report
from luthier.report.figures import short_id
from tests.lengths import places

from .fixture import PREDICTORS, Event, hostile, journal, study

POISON = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>]]>&amp;{{7*7}}\u202e\x1b[31m "
VOID = {"meta", "br", "img"}


class Page(HTMLParser):
    """Collects tags and text, and checks that tags close in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def rendered(tmp_path: Path, events: list[Event]) -> str:
    return write_report(study(tmp_path / "study", events)).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("decision", "badge"), [("adopt", "Adopt"), ("keep", "Keep your original"), ("undecided", "Undecided")]
)
def test_the_headline_is_the_verdicts_sentence_with_a_badge(tmp_path: Path, decision: str, badge: str) -> None:
    events = journal(decision=decision)
    page = Page(rendered(tmp_path, events))
    sentence = next(event["sentence"] for event in events if event["event"] == "verdict")
    assert f"{badge} {sentence}" in page.text


def test_every_section_is_there_and_every_tag_closes(tmp_path: Path) -> None:
    page = Page(rendered(tmp_path, journal()))
    assert page.open == []
    for title in (
        "Prompts",
        "Score by trial",
        "What each change brings",
        "Examples fixed and broken",
        "Candidates",
        "How runs ended",
        "Demos collected",
        "Proposed instructions",
        "Cost",
        "Settings",
    ):
        assert title in page.text


def test_the_report_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    html = rendered(tmp_path, journal())
    page = Page(html)
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "form", "base"})
    assert not [name for name, _ in page.attributes if name in ("src", "href", "srcset") or name.startswith("on")]
    assert "url(" not in html and "@import" not in html
    policies = [value for name, value in page.attributes if name == "content" and value and "default-src" in value]
    assert len(policies) == 1 and policies[0].startswith("default-src 'none'; style-src 'unsafe-inline'")


@pytest.mark.parametrize(
    ("began", "shown"),
    [
        ("2026-03-04T05:06:07+00:00", "4 March 2026, 05:06 UTC"),
        ("2026-12-31T23:59:59+00:00", "31 December 2026, 23:59 UTC"),
    ],
)
def test_the_day_it_began_is_told_on_every_system(tmp_path: Path, began: str, shown: str) -> None:
    first, *rest = journal(until="split")
    assert shown in Page(rendered(tmp_path, [{**first, "time": began}, *rest])).text


def test_text_of_models_and_data_cannot_become_markup(tmp_path: Path) -> None:
    clean = Page(rendered(tmp_path / "clean", journal()))
    html = rendered(tmp_path / "hostile", hostile(journal(), POISON))
    page = Page(html)
    assert page.tags <= clean.tags
    assert {name for name, _ in page.attributes} <= {name for name, _ in clean.attributes}
    assert page.open == []
    assert "\u202e" not in html and "\x1b" not in html
    assert "<script>alert(1)</script>" in page.text  # shown, as text


def test_lone_surrogates_do_not_stop_the_report(tmp_path: Path) -> None:
    page = Page(rendered(tmp_path, hostile(journal(), "\ud800")))
    assert page.open == []


@pytest.mark.slow
def test_a_study_can_be_looked_at_after_every_event(tmp_path: Path) -> None:
    events = journal(trials=5)
    for end in places(len(events) + 1, 12):
        page = Page(rendered(tmp_path, events[:end]))
        assert page.open == []
        finished = any(event["event"] == "verdict" for event in events[:end])
        assert ("not finished" in page.text) is not finished


def test_a_torn_last_line_is_not_yet_there(tmp_path: Path) -> None:
    directory = study(tmp_path / "study", journal(until="space"))
    with (directory / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"v":1,"event":"tell","outc')
    assert "not finished" in Page(write_report(directory).read_text(encoding="utf-8")).text


def test_prompts_stand_side_by_side_with_demos_folded(tmp_path: Path) -> None:
    html = rendered(tmp_path, journal())
    page = Page(html)
    for name in PREDICTORS:
        assert name in page.text
    assert "<ins>" in html
    assert "Original: no demos" in page.text
    assert "Chosen: 12 demos" in page.text
    assert "<details>" in html and "<details open" not in html


def test_fixed_and_broken_examples_are_named_by_id_alone(tmp_path: Path) -> None:
    events = journal()
    verdict = next(event for event in events if event["event"] == "verdict")
    page = Page(rendered(tmp_path, events))
    assert f"Fixed: {len(verdict['fixed'])}" in page.text
    for example in (*verdict["fixed"], *verdict["broken"]):
        assert short_id(example) in page.text
        assert ("title", example) in page.attributes


def test_a_study_too_small_for_a_verdict_says_so(tmp_path: Path) -> None:
    events = journal(decision="undecided")
    numbers = ("before", "after", "difference", "low", "high", "tokens_before", "tokens_after", "smallest_detectable")
    for event in events:
        if event["event"] == "verdict":
            event |= {**dict.fromkeys(numbers), "n": 0, "fixed": [], "broken": []}
            event |= {"outcomes_before": [], "outcomes_after": [], "sentence": "Fewer than 60 examples."}
    page = Page(rendered(tmp_path, events))
    assert "Undecided Fewer than 60 examples." in page.text
    assert "Of 0 held-out examples" not in page.text


def test_where_the_original_stays_there_is_nothing_to_compare(tmp_path: Path) -> None:
    events = journal(decision="keep")
    for event in events:
        if event["event"] == "choice":
            event["point"] = next(row["point"] for row in event["table"] if row["is_original"])
    html = rendered(tmp_path, events)
    assert (
        "they stay" in html and "Chosen" not in Page(html).text.partition("Score by trial")[0].partition("Prompts")[2]
    )


def test_the_plan_stands_beside_what_happened(tmp_path: Path) -> None:
    page = Page(rendered(tmp_path, journal()))
    assert "baseline 60 plan 60" in page.text


def test_closing_evaluations_after_the_budget_ended_count_as_trials(tmp_path: Path) -> None:
    events = journal()
    end = next(index for index, event in enumerate(events) if event["event"] == "loop_end")
    trial = {"point": events[end - 2]["point"], "number": 30, "outcomes": events[end - 1]["outcomes"]}
    closing = {"v": 1, "event": "closing", "time": events[end]["time"], "trials": [trial]}
    events[end + 1 : end + 1] = [closing]
    for number, event in enumerate(events):
        event["seq"] = number
    assert "31 evaluations, 5 of them on every validation example" in Page(rendered(tmp_path, events)).text


def test_what_was_paid_is_read_from_the_store(tmp_path: Path) -> None:
    directory = study(tmp_path / "study", journal())
    with sqlite3.connect(directory / "store.sqlite") as database:
        database.execute("CREATE TABLE attempts (study TEXT, role TEXT, reserved TEXT, bill TEXT)")
        bill = json.dumps({"lm_calls": 4321, "tokens": 98765, "usd": 0.5})
        database.execute("INSERT INTO attempts VALUES ('s', 'task', '{}', ?)", (bill,))
    database.close()
    page = Page(write_report(directory).read_text(encoding="utf-8"))
    assert "LM calls, charged 4 321" in page.text
    assert "$0.5000" in page.text


def test_the_report_replaces_its_predecessor_whole(tmp_path: Path) -> None:
    directory = study(tmp_path / "study", journal())
    first = write_report(directory).read_bytes()
    assert write_report(directory).read_bytes() == first
    assert not list(directory.glob("*.part"))


def test_a_manifest_alone_gives_a_page(tmp_path: Path) -> None:
    events = [{"v": 1, "seq": 0, "event": "manifest", "time": "2026-01-01T00:00:00+00:00"}]
    assert Page(rendered(tmp_path, events)).open == []
