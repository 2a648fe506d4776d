"""A small study, as a module for tests and as a process to be killed: ``python toy.py DIRECTORY SECONDS``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from luthier.canonical import uniform_order
from luthier.search.random import RandomSearch
from luthier.search.schedule import MinibatchSchedule
from luthier.search.space import Point, Space, Variable
from luthier.search.trial import Ask, Observation, Purpose, Trial
from luthier.study.events import BaselineEvent, ChoiceEvent, DoneEvent, event_of, read
from luthier.study.study import Study

SPACE = Space((Variable("a", tuple("uvwxyz")), Variable("b", tuple("uvwxyz"))))
EXAMPLES = ("e0", "e1", "e2", "e3")
MANIFEST: dict[str, Any] = {"program": "toy", "seed": 0, "budget": {"usd": 1.0, "lm_calls": None}, "code": {"m": "1"}}
BATCH = 2

Watch = Callable[[Sequence[Ask], int], None]


def observation(point: Point, example: str) -> Observation:
    value = uniform_order(point.key, example) % 100 / 100
    return Observation(point, example, 0, value, "scored", cost={"lm_calls": 1}, detail={"seconds": value, "error": ""})


async def run_toy(
    study: Study, *, seconds: float = 0.0, trials: int = 5, watch: Watch = lambda asks, first: None
) -> None:
    """Baseline, loop, choice, done; every example takes ``seconds`` of its own, all at once."""

    async def rollout(point: Point, example: str) -> Observation:
        await asyncio.sleep(seconds * (1 + uniform_order(example, point.key) % 3))
        return observation(point, example)

    async def evaluate(asks: Sequence[Ask], first: int) -> list[list[Observation]]:
        watch(asks, first)
        async with asyncio.TaskGroup() as group:
            tasks = [[group.create_task(rollout(ask.point, e)) for e in ask.examples] for ask in asks]
        return [[task.result() for task in row] for row in tasks]

    async def baseline() -> BaselineEvent:
        await asyncio.sleep(seconds)
        return event_of([read({"event": "baseline", "mean": 0.5})], BaselineEvent)

    async def done() -> DoneEvent:
        return DoneEvent(decision="keep")

    await study.step(BaselineEvent, baseline)
    original = Ask(SPACE.original, EXAMPLES, Purpose.FULL)
    prior = Trial(0, original, tuple(observation(SPACE.original, e) for e in EXAMPLES))
    blocks = (EXAMPLES[:2], EXAMPLES[2:])
    schedule = MinibatchSchedule(RandomSearch(), EXAMPLES, blocks, trials, closing=1, batch=BATCH)
    trials_run = await study.loop(SPACE, schedule, evaluate, batch=BATCH, seed=0, prior=[prior])

    async def choice() -> ChoiceEvent:
        best = max(t.mean for t in trials_run if t.ask.purpose is Purpose.FULL)
        return event_of([read({"event": "choice", "best": best})], ChoiceEvent)

    await study.step(ChoiceEvent, choice)
    await study.step(DoneEvent, done)


def main(directory: str, seconds: str, trials: str) -> None:
    with Study.open(Path(directory), MANIFEST) as study:
        sys.stdout.write("open\n")
        sys.stdout.flush()
        asyncio.run(run_toy(study, seconds=float(seconds), trials=int(trials)))


if __name__ == "__main__":
    main(*sys.argv[1:])
