"""Record the demo's two-stage program as a table to replay strategies on: ``record_table.py``. Resumable.

4 instructions x 4 demo sets for each of two predictors, 256 programs, on 102 flowers whose petals none of the demos
has. Later stages are asked once for each actual request, so the whole product costs a few thousand calls.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import luthier as lt
from luthier.bench.table import OutcomeTable
from luthier.evaluation.rollout import Outcome
from luthier.evaluation.splits import split
from luthier.optimizers.payloads import Choices
from luthier.program.program import discover
from luthier.search.space import Point
from luthier.tasks import iris

ROOT = Path(__file__).parent.parent
SIZES = (48, 102, 0)
SEED = 1
RESCORED = 50


def main() -> None:
    """Record, then score some cells again with nothing remembered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "table")
    given = parser.parse_args()
    lm = lt.LM("local/qwen2.5-coder-0.5b", max_tokens=200)
    metric = lt.exact_match("species")
    result = lt.optimize(
        iris.classify,
        iris.petals(),
        metric,
        lm=lm,
        optimizer=lt.MIPRO(instructions=4, demo_sizes=(0, 6, 12, 18), trials=1, minibatch=6, closing=1),
        study_dir=given.work / "choices",
        seed=SEED,
        split_seed=SEED,
        sizes=SIZES,
    )
    choices = Choices.from_json(next(event for event in result.events if event["event"] == "space"))
    program = discover(iris.classify)
    rows = split(iris.petals(), program, split_seed=SEED, sizes=SIZES).val
    data = [dict(row.example) for row in rows]
    scores: dict[Point, str] = {}
    for point in in_warm_order(choices):
        evaluation = lt.evaluate(
            iris.classify,
            data,
            metric,
            lm=lm,
            candidate=choices.candidate(point, program.original),
            store=given.work / "choices" / "store.sqlite",
        )
        by_example = {rollout.job.example: letter(rollout) for rollout in evaluation.rollouts}
        scores[point] = "".join(by_example[row.id] for row in rows)
        print(f"{len(scores)} of {choices.space.size}: {evaluation.mean:.3f}", flush=True)
    space = choices.space
    names = [variable.name for variable in space.variables]
    ordered = [Point(dict(zip(names, levels, strict=True))) for levels in product(*(v.levels for v in space.variables))]
    again = rescored(choices, ordered, scores, rows, lm, given.work / "again.sqlite")
    table = OutcomeTable(
        "iris-two-stage",
        space,
        tuple(row.id for row in rows),
        {row.id: str(row.example["species"]) for row in rows},
        tuple(scores[point] for point in ordered),
        {
            "program": "luthier.tasks.iris:classify",
            "lm": lm.identity,
            "temperature": 0,
            "train": SIZES[0],
            "split_seed": SEED,
            "levels": {name: {level: shown(payload) for level, payload in levels.items()}
                       for name, levels in choices.payloads.items()},
            "scored again": again,
        },
    )  # fmt: skip
    folder = ROOT / "benchmarks" / "tables"
    folder.mkdir(exist_ok=True)
    table.save(folder / "iris-two-stage.json")
    print(f"scored again: {again}")


def in_warm_order(choices: Choices) -> list[Point]:
    """Return all points, ``species``'s prompt changing last, so that its prefix is read once."""
    variables = sorted(choices.space.variables, key=lambda v: not v.name.startswith("species"))
    names = [variable.name for variable in variables]
    return [Point(dict(zip(names, levels, strict=True))) for levels in product(*(v.levels for v in variables))]


def letter(rollout: Any) -> str:
    """Return how a rollout ended, in one character."""
    kinds = {Outcome.UNPARSEABLE: "u", Outcome.ERROR: "e"}
    return kinds.get(rollout.outcome) or ("1" if rollout.value == 1 else "0")


def rescored(
    choices: Choices, points: list[Point], scores: dict[Point, str], rows: Any, lm: lt.LM, store: Path
) -> dict[str, int]:
    """Score random cells again, each asked anew; count those that come out otherwise."""
    rng = random.Random("again")
    program = discover(iris.classify)
    wrong = 0
    for _ in range(RESCORED):
        point, column = rng.choice(points), rng.randrange(len(rows))
        evaluation = lt.evaluate(
            iris.classify,
            [dict(rows[column].example)],
            lt.exact_match("species"),
            lm=lm,
            candidate=choices.candidate(point, program.original),
            store=store,
        )
        wrong += letter(evaluation.rollouts[0]) != scores[point][column]
    return {"cells": RESCORED, "otherwise": wrong}


def shown(payload: Mapping[str, Any]) -> Any:
    """Return what a level stands for, briefly: the instruction, or how many demos."""
    if "instruction" in payload:
        return payload["instruction"]
    return {predictor: len(demos) for predictor, demos in payload["demos"].items()}


if __name__ == "__main__":
    main()
