"""The demo: MIPRO tunes a program of two predictors on Iris with the embedded LM, in minutes, and shows the gain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import luthier as lt
from luthier.demo import iris
from luthier.evaluation.splits import split
from luthier.evaluation.stats import PairedDifference, paired
from luthier.program.candidate import Candidate, Demo
from luthier.program.program import discover
from luthier.study.events import BootstrapEvent, VerdictEvent, event_of, read_all

SETTINGS = lt.MIPRO(
    instructions=3,
    demo_sizes=(0, 6, 12, 12, 18, 18),
    trials=12,
    minibatch=9,
    closing=3,
)
"""Twelve trials on nine stratified examples, then three full evaluations: fixed before the published runs."""

MODEL = "local/qwen2.5-coder-0.5b"


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What the demo found, and its control beside it."""

    result: lt.Result[Any]
    control: lt.Evaluation
    """Labelled few-shot: as many labelled demos as the largest set has, no search, on the test examples."""
    control_demos: int
    against_control: PairedDifference
    """Tuned minus control, on the test examples."""


def run_demo(
    study_dir: str | Path = "runs/demo",
    *,
    lm: lt.LM | None = None,
    split_seed: int = 0,
    seed: int = 0,
    on_event: Callable[[Mapping[str, Any]], None] | None = None,
) -> Demonstration:
    """Run the demo, or continue it, or return its finished result in seconds.

    Args:
        study_dir: where the study is kept.
        lm: another LM than the embedded one.
        split_seed: of the split into train, validation, and test.
        seed: of the search.
        on_event: gets every event.

    Raises:
        WeightsError: the embedded LM's weights are not there (``luthier models pull``).
        StudyPaused: infrastructure failed; run again to resume.
    """
    used = lm if lm is not None else lt.LM(MODEL, max_tokens=200)
    result = lt.optimize(
        iris.classify,
        iris.petals(),
        lt.exact_match("species"),
        lm=used,
        optimizer=SETTINGS,
        study_dir=study_dir,
        seed=seed,
        split_seed=split_seed,
        sizes=iris.SPLIT_SIZES,
        on_event=on_event,
    )
    candidate, count = labelled_few_shot(result)
    held_out = split(iris.petals(), discover(iris.classify), split_seed=split_seed, sizes=iris.SPLIT_SIZES).test
    control = lt.evaluate(
        iris.classify,
        [dict(row.example) for row in held_out],
        lt.exact_match("species"),
        lm=used,
        candidate=candidate,
        store=result.study_dir / "store.sqlite",
    )
    verdict = event_of(read_all(result.events), VerdictEvent)
    after = {outcome.example: outcome.value or 0.0 for outcome in verdict.outcomes_after}
    return Demonstration(result, control, count, paired(control.scores, after))


def labelled_few_shot(result: lt.Result[Any]) -> tuple[Candidate, int]:
    """Return the original with the first of the largest demo sets on ``species``, and that set's size."""
    made = event_of(read_all(result.events), BootstrapEvent)
    sets = [demo_set["demos"].get("species", []) for demo_set in made.sets]
    largest = max(sets, key=len)
    demos = [Demo.from_json(demo) for demo in largest]
    untouched = lt.Candidate(
        {predictor.name: predictor.original for predictor in (iris.petal_size, iris.species)},
        {predictor.name: predictor.signature.fingerprint for predictor in (iris.petal_size, iris.species)},
    )
    return untouched.with_demos("species", demos), len(demos)
