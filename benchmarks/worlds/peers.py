"""The worker that runs DSPy's optimizers and gepa on worlds, in an environment of their own (standard library else).

What each optimizer is set to is what its users would set for that many program runs; the cost is counted by the
server, not by these settings.
"""

from __future__ import annotations

import json
import logging
import random
import tempfile
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dspy
import gepa

from benchmarks.worlds import program
from benchmarks.worlds.case import PROBE_ROW, TRAIN, VAL, Case
from benchmarks.worlds.worker import accuracy, costs, spent, work
from benchmarks.worlds.world import World, code_word, listed, world

THREADS = 8
VERSIONS = f"dspy {version('dspy')}, gepa {version('gepa')}"
Metric = Callable[..., Any]


def run_case(case: Case, url: str) -> dict[str, Any]:
    """Run one optimizer; return its cost and what its prompts are worth."""
    if case.optimizer == "gepa":
        return run_gepa(case, url)
    made = world(case.kind, case.seed)
    # The server's address is not part of DSPy's cache key, so each case starts with an empty cache.
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    lm, proposer = model("task", url), model("proposer", url)
    with tempfile.TemporaryDirectory() as folder, dspy.context(lm=lm):
        student = program.load(made, "dspy", Path(folder)).Program()
        train, val = examples(made, TRAIN), examples(made, VAL)
        tuned = PEERS[case.optimizer](made, student, train, val, case, proposer)
        found = costs(case, spent(url))
        tuned.set_lm(model("probe", url, cache=False))
        tuned(**examples(made, (PROBE_ROW,))[0].inputs().toDict())
    return {**found, **accuracy(url)}


def model(role: str, url: str, *, cache: bool = True) -> Any:
    """Return an LM of DSPy's for one of the server's roles."""
    return dspy.LM(f"openai/{role}", api_base=url, api_key="none", max_tokens=4000, cache=cache, num_retries=0)


def examples(made: World, numbers: Sequence[int]) -> list[Any]:
    """Return rows as DSPy's examples."""
    notes = [stage.note for stage in made.stages]
    return [dspy.Example(**made.columns(made.row(number))).with_inputs(*notes) for number in numbers]


def score(made: World) -> Metric:
    """Return the metric that gives a score only."""

    def metric(example: Any, prediction: Any, trace: Any = None) -> float | bool:
        value = made.score(example.number, prediction).value
        return value if trace is None else value == 1.0

    return metric


