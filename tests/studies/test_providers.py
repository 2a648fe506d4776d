"""A study against a server of every family of providers ends with a verdict, and keeps the key to itself."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

import luthier as lt
from luthier.errors import ConfigError, StudyPaused
from luthier.lm import providers
from luthier.study.journal import read_journal, without_times
from tests.lm.families import FAMILIES, THOUGHT, Family, deepseek, openai
from tests.lm.server import Body, Fault, OpenAIServer

KEY = "zq7Key-w8Vv4kR2m9XtB"
Queue = Literal["billing", "delivery"]


@dataclass
class Ruling:
    """Where a ticket goes."""

    queue: Queue
    why: str


@lt.predictor
def note(ticket: str) -> str:
    """Write a note."""
    return lt.predict()


@lt.predictor
def ruling(note: str) -> Ruling:
    """Choose the queue."""
    return lt.predict()


def triage(ticket: str) -> Queue:
    return ruling(note=note(ticket=ticket)).queue


def rows(n: int = 80) -> list[dict[str, str]]:
    return [{"ticket": f"ticket {i} about {q}", "queue": q} for i in range(n) for q in [("billing", "delivery")[i % 2]]]


def said(body: Body) -> str:
    """Answer as the model: right for all but every third ticket, and for these if told to be careful."""
    first, last = body["messages"][0], str(body["messages"][-1]["content"])
    if first["role"] != "system":
        return f"Read the whole text carefully, then decide; variant {len(last) % 7}."
    right = "billing" if "billing" in last else "delivery"
    if "Reply with the note" in first["content"]:
        return last.replace("ticket: ", "")
    number = int("".join(filter(str.isdigit, last)) or 0)
    wrong = number % 3 == 0 and "carefully" not in first["content"]
    queue = {"billing": "delivery", "delivery": "billing"}[right] if wrong else right
    if "Reply with one JSON object" in first["content"]:
        return json.dumps({"queue": queue, "why": "so"})
    return f"queue: {queue}\n\nwhy: so"


@contextmanager
def serving(
    family: Family, monkeypatch: pytest.MonkeyPatch, handler: Callable[[Body], Any] | None = None
) -> Iterator[OpenAIServer]:
    with OpenAIServer(handler or (lambda body: family.answer(body, said(body))), key=KEY) as server:
        known = providers.PROVIDERS[family.name]
        own = dataclasses.replace(known, base_url=server.url, url_variable=None)
        monkeypatch.setitem(providers.PROVIDERS, family.name, own)
        if known.key_variable is not None:
            monkeypatch.setenv(known.key_variable, KEY)
        yield server


def tune(directory: Path, lm: lt.LM, **given: Any) -> lt.Result[Any]:
    settings = {"auto": 60, "budget": lt.Budget(lm_calls=1500, tokens=40_000_000), **given}
    return lt.optimize(triage, rows(), lt.exact_match("queue"), lm=lm, study_dir=directory, **settings)


def refused(directory: Path) -> list[dict[str, Any]]:
    return [event for event in read_journal(directory / "journal.jsonl") if event["event"] == "refused"]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_study_ends_with_a_verdict_and_its_files_hold_no_key(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    with serving(family, monkeypatch) as server:
        result = tune(tmp_path / "study", lt.LM(family.model, **family.settings), on_event=told.append)
    assert result.decision in ("adopt", "keep", "undecided")
    assert result.verdict.before > 0.5  # its answers are read, thoughts and all
    events = refused(tmp_path / "study")
    assert sorted(event["parameter"] for event in events) == sorted(family.learned)  # each once
    refusals = [body for body in server.requests if family.refuse(body) is not None]
    assert len(refusals) <= 64 * len(family.learned)  # only those that were in flight already
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in "".join(map(str, told))
    baseline = next(event for event in result.events if event["event"] == "baseline")
    if family.shape.__name__ in ("_inside", "_beside"):
        assert baseline["usage"]["completion_tokens"] > THOUGHT * baseline["usage"]["lm_calls"]


def azure() -> Family:
    return next(family for family in FAMILIES if family.name == "azure")


def test_what_is_refused_is_journaled_before_the_call_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family, wrong = azure(), []

    def answer(body: Body) -> Any:
        journal = tmp_path / "study" / "journal.jsonl"
        known = {event["parameter"] for event in read_journal(journal) if event["event"] == "refused"}
        if "max_tokens" not in body and "max_tokens" not in known:
            wrong.append(body)
        if "temperature" not in body and "temperature" not in known:
            wrong.append(body)
        return family.answer(body, said(body))

    with serving(family, monkeypatch, answer):
        tune(tmp_path / "study", lt.LM(family.model), auto=60, optimizer="labeled-few-shot")
    assert not wrong


@pytest.mark.parametrize("events", [3, 4, 5, 6, 9])
def test_a_study_interrupted_around_what_it_learned_ends_as_one_that_was_not(
    events: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = azure()

    def stop(event: Any, written: list[Any] = []) -> None:  # noqa: B006 - counts over the calls
        written.append(event) if not event.get("transient") else None
        if len(written) >= events:
            raise RuntimeError("interrupted")

    with serving(family, monkeypatch) as server:
        lm = lt.LM(family.model)
        tune(tmp_path / "whole", lm, optimizer="labeled-few-shot")
        with pytest.raises((RuntimeError, StudyPaused)):
            tune(tmp_path / "cut", lm, optimizer="labeled-few-shot", on_event=stop)
        before = len(server.requests)
        tune(tmp_path / "cut", lm, optimizer="labeled-few-shot")
        again = server.requests[before:]
    whole, cut = (list(without_times(read_journal(tmp_path / name / "journal.jsonl"))) for name in ("whole", "cut"))
    assert cut == whole
    known = {event["parameter"] for event in whole[:events] if event["event"] == "refused"}
    assert not [body for body in again if known & body.keys()]  # what was learned is not tried again


def test_what_was_answered_while_refusals_were_learned_is_not_asked_again(tmp_path: Path) -> None:
    accepted: list[Body] = []

    def answer(body: Body) -> Any:
        if (fault := openai(body) or deepseek(body)) is not None:
            return fault
        accepted.extend([body] if "ticket" in str(body["messages"]) else [])  # the probe is always sent
        return said(body)

    journal = tmp_path / "study" / "journal.jsonl"
    with OpenAIServer(answer) as server:
        lm = lt.LM("behind-a-proxy", base_url=server.url)
        tune(tmp_path / "study", lm, optimizer="labeled-few-shot")
        before = len(accepted)
        whole = journal.read_text(encoding="utf-8").splitlines(keepends=True)
        learned = [place for place, line in enumerate(whole) if '"event":"refused"' in line]
        journal.write_text("".join(whole[: learned[-1] + 1]), encoding="utf-8")  # killed in the midst of the baseline
        tune(tmp_path / "study", lm, optimizer="labeled-few-shot")
    assert len(learned) == 3
    assert len(accepted) == before


def test_what_each_role_is_refused_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roles = ("task", "teacher", "proposer", "judge")

    def answer(body: Body) -> Any:
        if (fault := openai(body)) is not None:
            return fault
        if body["model"] == "judge":
            return json.dumps({"reasoning": "so", "passes": "billing" in str(body["messages"][-1]["content"])})
        return said(body)

    with OpenAIServer(answer) as server:
        lms = {role: lt.LM(role, base_url=server.url, temperature=0.5) for role in roles}
        metric = lt.judge("Is it right?", lm=lms["judge"])
        result = lt.optimize(
            triage,
            rows(),
            metric,
            lm=lms["task"],
            teacher_lm=lms["teacher"],
            proposer_lm=lms["proposer"],
            auto=60,
            study_dir=tmp_path / "study",
        )
    assert result.decision in ("adopt", "keep", "undecided")
    learned = {(event["name"], event["parameter"]) for event in refused(tmp_path / "study")}
    assert learned == {(role, parameter) for role in roles for parameter in ("temperature", "max_tokens")}


def test_a_schema_that_is_refused_is_left_out_and_its_answers_are_read(tmp_path: Path) -> None:
    def answer(body: Body) -> Any:
        return deepseek(body) or said(body)

    with OpenAIServer(answer) as server:
        result = tune(tmp_path / "study", lt.LM("behind-a-proxy", base_url=server.url))
    assert [event["parameter"] for event in refused(tmp_path / "study")] == ["response_format"]
    assert result.verdict.before > 0.5


def test_a_listener_that_fails_while_a_refusal_is_written_pauses_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listen(event: Any) -> None:
        if event["event"] == "refused":
            raise RuntimeError("no")

    family = azure()
    with serving(family, monkeypatch), pytest.raises(StudyPaused):
        tune(tmp_path / "study", lt.LM(family.model), on_event=listen)


def test_a_value_out_of_range_names_its_setting_and_is_not_left_out(tmp_path: Path) -> None:
    def answer(body: Body) -> Any:
        # the form of https://docs.pydantic.dev/latest/errors/validation_errors/#less_than_equal
        said = "Input should be less than or equal to 1.5"
        found = [{"type": "less_than_equal", "loc": ["body", "temperature"], "msg": said, "input": 3.0}]
        return Fault(422, {"object": "error", "message": {"detail": found}})

    with OpenAIServer(answer) as server, pytest.raises(ConfigError, match="temperature"):
        tune(tmp_path / "study", lt.LM("m", base_url=server.url, temperature=3))
    assert all("temperature" in body for body in server.requests)


def test_what_is_exported_is_sent_as_the_study_learned_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = azure()
    with serving(family, monkeypatch):
        lm = lt.LM(family.model, extra={"service_tier": "flex"})
        result = tune(tmp_path / "study", lm, optimizer="labeled-few-shot")
    exported = lt.export(result, "python")
    assert "max_completion_tokens" in exported
    assert "'service_tier': 'flex'" in exported
    assert '"temperature"' not in exported and '"max_tokens"' not in exported
