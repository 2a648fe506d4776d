"""Many trials, many predictors, many studies in one process: short forms of ``benchmarks/scale.py``."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import luthier as lt
from luthier.cli.progress import Progress
from luthier.lm.doubles import ScriptedLM
from luthier.lm.engine import engine
from luthier.report import write_report
from luthier.search.schedule import MinibatchSchedule
from luthier.search.space import Point, Space, Variable
from luthier.search.tpe import TPE
from luthier.search.trial import Ask, Observation, Purpose, Trial
from luthier.study.events import AskEvent, SpaceEvent, TellEvent, outcome_of
from luthier.study.study import Study
from tests.evaluation import misbehaving

EXAMPLES = tuple(f"example {number}" for number in range(300))


def test_an_ask_after_two_thousand_trials_and_a_hundred_thousand_rollouts_takes_a_moment() -> None:
    space, rng = _space(24), random.Random("trials")
    points = [_point(space, rng) for _ in range(1500)]
    history = [_trial(number, rng.choice(points), 50, rng) for number in range(2000)]
    blocks = tuple(EXAMPLES[start : start + 50] for start in range(0, 300, 50))
    schedule = MinibatchSchedule(TPE(startup=10), EXAMPLES, blocks, 3000)
    schedule.ask(space, history, [], random.Random(0))  # which imports optuna
    before = time.process_time()
    assert schedule.ask(space, history, [], random.Random(1)) is not None
    assert time.process_time() - before < 0.6, "it takes 0.13 s; 0.6 s where examples were fitted cell by cell"


def test_the_report_of_two_thousand_trials_draws_some_of_them_and_every_full_evaluation(tmp_path: Path) -> None:
    rng = random.Random("trials")
    space = _space(4)
    with Study.open(tmp_path / "study", {"program": "p"}) as study:
        study.append(SpaceEvent(variables=space.to_json(), payloads={}))
        for number in range(1, 2001):
            _tell(study, _trial(number, _point(space, rng), 4, rng, full=number % 500 == 1))
    began = time.process_time()
    page = write_report(tmp_path / "study").read_text(encoding="utf-8")
    assert time.process_time() - began < 5
    assert len(page) < 1_000_000
    assert 300 < page.count('dot mini"') <= 401
    assert page.count('dot full"') == 4
    assert "2\u202f001 evaluations, 4 of them" in page
    assert "The charts show" in page


@pytest.mark.parametrize("how", ["", "uses its own threads", "uses its own loop", "leaks threads"])
def test_nothing_of_ours_grows_with_the_number_of_rollouts(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misbehaving, "HOW", how)
    monkeypatch.setattr(misbehaving, "FOREVER", 1.0)
    rows = misbehaving.rows(200)
    _evaluate(misbehaving.program, rows[:20])
    before = _census()
    _evaluate(misbehaving.program, rows)
    _evaluate(misbehaving.async_program, rows)
    after = _census()
    assert after.pop("threads") <= before.pop("threads") + 4, "idle ones wait a while for work"
    grown = {what: n - before[what] for what, n in after.items() if n > before[what]}
    assert not grown


def test_a_study_leaves_nothing_behind(tmp_path: Path) -> None:
    before = _census()  # what earlier tests in this process may have left
    for number in range(3):
        lt.optimize(
            misbehaving.program,
            misbehaving.rows(),
            misbehaving.metric,
            lm=_lm(),
            optimizer=lt.MIPRO(candidates=3, trials=4, minibatch=6, closing=1, demo_sizes=(0, 2)),
            study_dir=tmp_path / str(number),
        )
        left = _census()
        kinds = ("Run", "Rollout", "Gateway", "Study", "tasks")
        assert not {kind: left[kind] - before[kind] for kind in kinds if left[kind] > before[kind]}


def test_a_rollout_may_take_far_longer_than_a_call() -> None:
    lm = ScriptedLM(lambda request: "word")

    def program(number: str) -> str:
        misbehaving.word(number=number)
        time.sleep(1.0)
        return misbehaving.word(number=f"{number} again")

    rows = misbehaving.rows(8)
    done = lt.evaluate(program, rows, misbehaving.metric, lm=lt.LM(lm, timeout=0.3))
    assert (done.n, done.unscored, lm.calls) == (8, 0, 16)


def test_progress_shows_life_while_no_rollout_ends() -> None:
    screen = io.StringIO()
    with Progress(Console(file=screen, force_terminal=True), live=True) as progress:
        progress({"event": "manifest", "program": "p", "time": "2026-01-01T00:00:00+00:00"})
        time.sleep(0.4)
        drawn = len(screen.getvalue())
        time.sleep(0.8)
        assert len(screen.getvalue()) > drawn


def test_twelve_predictors_are_tuned_on_two_thousand_examples(tmp_path: Path) -> None:
    predictors = [_stage(number) for number in range(12)]

    def chain(text: str) -> str:
        for predictor in predictors:
            text = predictor(text=text)
        return text

    rows = [{"text": f"example {number}", "answer": "right"} for number in range(2000)]
    result = lt.optimize(
        chain,
        rows,
        lt.exact_match("answer"),
        lm=lt.LM(ScriptedLM(lambda request: "right")),
        optimizer=lt.MIPRO(trials=3, minibatch=6, closing=1, candidates=3, demo_sizes=(0, 2)),
        sizes=(400, 50, 50),
        study_dir=tmp_path / "study",
    )
    assert len(result.candidate.prompts) == 12
    assert sum(path.stat().st_size for path in (tmp_path / "study").iterdir() if path.is_file()) < 20_000_000


def _space(variables: int) -> Space:
    levels = tuple(f"level {number}" for number in range(8))
    return Space(tuple(Variable(f"variable {number}", levels) for number in range(variables)))


def _point(space: Space, rng: random.Random) -> Point:
    return Point({variable.name: rng.choice(variable.levels) for variable in space.variables})


def _trial(number: int, point: Point, size: int, rng: random.Random, *, full: bool = False) -> Trial:
    examples = tuple(EXAMPLES[(number * 7 + i) % len(EXAMPLES)] for i in range(size))
    seen = tuple(Observation(point, example, 0, float(rng.random() < 0.5), "scored") for example in examples)
    return Trial(number, Ask(point, examples, Purpose.FULL if full else Purpose.EXPLORE), seen)


def _tell(study: Study, trial: Trial) -> None:
    ask, number = trial.ask, trial.number
    purpose = ask.purpose.value
    study.append(AskEvent(trial=number, point=dict(ask.point), examples=ask.examples, purpose=purpose))
    outcomes = [{"example": o.example, "value": o.value, "outcome": "scored"} for o in trial.observations]
    usage = {"lm_calls": len(outcomes)}
    study.append(TellEvent(trial=number, mean=trial.mean, outcomes=tuple(map(outcome_of, outcomes)), usage=usage))


def _stage(number: int) -> Any:
    def stage(text: str) -> str:
        return lt.predict()

    return lt.predictor(name=f"stage_{number:02d}", instruction=f"Do step {number}.")(stage)


def _lm() -> lt.LM:
    return lt.LM(ScriptedLM(lambda request: "word"))


def _evaluate(program: Any, rows: Sequence[Any]) -> None:
    lt.evaluate(program, rows, misbehaving.metric, lm=_lm(), concurrency=8)


def _census() -> dict[str, int]:
    """Count what could grow."""
    if sys.platform != "linux":
        pytest.skip("counts open files as Linux shows them")
    gc.collect()
    kinds = Counter(type(thing).__name__ for thing in gc.get_objects())
    return {
        **{name: kinds[name] for name in ("Run", "Rollout", "Gateway", "Evaluator", "Study", "Future", "Task")},
        "threads": sum(thread.name.startswith("luthier") for thread in threading.enumerate()),
        "tasks": sum(len(asyncio.all_tasks(engine(name).loop)) for name in ("engine", "user-loop")),
        "files": len(os.listdir("/proc/self/fd")),
    }
