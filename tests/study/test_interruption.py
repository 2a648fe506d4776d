from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import BudgetExhausted, ConfigError, StudyPaused
from luthier.search.random import RandomSearch
from luthier.search.schedule import FullSchedule
from luthier.search.space import Point, Space
from luthier.search.trial import Ask, Observation, Purpose, Trial
from luthier.study.events import AskEvent, every, to_json
from luthier.study.journal import read_journal, without_times
from luthier.study.study import Study
from tests.lengths import places, times
from tests.study import toy

TRIALS = 30
"""Trials of the studies that are killed."""


def run(directory: Path, *, trials: int = 5, watch: toy.Watch = lambda asks, first: None) -> list[Any]:
    with Study.open(directory, toy.MANIFEST) as study:
        asyncio.run(toy.run_toy(study, trials=trials, watch=watch))
    return timeless(directory)


def timeless(directory: Path) -> list[Any]:
    return list(without_times(read_journal(directory / "journal.jsonl")))


def start(directory: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, toy.__file__, str(directory), str(seconds), str(TRIALS)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    return child


def kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


@pytest.mark.slow
def test_a_study_killed_at_random_moments_and_resumed_has_the_journal_of_an_uninterrupted_one(tmp_path: Path) -> None:
    expected = run(tmp_path / "whole", trials=TRIALS)
    rng = random.Random("kills")
    lengths = set()
    for number in range(times(5, 40)):
        directory = tmp_path / str(number)
        child = start(directory, 0.004)
        time.sleep(rng.uniform(0, 0.25))
        kill(child)
        before = timeless(directory)
        assert before == expected[: len(before)]
        lengths.add(len(before))
        assert run(directory, trials=TRIALS) == expected
    assert len(lengths) > 2, "the kills should hit different moments"


def test_a_study_killed_again_and_again_gets_there(tmp_path: Path) -> None:
    expected = run(tmp_path / "whole", trials=TRIALS)
    rng = random.Random("again")
    for _ in range(5):
        child = start(tmp_path / "killed", 0.004)
        time.sleep(rng.uniform(0, 0.06))
        kill(child)
    assert run(tmp_path / "killed", trials=TRIALS) == expected


@pytest.mark.slow
def test_a_journal_cut_at_any_byte_is_continued_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    expected = run(tmp_path, trials=3)
    journal = tmp_path / "journal.jsonl"
    content = journal.read_bytes()
    for end in places(len(content)):
        journal.write_bytes(content[:end])
        assert run(tmp_path, trials=3) == expected


def test_only_the_unfinished_batch_is_evaluated_again_and_of_it_only_what_was_not_told(tmp_path: Path) -> None:
    batches: list[tuple[int, int]] = []

    def note(asks: Sequence[Ask], first: int) -> None:
        batches.append((first, len(asks)))

    run(tmp_path, watch=note)
    assert batches == [(1, 2), (3, 2), (5, 1), (6, 1)]
    journal = tmp_path / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    told = [i for i, line in enumerate(lines) if b'"event":"tell"' in line]
    for cut, again in ((told[2], (3, 2)), (told[3], (4, 1)), (told[3] + 1, (5, 1))):
        journal.write_bytes(b"".join(lines[:cut]))
        batches.clear()
        run(tmp_path, watch=note)
        assert batches[0] == again


def test_a_finished_study_is_read_not_run(tmp_path: Path) -> None:
    run(tmp_path)

    def refuse(asks: Sequence[Ask], first: int) -> None:
        raise AssertionError("nothing is left to evaluate")

    before = (tmp_path / "journal.jsonl").read_bytes()
    run(tmp_path, watch=refuse)
    assert (tmp_path / "journal.jsonl").read_bytes() == before


def test_a_pause_leaves_the_batch_unfinished_and_it_is_taken_up_again(tmp_path: Path) -> None:
    expected = run(tmp_path / "whole")
    outages = iter([True, False, True])

    def fail(asks: Sequence[Ask], first: int) -> None:
        if next(outages, False):
            raise StudyPaused("the server is away")

    for _ in range(2):
        with pytest.raises(StudyPaused):
            run(tmp_path / "paused", watch=fail)
    assert run(tmp_path / "paused", watch=fail) == expected


def test_an_exhausted_budget_ends_the_loop_and_says_so(tmp_path: Path) -> None:
    def stop(asks: Sequence[Ask], first: int) -> None:
        if first > 2:
            raise BudgetExhausted("no dollars left")

    with Study.open(tmp_path, toy.MANIFEST) as study:
        schedule = FullSchedule(RandomSearch(), toy.EXAMPLES, 6)

        async def evaluate(asks: Sequence[Ask], first: int) -> list[list[Observation]]:
            stop(asks, first)
            return [[toy.observation(ask.point, e) for e in ask.examples] for ask in asks]

        trials = asyncio.run(study.loop(toy.SPACE, schedule, evaluate, batch=2, seed=0))
        end = to_json(study.events[-1])
    assert [t.number for t in trials] == [0, 1, 2, 3][: len(trials)]
    assert (end["event"], end["reason"], end["trials"]) == ("loop_end", "budget", len(trials))
    with Study.open(tmp_path, toy.MANIFEST) as study:
        assert asyncio.run(study.loop(toy.SPACE, schedule, evaluate, batch=2, seed=0)) == trials


def test_a_trial_with_an_unscored_example_is_refused(tmp_path: Path) -> None:
    async def evaluate(asks: Sequence[Ask], first: int) -> list[list[Observation]]:
        return [[toy.observation(ask.point, e) for e in ask.examples[1:]] for ask in asks]

    with Study.open(tmp_path, toy.MANIFEST) as study:
        loop = study.loop(toy.SPACE, FullSchedule(RandomSearch(), toy.EXAMPLES, 6), evaluate, batch=2, seed=0)
        with pytest.raises(ValueError, match="no observation for 1 of 4 examples"):
            asyncio.run(loop)
        assert [event.name for event in study.events] == ["manifest", "ask", "ask"]


class _Otherwise:
    """A schedule as another version of luthier might have it: it draws other points, or wants to stop earlier."""

    def __init__(self, ends: bool) -> None:
        self._ends = ends

    def ask(self, space: Space, history: Sequence[Trial], pending: Sequence[Ask], rng: random.Random) -> Ask | None:
        if self._ends or len(history) > 6:
            return None
        return Ask(Point({"a": "z", "b": rng.choice("uvw")}), toy.EXAMPLES, Purpose.FULL)


@pytest.mark.parametrize("asks", [1, 2], ids=["the batch was asked in part", "the batch was asked in full"])
@pytest.mark.parametrize("ends", [False, True], ids=["asks otherwise", "asks nothing more"])
def test_a_recorded_ask_is_used_whatever_the_strategy_would_ask_today(tmp_path: Path, asks: int, ends: bool) -> None:
    def fail(asks: Sequence[Ask], first: int) -> None:
        if first > 2:
            raise StudyPaused("away")

    with pytest.raises(StudyPaused):
        run(tmp_path, watch=fail)
    journal = tmp_path / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    begun = [i for i, line in enumerate(lines) if b'"event":"ask"' in line][2]
    journal.write_bytes(b"".join(lines[: begun + asks]))
    recorded = [event["point"] for event in read_journal(journal) if event["event"] == "ask"]

    async def resumed(study: Study) -> tuple[Trial, ...]:
        async def evaluate(asks: Sequence[Ask], first: int) -> list[list[Observation]]:
            return [[toy.observation(ask.point, e) for e in ask.examples] for ask in asks]

        return await study.loop(toy.SPACE, _Otherwise(ends), evaluate, batch=toy.BATCH, seed=5)

    with Study.open(tmp_path, toy.MANIFEST) as study:
        trials = asyncio.run(resumed(study))
        asked = [event.point for event in every(study.events, AskEvent)]
    assert asked[: len(recorded)] == recorded == [dict(trial.ask.point) for trial in trials[: len(recorded)]]
    assert (len(asked) == len(recorded)) == ends
    with Study.open(tmp_path, toy.MANIFEST) as study:
        assert asyncio.run(resumed(study)) == trials, "what was continued by another version is a study like any other"


def test_a_second_writer_is_told_who_is_writing(tmp_path: Path) -> None:
    child = start(tmp_path / "s", 0.02)
    try:
        with pytest.raises(ConfigError, match=f"process {child.pid} on "):
            Study.open(tmp_path / "s", toy.MANIFEST)
        assert read_journal(tmp_path / "s" / "journal.jsonl"), "readers are let in"
    finally:
        kill(child)
    Study.open(tmp_path / "s", toy.MANIFEST).close()


def test_two_studies_in_one_process_exclude_each_other_too(tmp_path: Path) -> None:
    with Study.open(tmp_path, toy.MANIFEST), pytest.raises(ConfigError, match=f"process {os.getpid()}"):
        Study.open(tmp_path, toy.MANIFEST)
    Study.open(tmp_path, toy.MANIFEST).close()
