"""Comparing prompts or LMs on the same examples: paired, with intervals, and nothing said that they do not show."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import CandidateError, ConfigError, StudyPaused, Unavailable
from luthier.lm.doubles import ScriptedLM
from luthier.program.candidate import Demo, DemoSource, Prompt, Provenance
from luthier.runner.compare import Difference
from tests.lms.world import two
from tests.studies import world

METRIC = lt.exact_match("answer")


def careful(demos: int = 6) -> lt.Candidate:
    """Return prompts that do better."""
    shown = tuple(
        Demo({"number": str(i)}, {"size": world.truth("size", i)}, None, Provenance(DemoSource.WRITTEN))
        for i in range(1000, 1000 + demos)
    )
    return lt.Candidate({"parity": Prompt("Look carefully."), "size": Prompt("Look carefully, small or large.", shown)})


def scripted(name: str = "one", answer: Any = world.answer) -> lt.LM:
    return lt.LM(ScriptedLM(answer, identity=name))


def test_two_sets_of_prompts_are_compared_pair_by_pair() -> None:
    found = lt.compare(
        world.describe,
        world.rows(120),
        METRIC,
        lm=scripted(),
        candidates={"deployed": "original", "new": careful()},
    )
    (difference,) = found.differences
    assert (difference.before, difference.after, difference.n, difference.level) == ("deployed", "new", 120, 0.95)
    one, other = found.arms["deployed"], found.arms["new"]
    assert difference.difference == pytest.approx(other.mean - one.mean)
    assert difference.low < difference.difference < difference.high
    fixed = {id for id, score in other.scores.items() if score > one.scores[id]}
    assert set(difference.fixed) == fixed
    assert difference.tokens_after > difference.tokens_before
    assert difference.change == "better"
    assert found.sentence.startswith("new is better than deployed: ")
    alone = lt.evaluate(world.describe, world.rows(120), METRIC, lm=scripted())
    assert alone.mean == one.mean


def test_equal_prompts_cannot_be_told_apart() -> None:
    found = lt.compare(
        world.describe, world.rows(30), METRIC, lm=scripted(), candidates={"a": "original", "b": "original"}
    )
    assert found.differences[0].change == "undecided"
    assert "a and b" not in found.sentence and "b and a cannot be told apart" in found.sentence


def test_one_program_on_two_models_and_prompts_on_each_of_them() -> None:
    def weak(request: lt.Request) -> str:
        return "neither" if world.asked_for(request) == "parity" else world.answer(request)

    lms = {"A": scripted("a"), "B": scripted("b", weak)}
    models = lt.compare(world.describe, world.rows(60), METRIC, lms=lms)
    assert [(d.before, d.after) for d in models.differences] == [("A", "B")]
    assert models.differences[0].change == "worse"
    both = lt.compare(world.describe, world.rows(60), METRIC, lms=lms, candidates={"old": "original", "new": careful()})
    assert [(d.before, d.after) for d in both.differences] == [("old on A", "new on A"), ("old on B", "new on B")]
    assert {d.level for d in both.differences} == {0.975}, "two looks, and 5 % for both together"


def test_mappings_by_predictor_can_be_compared_on_real_servers() -> None:
    with two() as servers:
        small, strong = servers.lms()
        found = lt.compare(
            world.describe,
            world.rows(10),
            METRIC,
            lms={"small": small, "mixed": {"*": small, "size": strong}},
        )
        assert len(servers.strong.requests) == 10
        assert len(servers.small.requests) == 20, "what the small one answered for the first arm is not asked again"
    assert set(found.arms["mixed"].usage_by_lm) == {small.identity, strong.identity}


def test_examples_that_prompts_show_are_told_since_they_flatter() -> None:
    rows = world.rows(20)
    first = next(iter(lt.evaluate(world.describe, rows, METRIC, lm=scripted()).scores))
    shown = (Demo({"number": "0"}, {"parity": "even"}, None, Provenance(DemoSource.LABELED, example=first)),)
    leaking = lt.Candidate({"parity": Prompt("Even or odd?", shown)})
    found = lt.compare(world.describe, rows, METRIC, lm=scripted(), candidates={"a": "original", "b": leaking})
    assert found.shown == {"a": 0, "b": 1}
    assert "1 of these examples are among the demonstrations of b: its score flatters." in found.sentence


def test_an_outage_is_no_score_and_is_told() -> None:
    def out(number: str) -> str:
        if number in ("3", "4"):
            raise Unavailable("the database is away")
        return world.describe(number)

    found = lt.compare(out, world.rows(20), METRIC, lm=scripted(), candidates={"a": "original", "b": careful()})
    assert found.differences[0].n == 18
    assert found.sentence.endswith("4 runs got no answer and are left out.")

    def dead(number: str) -> str:
        raise Unavailable("away")

    dead_program = lambda number: dead(number) or world.describe(number)  # noqa: E731 - a program of its own
    with pytest.raises(StudyPaused, match="nothing can be compared"):
        lt.compare(dead_program, world.rows(5), METRIC, lm=scripted(), candidates={"a": "original", "b": careful()})


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    given: tuple[Any, ...] = (world.describe, world.rows(4), METRIC)
    with pytest.raises(ConfigError, match="nothing to compare"):
        lt.compare(*given, lm=scripted())
    with pytest.raises(ConfigError, match="lm=, who answers, or lms="):
        lt.compare(*given, lm=scripted(), lms={"a": scripted()})
    with pytest.raises(ConfigError, match="lm=, who answers, or lms="):
        lt.compare(*given)
    with pytest.raises(CandidateError, match="nowhere"):
        lt.compare(*given, lm=scripted(), candidates={"a": "original", "b": tmp_path / "nowhere"})
    with pytest.raises(ConfigError, match="needs a price"):
        lt.compare(*given, lms={"a": scripted(), "b": scripted("b")}, budget=lt.Budget(usd=1))


def test_it_is_awaited_too_and_repeats_and_groups_count() -> None:
    rows = [{**row, "kind": str(index % 10)} for index, row in enumerate(world.rows(40))]
    found = asyncio.run(
        lt.acompare(
            world.describe,
            rows,
            METRIC,
            lm=scripted(),
            candidates={"a": "original", "b": careful()},
            group="kind",
            repeats=2,
        )
    )
    assert found.differences[0].method in ("resampling", "bound")
    assert len(found.arms["a"].rollouts) == 80


@pytest.mark.parametrize(
    ("low", "high", "standing"),
    [
        (-0.10, -0.03, "worse"),
        (-0.10, 0.05, "cannot tell"),
        (-0.02, 0.05, "as good"),
        (0.01, 0.05, "as good"),
        (-0.03, -0.02, "cannot tell"),
    ],
)
def test_the_whole_interval_says_whether_a_candidate_is_worse(low: float, high: float, standing: str) -> None:
    found = Difference("a", "b", 0.5, 0.5, (low + high) / 2, low, high, 0.95, 10, (), (), 1.0, 1.0, "tango")
    assert found.standing(0.02) == standing
