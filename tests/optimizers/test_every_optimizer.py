"""What every optimizer promises, the paper's presets and the controls included."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import luthier as lt
from luthier.canonical import canonical_json, uniform_order
from luthier.lm.doubles import ScriptedLM
from luthier.lm.request import Completion, Request
from luthier.optimizers.registry import OPTIMIZERS, optimizer_named
from tests.lengths import in_rings
from tests.optimizers.studies import Interrupted, event, journal, stop_after, told, tune
from tests.studies import world

LIMIT = 1000
OFTEN = ("reflect", "mipro", "mipro/paper", "bootstrap-random-search", "mipro++", "opro", "labeled-few-shot")
"""One of each shape: lessons, minibatches, the paper, full evaluations, learned settings, scores shown, no search."""


class Unpunctual(ScriptedLM):
    """Answers after a while of its own."""

    async def complete(self, request: Request) -> Completion:
        await asyncio.sleep(uniform_order("wait", repr(request)) / 2**64 * 0.01)
        return await super().complete(request)


class Study(NamedTuple):
    name: str
    directory: Path
    calls: int


@pytest.fixture(scope="module", params=in_rings(OPTIMIZERS, OFTEN))
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Study:
    directory, lm = tmp_path_factory.mktemp("whole") / "study", ScriptedLM(world.answer)
    tune(directory, request.param, lm=lt.LM(lm), looks=directory.with_name("looks.sqlite"))
    return Study(request.param, directory, lm.calls)


def test_an_interrupted_study_ends_with_the_journal_of_an_uninterrupted_one(study: Study, tmp_path: Path) -> None:
    name, whole, calls = study
    expected = journal(whole)
    lm = ScriptedLM(world.answer)
    rng, stops = random.Random(name), 0
    while True:
        try:
            tune(tmp_path / "study", name, lm=lt.LM(lm), on_event=stop_after(rng.randint(2, len(expected) // 3)))
            break
        except Interrupted:
            stops += 1
            now = journal(tmp_path / "study")
            assert now == expected[: len(now)]
    assert journal(tmp_path / "study") == expected
    assert stops >= 2
    assert lm.calls == calls, "what was answered before an interruption is not asked for again"


def test_the_order_in_which_answers_arrive_does_not_matter(study: Study, tmp_path: Path) -> None:
    name, whole, _ = study
    tune(tmp_path / "study", name, lm=lt.LM(Unpunctual(world.answer)))
    assert decided(journal(tmp_path / "study")) == decided(journal(whole))


def test_what_is_chosen_is_no_worse_than_the_original_on_the_rows_it_was_chosen_by(study: Study) -> None:
    directory = study.directory
    baseline, choice = event(directory, "baseline"), event(directory, "choice")
    assert choice["mean"] >= baseline["mean"]
    assert choice["mean"] == max(row["mean"] for row in choice["table"])
    assert any(row["is_original"] for row in choice["table"])
    scored = {outcome["example"] for outcome in baseline["outcomes"]}
    assert all(row["n"] == len(scored) for row in choice["table"])


def test_no_two_levels_are_equal_and_nothing_is_looked_at_twice(study: Study) -> None:
    directory = study.directory
    payloads = {name: dict(levels) for name, levels in event(directory, "space")["payloads"].items()}
    for arrived in arrivals(directory):
        for name, levels in arrived["payloads"].items():
            assert not payloads[name].keys() & levels.keys()
            payloads[name].update(levels)
    for levels in payloads.values():
        contents = [canonical_json(without_provenance(payload)) for payload in levels.values()]
        assert len(set(contents)) == len(contents)
    full = [canonical_json(ask["point"]) for ask, _ in told(directory) if ask["purpose"] == "full"]
    assert len(set(full)) == len(full)
    seen = [
        (canonical_json(ask["point"]), example)
        for ask, _ in told(directory)
        if ask["purpose"] != "full"
        for example in ask["examples"]
    ]
    assert len(set(seen)) == len(seen)


def test_programs_other_than_the_original_are_tried(study: Study) -> None:
    _, directory, _ = study
    original = {v["name"]: v["levels"][0] for v in event(directory, "space")["variables"]}
    tried = [ask["point"] for ask, _ in told(directory)]
    assert tried and sum(point != original for point in tried) >= len(tried) - 1
    for arrived in arrivals(directory):
        assert arrived["points"] or arrived["rejected"]
        assert not arrived["payloads"] or arrived["usage"]["proposer"]["lm_calls"] > 0


def test_only_paper_presets_let_an_example_meet_itself(study: Study) -> None:
    name, directory, _ = study
    split, choice = event(directory, "split"), event(directory, "choice")
    scored = {outcome["example"] for outcome in event(directory, "baseline")["outcomes"]}
    if not optimizer_named(name).scores_on_train:
        assert scored == set(split["val"])
        assert choice["leaked_cells"] == 0
        return
    assert scored == set(split["train"]) | set(split["val"])
    demos = any(variable["name"].endswith("demos") for variable in event(directory, "space")["variables"])
    assert (choice["leaked_cells"] > 0) == demos


def test_the_plan_is_an_upper_bound(study: Study) -> None:
    directory = study.directory
    plan = event(directory, "plan_measured")
    planned = {phase["name"]: phase for phase in plan["phases"]}
    made = {"search": 0, "full evaluations": 0}
    for ask, tell in told(directory):
        exhaustive = ask["purpose"] == "full" and "full evaluations" in planned
        made["full evaluations" if exhaustive else "search"] += len(tell["outcomes"])
    bootstrap = event(directory, "bootstrap")
    assert sum(bootstrap["attempts"].values()) <= planned["bootstrap"]["rollouts"]
    assert all(rollouts <= planned.get(name, {"rollouts": 0})["rollouts"] for name, rollouts in made.items())
    assert len(told(directory)) <= plan["trials"]
    written = [e["usage"]["lm_calls"] for e in journal(directory) if e["event"] in ("grounding", "proposals")]
    written += [e["usage"].get("proposer", {}).get("lm_calls", 0) for e in arrivals(directory)]
    assert sum(written) <= planned.get("proposals", {"calls": 0})["calls"]


@pytest.mark.parametrize("name", in_rings(OPTIMIZERS, OFTEN))
def test_a_limit_on_calls_is_never_exceeded_and_there_is_a_verdict(name: str, tmp_path: Path) -> None:
    lm = ScriptedLM(world.answer)
    result = tune(tmp_path / "study", name, lm=lt.LM(lm), auto=None, budget=lt.Budget(lm_calls=LIMIT))
    assert lm.calls <= LIMIT
    assert result.verdict.n == 40


def decided(events: list[dict[str, Any]]) -> list[Any]:
    """Return what a study did: its asks, the scores told, what arrived, and its choice."""
    kept = ("ask", "tell", "arrival", "choice")
    return [
        {
            name: value
            for name, value in event.items()
            if name in ("event", "trial", "point", "points", "examples", "mean")
        }
        for event in events
        if event["event"] in kept
    ]


def arrivals(directory: Path) -> list[dict[str, Any]]:
    return [event for event in journal(directory) if event["event"] == "arrival"]


def without_provenance(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_provenance(part) for key, part in value.items() if key != "provenance"}
    return [without_provenance(part) for part in value] if isinstance(value, list) else value
