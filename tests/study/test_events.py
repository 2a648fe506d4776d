"""The journal's events: every released version is read, and nothing is lost or changed on the way."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from luthier.optimizers.registry import OPTIMIZERS
from luthier.report.write import write_report
from luthier.study.events import (
    EVENTS,
    BootstrapEvent,
    DoneEvent,
    LessonsEvent,
    ManifestEvent,
    PlanEvent,
    Record,
    StartsEvent,
    TellEvent,
    UnknownEvent,
    VerdictEvent,
    fields_of,
    read,
    read_all,
    to_json,
)
from luthier.study.events_reference import reference
from luthier.study.journal import event_data, read_journal
from tests.lengths import in_rings
from tests.optimizers.studies import tune
from tests.optimizers.test_every_optimizer import OFTEN

REPOSITORY = Path(__file__).parents[2]
OLD = Path(__file__).with_name("journal_of_0_1_0.jsonl")
"""A journal that luthier 0.1.0 wrote: MIPRO on 70 examples, with prompts to start from."""


def anew(record: Any) -> Any:
    """Return a record as if it had not been read."""
    values = {one.name: getattr(record, one.name) for one in dataclasses.fields(record) if one.name != "order"}
    for name, value in values.items():
        if isinstance(value, tuple):
            values[name] = tuple(anew(item) if isinstance(item, Record) else item for item in value)
    return type(record)(**values)


@pytest.mark.parametrize("name", in_rings(OPTIMIZERS, OFTEN))
def test_the_events_of_every_optimizer_are_read_and_written_unchanged(name: str, tmp_path: Path) -> None:
    tune(tmp_path, name, examples=60)
    events = read_journal(tmp_path / "journal.jsonl")
    for event, typed in zip(events, read_all(events), strict=True):
        assert not isinstance(typed, UnknownEvent) and not typed.unknown, event["event"]
        assert json.dumps(to_json(typed)) == json.dumps(event)
        assert to_json(anew(typed)) == event_data(event)
        missing = {one.key for one in fields_of(type(typed)) if one.is_required} - event.keys()
        assert not missing, f"{event['event']} lacks {missing}"


def test_a_journal_of_0_1_0_is_read_and_written_unchanged() -> None:
    events = read_journal(OLD)
    typed = read_all(events)
    assert [json.dumps(to_json(event)) for event in typed] == [json.dumps(event) for event in events]
    assert not any(isinstance(event, UnknownEvent) or event.unknown for event in typed)
    manifest = next(event for event in typed if isinstance(event, ManifestEvent))
    plan = next(event for event in typed if isinstance(event, PlanEvent))
    starts = next(event for event in typed if isinstance(event, StartsEvent))
    verdict = next(event for event in typed if isinstance(event, VerdictEvent))
    assert (manifest.format, manifest.renderer, manifest.versions["luthier"]) == (1, 1, "0.1.0")
    assert (plan.look, plan.level) == (1, 0.95)
    assert {outcome.outcome for outcome in starts.trials[0].outcomes} == {"scored"}
    assert (verdict.decision, len(verdict.outcomes_before)) == ("keep", 20)


def test_a_study_of_0_1_0_is_shown_and_reported(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(OLD.read_bytes())
    page = write_report(tmp_path)
    assert "Keep your original" in page.read_text(encoding="utf-8")


def test_events_and_fields_of_later_versions_are_kept() -> None:
    event = {"v": 1, "seq": 0, "event": "dream/2", "time": "t", "of": ["sheep"]}
    typed = read(event)
    assert isinstance(typed, UnknownEvent)
    assert (typed.name, typed.unknown, to_json(typed)) == ("dream/2", {"of": ["sheep"]}, event)
    event = {"v": 1, "seq": 1, "event": "done", "time": "t", "mood": "glad", "decision": "keep"}
    assert read(event).unknown == {"mood": "glad"}
    assert json.dumps(to_json(read(event))) == json.dumps(event)


def test_a_part_tells_events_of_one_kind_apart() -> None:
    events = read_all([{"event": "bootstrap/0.7"}, {"event": "lessons/2", "runs": 3}, {"event": "bootstrap"}])
    assert [(type(event), event.part) for event in events] == [
        (BootstrapEvent, "0.7"),
        (LessonsEvent, "2"),
        (BootstrapEvent, ""),
    ]
    assert [event.name for event in events] == ["bootstrap/0.7", "lessons/2", "bootstrap"]


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_without_any_fields_is_read_and_changed_fields_are_written(kind: type[Any]) -> None:
    event = {"event": kind.kind}
    assert to_json(read(event)) == event
    assert dict(to_json(dataclasses.replace(read(event), time="now"))) == event
    for one in fields_of(kind):
        given: dict[str, Any] = {one.name: ("x",)}
        assert to_json(dataclasses.replace(read(event), **given)) == {**event, one.key: ["x"]}


def test_a_new_event_leaves_out_what_is_optional() -> None:
    assert to_json(DoneEvent(decision="keep")) == {"decision": "keep"}
    assert to_json(DoneEvent(decision="keep", warnings=["w"])) == {"decision": "keep", "warnings": ["w"]}
    told = TellEvent(trial=1, mean=0.5, outcomes=(), usage={})
    assert to_json(told) == {"trial": 1, "mean": 0.5, "outcomes": [], "usage": {}}


def test_the_reference_is_up_to_date() -> None:
    path = REPOSITORY / "docs" / "events.md"
    assert path.read_text(encoding="utf-8") == reference(), (
        "run: python -m luthier.study.events_reference > docs/events.md"
    )
