"""Strategies on a program whose first stage writes free text, with a real LM: ``python -m benchmarks.free_text``.

What the first stage says is no fixed set of values, so no product of prompts and outputs can be recorded beforehand:
the table is filled as it is asked, each cell a real program run, made once (`benchmarks.replay.live_table`). The
cells stay in ``tables/free-text.jsonl``, so that other strategies and further seeds pay only for what nobody asked yet.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import luthier as lt
from benchmarks.record_table import RESCORED, ROOT, SEED, fewer, letter, shown
from benchmarks.replay import replaying
from benchmarks.replay.instrument import compare
from benchmarks.replay.live_table import LiveTable
from benchmarks.replay.strategies import STRATEGIES
from luthier.demo import iris
from luthier.evaluation.splits import split
from luthier.program.program import discover
from luthier.runner.candidates import Choices
from luthier.search.space import Point
from luthier.study.events import read_all

SIZES = (48, 60, 0)
LEVELS = (2, 3)
"""Instructions and demo sets of each predictor: 36 programs."""
MAX_TOKENS = 60
EVALUATIONS = 200
COMPARED = (
    "labelled few-shot",
    "random, full",
    "random, minibatch 10",
    "linear Thompson, minibatch 10",
    "TPE, as mipro runs it",
)
RESULTS = ROOT / "benchmarks" / "results"
TABLES = ROOT / "benchmarks" / "tables"


@lt.predictor
def describe(petal: Annotated[str, "length x width of an iris petal in cm"]) -> Annotated[str, "one short sentence"]:
    """Describe an iris petal in words: its length, its width, and how large it is."""
    return lt.predict()


@lt.predictor
def named(description: Annotated[str, "of an iris petal"]) -> Literal["setosa", "versicolor", "virginica"]:
    """Say which species of iris has such a petal."""
    return lt.predict()


def in_words(petal: str) -> str:
    """Tell the species of an iris by a description of its petal: what the first stage leaves out is lost."""
    return named(description=describe(petal=petal))


def main() -> None:
    """Replay the strategies, running whatever cell they ask for first; then write down what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "free-text")
    given = parser.parse_args()
    lm = lt.LM("local/qwen2.5-coder-0.5b", max_tokens=MAX_TOKENS)
    metric = lt.exact_match("species")
    proposed = lt.optimize(
        in_words,
        iris.petals(),
        metric,
        lm=lm,
        optimizer=lt.MIPRO(instructions=LEVELS[0], demo_sizes=(0, 6, 12), trials=1, minibatch=6, closing=1),
        study_dir=given.work / "choices",
        seed=SEED,
        split_seed=SEED,
        sizes=SIZES,
        anyway=True,
    )
    choices = fewer(Choices.recorded(read_all(proposed.events)), LEVELS)
    program = discover(in_words)
    val = split(iris.petals(), program, split_seed=SEED, sizes=SIZES).val
    # Equal petals are answered alike, and one asked without the others would have another's id: each counts once.
    rows = {row.id: dict(row.example) for row in {row.inputs["petal"]: row for row in reversed(val)}.values()}

    def run(point: Point, examples: Sequence[str], store: Path = given.work / "store.sqlite") -> Mapping[str, str]:
        evaluation = lt.evaluate(
            in_words,
            [rows[example] for example in examples],
            metric,
            lm=lm,
            candidate=choices.candidate(point, program.original),
            store=store,
        )
        return {rollout.job.example: letter(rollout) for rollout in evaluation.rollouts}

    table = LiveTable(
        "free-text",
        choices.space,
        tuple(rows),
        run,
        TABLES / "free-text.jsonl",
        {name: row["species"] for name, row in rows.items()},
    )
    strategies = {name: STRATEGIES[name] for name in COMPARED}
    for seed_count in range(1, given.seeds + 1):  # seed by seed, so that an end at any time leaves a fair comparison
        found = compare([table], strategies, evaluations=EVALUATIONS, seeds=seed_count)
        known = sum(len(cells) for cells in table.cells.values())
        print(f"{seed_count} of {given.seeds} seeds: {known} of {choices.space.size * len(rows)} cells", flush=True)
        write(replaying.Compared("free-text", EVALUATIONS, seed_count, found, {}), table, choices)
    # Now that every cell is known, nobody's distance to the best depends on who was asked first.
    found = compare([table], strategies, evaluations=EVALUATIONS, seeds=given.seeds)
    again = scored_again(table, lambda point, example: run(point, [example], given.work / "again.sqlite"))
    write(replaying.Compared("free-text", EVALUATIONS, given.seeds, found, {}), table, choices, again)
    print(f"scored again: {again}")


def scored_again(table: LiveTable, ask: Callable[[Point, str], Mapping[str, str]]) -> dict[str, int]:
    """Ask cells that are known anew; count those that come out otherwise."""
    known = sorted((point.key, example) for point, cells in table.cells.items() for example in cells)
    points = {point.key: point for point in table.cells}
    chosen = random.Random("again").sample(known, min(RESCORED, len(known)))
    wrong = sum(ask(points[key], example)[example] != table.cells[points[key]][example] for key, example in chosen)
    return {"cells": len(chosen), "otherwise": wrong}


def write(
    compared: replaying.Compared, table: LiveTable, choices: Choices, again: Mapping[str, int] | None = None
) -> None:
    """Write what was found as JSON, as Markdown, and as a page with curves."""
    cells = {"known": sum(len(known) for known in table.cells.values()), "of": table.space.size * len(table.examples)}
    levels = {
        variable.name: {level: shown(choices.payloads[variable.name][level]) for level in variable.levels}
        for variable in table.space.variables
    }
    told = {**compared.to_json(), "cells": cells, "scored again": again, "levels": levels}
    (RESULTS / "free-text.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (RESULTS / "free-text.md").write_text(replaying.as_markdown([compared]), encoding="utf-8")
    (RESULTS / "free-text.html").write_text(replaying.as_html([compared]), encoding="utf-8")


if __name__ == "__main__":
    main()
