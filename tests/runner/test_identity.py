"""Whatever changes answers makes another study, and an upgrade makes none."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

import luthier as lt
from luthier.errors import StudyMismatch
from luthier.lm.doubles import ScriptedLM
from luthier.study.journal import event_data
from luthier.study.manifest import check_manifest
from tests.lm.server import OpenAIServer
from tests.optimizers.studies import Interrupted, event, stop_after, tune
from tests.program.connect.desk import NEVER_ASKED, program
from tests.program.connect.desk import rows as tickets
from tests.studies import world

AT = "http://127.0.0.1:1/v1"


def lm(**settings: Any) -> lt.LM:
    return lt.LM("m", **{"base_url": AT, "api_key": "k", **settings})


def client(headers: dict[str, str], **query: str) -> lt.LM:
    made = openai.OpenAI(base_url=AT, api_key="k", default_headers=headers, default_query=query)
    return lt.LM("m", client=made)


Manifest = Callable[..., dict[str, Any]]


@pytest.fixture
def manifest_of(tmp_path: Path) -> Manifest:
    """Return a function to the manifest of a study, of which nothing else is run."""
    number = itertools.count()

    def made(**given: Any) -> dict[str, Any]:
        directory = tmp_path / str(next(number))
        with pytest.raises(Interrupted):
            tune(directory, on_event=stop_after(1), **{"lm": lm(), **given})
        return event_data(event(directory, "manifest"))

    return made


def two_stage(**settings: Any) -> Callable[..., Any]:
    size = world.size.named("how_large", **settings)

    def describe(number: str) -> str:
        return f"{world.parity(number=number)} {size(number=number)}"

    return describe


CHANGES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "extra": (
        r"task\.extra",
        {"lm": lm(extra={"reasoning_effort": "low"})},
        {"lm": lm(extra={"reasoning_effort": "high"})},
    ),
    "extra that was not there": (r"task\.extra", {}, {"lm": lm(extra={"chat_template_kwargs": {"thinking": False}})}),
    "the proposer's extra": (r"proposer\.extra", {}, {"proposer_lm": lm(extra={"seed": 1})}),
    "the teacher's extra": (r"teacher\.extra", {}, {"teacher_lm": lm(extra={"seed": 1})}),
    "one predictor's extra": (
        r"predictor_lms\.size\.extra",
        {"lm": {"*": lm(), "size": lm(max_tokens=9, extra={"top_k": 1})}},
        {"lm": {"*": lm(), "size": lm(max_tokens=9, extra={"top_k": 2})}},
    ),
    "the task's address": (r"task\.identity", {}, {"lm": lm(base_url="http://127.0.0.1:2/v1")}),
    "the proposer's address": (r"proposer\.identity", {}, {"proposer_lm": lm(base_url="http://127.0.0.1:2/v1")}),
    "the teacher's address": (r"teacher\.identity", {}, {"teacher_lm": lm(base_url="http://127.0.0.1:2/v1")}),
    "the judge's address": (
        r"judge\.identity",
        {"metric": lt.judge("Is it right?", lm())},
        {"metric": lt.judge("Is it right?", lm(base_url="http://127.0.0.1:2/v1"))},
    ),
    "the judge's sampling": (
        r"judge\.top_p",
        {"metric": lt.judge("Is it right?", lm())},
        {"metric": lt.judge("Is it right?", lm(top_p=0.5))},
    ),
    "the judge's extra": (
        r"judge\.extra",
        {"metric": lt.judge("Is it right?", lm())},
        {"metric": lt.judge("Is it right?", lm(extra={"reasoning_effort": "high"}))},
    ),
    "a header that selects a model": (
        r"task\.identity",
        {"lm": client({"x-portkey-config": "pc-a"})},
        {"lm": client({"x-portkey-config": "pc-b"})},
    ),
    "a query that selects a model": (
        r"task\.identity",
        {"lm": client({}, deployment="blue")},
        {"lm": client({}, deployment="green")},
    ),
    "a predictor's own temperature": (
        r"predictors\[0\]\.settings",
        {"program": two_stage(temperature=0.1)},
        {"program": two_stage(temperature=0.9)},
    ),
    "a predictor's own stops": (
        r"predictors\[0\]\.settings",
        {"program": two_stage()},
        {"program": two_stage(stop=["."])},
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_answers_makes_another_study(what: str, manifest_of: Manifest) -> None:
    named, before, after = CHANGES[what]
    with pytest.raises(StudyMismatch, match=named):
        check_manifest(Path("s"), manifest_of(**before), manifest_of(**after), ("versions", "launch"))


def test_another_renderer_makes_another_study(manifest_of: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    before = manifest_of()
    monkeypatch.setattr("luthier.runner.manifest.RENDERER", 1000)
    for old in (before, {name: value for name, value in before.items() if name != "renderer"}):
        with pytest.raises(StudyMismatch, match="renderer"):
            check_manifest(Path("s"), old, manifest_of(), ("versions", "launch"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"lm": lm()}, {"lm": lm(api_key="another")}),
        ({"lm": lm(timeout=10)}, {"lm": lm(timeout=20, rpm=100, max_in_flight=3)}),
        ({"lm": client({"traceparent": "1"})}, {"lm": client({"traceparent": "2", "x-request-id": "9"})}),
        ({"lm": client({"x-portkey-api-key": "a"})}, {"lm": client({"x-portkey-api-key": "b"})}),
    ],
    ids=["a key", "the pace", "tracing", "a key in a header"],
)
def test_what_changes_no_answer_makes_none(before: Any, after: Any, manifest_of: Manifest) -> None:
    check_manifest(Path("s"), manifest_of(**before), manifest_of(**after), ("versions", "launch"))


def test_a_study_that_began_before_manifests_named_so_much_goes_on(tmp_path: Path) -> None:
    lm = lt.LM(ScriptedLM(world.answer), extra={"reasoning_effort": "low"})
    with pytest.raises(Interrupted):
        tune(tmp_path, on_event=stop_after(6), lm=lm)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    for name in ("format", "renderer"):
        del manifest[name]
    for role in manifest["lms"].values():
        del role["extra"]
    for predictor in manifest["predictors"]:
        del predictor["settings"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert tune(tmp_path, lm=lm).decision in ("adopt", "keep", "undecided")
    assert event(tmp_path, "done")
    with pytest.raises(StudyMismatch, match="top_p"):
        tune(tmp_path, lm=lm.with_settings(top_p=0.5))


def test_answers_of_one_configuration_are_not_those_of_another(tmp_path: Path) -> None:
    with OpenAIServer(lambda body: "delivery") as server:
        for connected in (False, True):
            for name in ("a", "b", "a"):
                own = openai.OpenAI(base_url=server.url, api_key="k", default_headers={"x-portkey-config": name})
                store = tmp_path / f"{connected}.sqlite"
                if connected:
                    lt.evaluate(program(lt.connect(own)), tickets(1), lt.exact_match, lm=NEVER_ASKED, store=store)
                else:
                    lm = lt.LM("m", client=own)
                    lt.evaluate(world.parity, world.rows(1), lt.exact_match("parity"), lm=lm, store=store)
            assert len(server.requests) == (4 if connected else 2)
