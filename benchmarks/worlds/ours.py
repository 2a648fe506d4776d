"""The worker that runs luthier's optimizers on worlds."""

from __future__ import annotations

import inspect
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import luthier as lt
from benchmarks.worlds import program
from benchmarks.worlds.case import PROBE_ROW, TEST, TRAIN, VAL, Case
from benchmarks.worlds.worker import accuracy, costs, spent, work
from benchmarks.worlds.world import Stage, World, stage_score, world


def run_case(case: Case, url: str) -> dict[str, Any]:
    """Run one study; its cost is what was spent until the choice, before the verdict."""
    made = world(case.kind, case.seed)
    with tempfile.TemporaryDirectory() as folder:
        tuned = program.load(made, "luthier", Path(folder)).program

        def metric(example: Mapping[str, Any], prediction: Mapping[str, Any]) -> lt.Score:
            scored = made.score(example["number"], prediction)
            # By predictor, as GEPA's metric is told it, too.
            told = {name: text for name, (_, text) in scored.by_stage.items() if text}
            return lt.Score(scored.value, feedback=told)

        def lm(role: str) -> lt.LM:
            return lt.LM(role, base_url=url, api_key="none", max_in_flight=32)

        searched: dict[str, Any] = {}

        def watch(event: Mapping[str, Any]) -> None:
            if event["event"] == "choice":
                searched.update(costs(case, spent(url)))

        parts = (TRAIN, VAL[: case.validation], TEST)
        knows = "predictor_metrics" in inspect.signature(lt.optimize).parameters  # 0.1.0 does not
        judging: dict[str, Any] = {"predictor_metrics": judges(made)} if knows else {}
        splits = lt.Splits(*([made.columns(made.row(number)) for number in part] for part in parts))
        result = lt.optimize(
            tuned,
            splits,
            metric,
            lm=lm("task"),
            proposer_lm=lm("proposer"),
            optimizer=case.optimizer.partition("@")[0],
            auto=max(2 * case.validation, case.budget - case.validation - bootstrapping(case)),
            study_dir=Path(folder) / "study",
            seed=case.seed,
            concurrency=32,
            on_event=watch,
            anyway=True,
            **judging,
        )
        row = made.columns(made.row(PROBE_ROW))
        given = {stage.note: row[stage.note] for stage in made.stages}
        lt.bind(tuned, lm=lm("probe"), candidate=result.best)(**given)
        found = {**searched, **accuracy(url), "decision": result.decision}
        found["proposals"] = proposals(result.events)
        if result.decision != "adopt":
            found["recommended"] = made.original()
        return found


def judges(made: World) -> dict[str, Callable[..., float]]:
    """Return a metric of each stage that is labelled; what a user would write who has these columns."""
    if made.kind.blind:
        return {}

    def judge(stage: Stage) -> Callable[..., float]:
        def metric(example: Mapping[str, Any], answer: str) -> float:
            return stage_score(stage, made.row(example["number"]).cases[stage.name][0], answer)

        return metric

    return {stage.name: judge(stage) for stage in made.stages if single(made, stage)}


def single(made: World, stage: Stage) -> bool:
    """Return whether a stage counts, and is called once in a run."""
    return stage.index != made.kind.idle and not (made.kind.loop > 1 and stage.index == 0)


def bootstrapping(case: Case) -> int:
    """Return about how many runs bootstrapping takes: like the baseline, it comes on top of ``auto``."""
    if case.optimizer.startswith("reflect"):
        return 0  # all it runs is part of ``auto``
    return min(75, case.budget // 4) * (3 if case.optimizer.startswith("mipro++") else 1)  # which has three teachers


def proposals(events: tuple[Mapping[str, Any], ...]) -> dict[str, Any]:
    """Return how many proposals were accepted and rejected, by reason."""
    accepted = 0
    rejected: Counter[str] = Counter()
    for event in events:
        if event["event"] in ("proposals", "arrival"):
            accepted += sum(len(texts) - 1 for texts in event.get("predictors", {}).values())
            rejected.update(event.get("rejected", {}))
    return {"accepted": accepted, "rejected": dict(rejected)}


if __name__ == "__main__":
    work(run_case)
