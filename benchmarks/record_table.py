"""Record tables to replay strategies on: ``record_table.py NAME``. Resumable.

A pool of instructions and demo sets, and all programs made of them, on 102 flowers; no demo has their measurements.
Later stages are asked once for each actual request, so the whole product costs a few thousand calls.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import luthier as lt
from benchmarks.replay.table import OutcomeTable
from luthier.demo import iris
from luthier.evaluation.rollout import Outcome
from luthier.evaluation.splits import split
from luthier.program.program import discover
from luthier.runner.candidates import Choices
from luthier.search.space import Point, Space, Variable
from luthier.study.events import read_all

ROOT = Path(__file__).parent.parent
SIZES = (48, 102, 0)
SEED = 1
RESCORED = 50
LAST = "species"
"""The predictor of the last stage."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What is recorded."""

    program: Callable[..., Any]
    examples: Callable[[], Sequence[Mapping[str, Any]]]
    instructions: int
    demo_sizes: tuple[int, ...]
    temperature: float = 0.0
    draws: int = 1
    levels: tuple[int, int] | None = None
    """Only the first so many instructions and demo sets, for a smaller table."""
    max_tokens: int = 200


RECORDINGS = {
    "iris-two-stage": Recording(iris.classify, iris.petals, 4, (0, 6, 12, 18)),
    "iris-one-predictor": Recording(iris.iris, iris.measurements, 8, (0, 3, 6, 9, 12, 12, 18, 18)),
    "iris-one-predictor-warm": Recording(
        iris.iris, iris.measurements, 8, (0, 3, 6, 9, 12, 12, 18, 18), temperature=0.7, draws=3, levels=(3, 3)
    ),
}


def main() -> None:
    """Record, then score some cells again with nothing remembered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(RECORDINGS))
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "tables")
    given = parser.parse_args()
    what, work = RECORDINGS[given.name], given.work / given.name
    metric = lt.exact_match("species")
    cold = lt.LM("local/qwen2.5-coder-0.5b", max_tokens=what.max_tokens)
    lm = cold.with_settings(temperature=what.temperature)
    choices = fewer(proposed(what, cold, work), what.levels)
    program = discover(what.program)
    rows = split(list(what.examples()), program, split_seed=SEED, sizes=SIZES).val
    data = [dict(row.example) for row in rows]
    draws: list[dict[Point, str]] = [{} for _ in range(what.draws)]
    for number, point in enumerate(in_warm_order(choices), 1):
        evaluation = lt.evaluate(
            what.program,
            data,
            metric,
            lm=lm,
            candidate=choices.candidate(point, program.original),
            store=work / "store.sqlite",
            repeats=what.draws,
        )
        by_cell = {(r.job.example, r.job.repeat): letter(r) for r in evaluation.rollouts}
        for draw, scores in enumerate(draws):
            scores[point] = "".join(by_cell[row.id, draw] for row in rows)
        print(f"{number} of {choices.space.size}: {evaluation.mean:.3f}", flush=True)
    again = rescored(what, choices, draws[0], rows, lm, work / "again.sqlite")
    folder = ROOT / "benchmarks" / "tables"
    folder.mkdir(exist_ok=True)
    for draw, scores in enumerate(draws, 1):
        name = given.name if what.draws == 1 else f"{given.name}-{draw}"
        table(name, what, choices, scores, rows, lm.identity, again).save(folder / f"{name}.json")
    print(f"scored again: {again}")


def proposed(what: Recording, lm: lt.LM, work: Path) -> Choices:
    """Return the pool: what MIPRO proposes and bootstraps from the training part."""
    result = lt.optimize(
        what.program,
        what.examples(),
        lt.exact_match("species"),
        lm=lm,
        optimizer=lt.MIPRO(
            instructions=what.instructions, demo_sizes=what.demo_sizes, trials=1, minibatch=6, closing=1
        ),
        study_dir=work / "choices",
        seed=SEED,
        split_seed=SEED,
        sizes=SIZES,
    )
    return Choices.recorded(read_all(result.events))


def fewer(choices: Choices, levels: tuple[int, int] | None) -> Choices:
    """Return the choices with only some levels of each variable, spread evenly, the original's among them."""
    if levels is None:
        return choices
    kept = []
    for variable in choices.space.variables:
        count = levels[0] if variable.name.endswith("instruction") else levels[1]
        last = len(variable.levels) - 1
        places = sorted({round(i * last / (count - 1)) for i in range(count)})
        kept.append(Variable(variable.name, tuple(variable.levels[place] for place in places)))
    return Choices(Space(tuple(kept)), choices.payloads)


def table(
    name: str, what: Recording, choices: Choices, scores: Mapping[Point, str], rows: Any, identity: str, again: Any
) -> OutcomeTable:
    """Return the table of one draw."""
    variables = choices.space.variables
    ordered = [
        Point(dict(zip([v.name for v in variables], levels, strict=True)))
        for levels in product(*(v.levels for v in variables))
    ]
    return OutcomeTable(
        name,
        choices.space,
        tuple(row.id for row in rows),
        {row.id: str(row.example["species"]) for row in rows},
        tuple(scores[point] for point in ordered),
        {
            "program": f"{what.program.__module__}:{what.program.__name__}",
            "lm": identity,
            "temperature": what.temperature,
            "train": SIZES[0],
            "split_seed": SEED,
            "levels": {
                v.name: {level: shown(choices.payloads[v.name][level]) for level in v.levels} for v in variables
            },
            "scored again": again,
        },
    )


def in_warm_order(choices: Choices) -> list[Point]:
    """Return all points, the last stage's prompt changing last, so that its prefix is read once."""
    variables = sorted(choices.space.variables, key=lambda v: not v.name.startswith(LAST))
    names = [variable.name for variable in variables]
    return [Point(dict(zip(names, levels, strict=True))) for levels in product(*(v.levels for v in variables))]


def letter(rollout: Any) -> str:
    """Return how a rollout ended, in one character."""
    kinds = {Outcome.UNPARSEABLE: "u", Outcome.ERROR: "e"}
    return kinds.get(rollout.outcome) or ("1" if rollout.value == 1 else "0")


def rescored(
    what: Recording, choices: Choices, scores: Mapping[Point, str], rows: Any, lm: lt.LM, store: Path
) -> dict[str, int]:
    """Score random cells again, each asked anew; count those that come out otherwise."""
    rng = random.Random("again")
    program, points = discover(what.program), sorted(scores, key=lambda point: point.key)
    wrong = 0
    for _ in range(RESCORED):
        point, column = rng.choice(points), rng.randrange(len(rows))
        evaluation = lt.evaluate(
            what.program,
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