def score_with_feedback(made: World) -> Metric:
    """Return the metric in GEPA's form: score and feedback, for one predictor where it is asked for."""

    def metric(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
        scored = made.score(gold.number, pred)
        feedback = scored.feedback
        if pred_name is not None and pred_name in scored.by_stage:
            feedback = scored.by_stage[pred_name][1]
        return dspy.Prediction(score=scored.value, feedback=feedback or f"This run scored {scored.value:.2f}.")

    return metric


def mipro(labelled: int | None) -> Callable[..., Any]:
    """Return MIPROv2 with its defaults, or with so many labelled demonstrations; sized to the budget."""

    def run(made: World, student: Any, train: list[Any], val: list[Any], case: Case, proposer: Any) -> Any:
        # Of a run of `light`: 6 candidates, trials on minibatches, a full evaluation every five trials and at the ends.
        batch, trials = (25, 13) if case.budget >= 600 else (25, 8)
        demos = {} if labelled is None else {"max_labeled_demos": labelled}
        optimizer = dspy.MIPROv2(
            metric=score(made),
            prompt_model=proposer,
            auto=None,
            num_candidates=6,
            num_threads=THREADS,
            seed=case.seed,
            **demos,
        )
        return optimizer.compile(
            student,
            trainset=train,
            valset=val[: case.validation],
            num_trials=trials,
            minibatch_size=batch,
            minibatch_full_eval_steps=5,
        )

    return run


def random_search(made: World, student: Any, train: list[Any], val: list[Any], case: Case, proposer: Any) -> Any:
    """Bootstrap few-shot with random search: each candidate is scored on all of validation."""
    rows, candidates = (50, 8) if case.budget >= 600 else (30, 6)
    random.Random(case.seed).shuffle(train)  # its own seeds are fixed
    optimizer = dspy.BootstrapFewShotWithRandomSearch(
        metric=score(made), num_candidate_programs=candidates, num_threads=THREADS
    )
    return optimizer.compile(student, trainset=train, valset=val[:rows])


def simba(made: World, student: Any, train: list[Any], val: list[Any], case: Case, proposer: Any) -> Any:
    """SIMBA, which has no validation set and scores its winners on all it trains with."""
    size, rows, steps = (16, 50, 4) if case.budget >= 600 else (8, 30, 5)
    optimizer = dspy.SIMBA(
        metric=score(made), bsize=size, num_candidates=4, max_steps=steps, prompt_model=proposer, num_threads=THREADS
    )
    return optimizer.compile(student, trainset=[*train, *val][:rows], seed=case.seed)


def dspy_gepa(made: World, student: Any, train: list[Any], val: list[Any], case: Case, proposer: Any) -> Any:
    """GEPA as DSPy has it; what its cache answers costs it nothing, so it ends by what it really spent."""
    optimizer = dspy.GEPA(
        metric=score_with_feedback(made),
        max_metric_calls=10 * case.budget,
        gepa_kwargs={
            "stop_callbacks": [lambda state: costs(case, spent(proposer.kwargs["api_base"]))["runs"] >= case.budget]
        },
        reflection_lm=proposer,
        num_threads=THREADS,
        seed=case.seed,
        warn_on_score_mismatch=False,
    )
    return optimizer.compile(student, trainset=train, valset=val)


PEERS: dict[str, Callable[..., Any]] = {
    "dspy-miprov2": mipro(None),
    "dspy-miprov2-16": mipro(16),
    "dspy-gepa": dspy_gepa,
    "dspy-simba": simba,
    "dspy-random-search": random_search,
}
"""How DSPy's optimizers are run, by the names that cases have."""


def run_gepa(case: Case, url: str) -> dict[str, Any]:
    """Run gepa with an adapter for the world's program."""
    made = world(case.kind, case.seed)
    adapter = WorldAdapter(made, url)
    result = gepa.optimize(
        seed_candidate={stage.name: stage.instruction for stage in made.stages},
        trainset=list(TRAIN),
        valset=list(VAL),
        adapter=adapter,
        reflection_lm=lambda prompt: complete(url, "proposer", [{"role": "user", "content": prompt}]),
        max_metric_calls=case.budget,
        seed=case.seed,
        display_progress_bar=False,
        raise_on_exception=True,
        logger=Quiet(),
    )
    found = costs(case, spent(url))
    adapter.run(dict(result.best_candidate), PROBE_ROW, "probe")
    return {**found, **accuracy(url)}


class Quiet:
    """A logger that says nothing."""

    def log(self, message: str) -> None:
        """Drop the message."""


class WorldAdapter:
    """What gepa needs to run a program and to show the proposer what came of it."""

    propose_new_texts = None

    def __init__(self, made: World, url: str) -> None:
        self.world = made
        self.url = url

    def run(self, texts: Mapping[str, str], number: int, role: str = "task") -> tuple[Any, list[Any]]:
        """Run the program on a row; return its prediction and each call: stage, what was asked, what was said."""
        row, calls = self.world.columns(self.world.row(number)), []
        said: dict[str, Any] = {}
        before = ""
        for stage in self.world.stages:
            notes = listed(row[stage.note])
            answers = []
            for note in notes:
                asked = f"note: {note}" + (
                    f"\n{self.world.stages[stage.index - 1].name}: {before}" if stage.index else ""
                )
                messages = [{"role": "system", "content": texts[stage.name]}, {"role": "user", "content": asked}]
                answers.append(complete(self.url, role, messages))
                calls.append((stage.name, asked, answers[-1]))
            before = ", ".join(answers)
            said[stage.name] = answers if len(answers) > 1 else answers[0]
        if self.world.kind.blind:
            return {"code": code_word(*(", ".join(listed(answer)) for answer in said.values()))}, calls
        return said, calls

    def evaluate(self, batch: list[int], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """Score a batch of rows."""
        with ThreadPoolExecutor(THREADS) as pool:
            runs = list(pool.map(lambda number: self.run(candidate, number), batch))
        scored = [self.world.score(number, said) for number, (said, _) in zip(batch, runs, strict=True)]
        traces = list(zip(runs, scored, strict=True)) if capture_traces else None
        return gepa.EvaluationBatch(
            outputs=[said for said, _ in runs], scores=[one.value for one in scored], trajectories=traces
        )

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """Return inputs, outputs, and feedback of each component."""
        shown: dict[str, list[dict[str, Any]]] = {name: [] for name in components_to_update}
        for (_, calls), scored in eval_batch.trajectories:
            for name, asked, answered in calls:
                if name in shown:
                    feedback = scored.by_stage.get(name, (0.0, ""))[1] or f"This run scored {scored.value:.2f}."
                    shown[name].append({"Inputs": asked, "Generated Outputs": answered, "Feedback": feedback})
        return shown


def complete(url: str, role: str, messages: list[dict[str, str]]) -> str:
    """Ask the server."""
    body = json.dumps({"model": role, "messages": messages}).encode()
    request = urllib.request.Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        return str(json.load(reply)["choices"][0]["message"]["content"])


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    work(run_case)
