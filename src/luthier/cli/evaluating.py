"""``evaluate``: score a program as it is, or with saved prompts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from luthier.cli import options as o
from luthier.cli.console import emit, say
from luthier.cli.exits import guarded
from luthier.cli.gate import Gate
from luthier.cli.launch import Launch, launched
from luthier.errors import ConfigError, RequestRejected
from luthier.report.figures import count, percent, plural

if TYPE_CHECKING:
    from luthier.evaluation.rollout import Evaluation
    from luthier.program.candidate import Candidate
    from luthier.runner.compare import Comparison

ORIGINAL = "original"
"""Names the program's own prompts."""


_OF_STUDIES_ALONE = (
    *("predictor_metric", "proposer_lm", "teacher_lm", "optimizer", "auto", "start", "seed", "split_seed", "group"),
)


@guarded
@launched(*(name for name in o.LAUNCH if name not in _OF_STUDIES_ALONE))
def evaluate(
    launch: Launch,
    candidate: o.CandidateOption = None,
    baseline: o.Baseline = None,
    fail_if_worse: o.FailIfWorse = None,
    fail_unless_as_good: o.FailUnlessAsGood = None,
    repeats: o.Repeats = 1,
    group: o.GroupCompared = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Score a program on every example of a data set, as it is or with saved prompts; or against a baseline."""
    import luthier

    gate = Gate.of(fail_if_worse, fail_unless_as_good)
    if baseline is None and (gate is not None or group is not None):
        raise ConfigError("compared with what? Say so: --baseline original, or --baseline DIR")
    arguments = launch.arguments()
    settings: dict[str, Any] = {
        **{name: arguments[name] for name in ("lm", "concurrency", "executor", "inputs")},
        "repeats": repeats,
    }
    if arguments["budget"] is not None:
        settings["budget"] = arguments["budget"]
    if baseline is None:
        if candidate is not None:
            settings["candidate"] = luthier.Candidate.load(candidate)
        with _hint():
            result = luthier.evaluate(arguments["program"], launch.data, arguments["metric"], **settings)
        _tell(result, settings.get("candidate"), as_json=as_json, quiet=quiet)
        return
    arms = {"baseline": baseline, "candidate": ORIGINAL if candidate is None else candidate}
    with _hint():
        found = luthier.compare(
            arguments["program"], launch.data, arguments["metric"], candidates=arms, group=group, **settings
        )
    _tell_both(found, gate, as_json=as_json, quiet=quiet)
    if gate is not None:
        raise typer.Exit(gate.code(found.differences[0]))


@contextmanager
def _hint() -> Iterator[None]:
    try:
        yield
    except RequestRejected as error:
        error.add_note("Is the model's name right, and does the address end as the server wants it, often in /v1?")
        raise


def _tell(result: Evaluation, candidate: Candidate | None, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        emit(_json(result))
    elif not quiet:
        _say(result)
        if shown := _shown(candidate, result):
            say(f"{count(shown)} of these examples are among the prompts' demonstrations: the score flatters")


def _tell_both(found: Comparison, gate: Gate | None, *, as_json: bool, quiet: bool) -> None:
    difference = found.differences[0]
    if as_json:
        compared = found.to_json()
        emit(
            {
                **_json(found.arms["candidate"]),
                "baseline": _json(found.arms["baseline"]),
                "difference": compared["differences"][0],
                "sentence": found.sentence,
                "shown": dict(found.shown),
                "gate": None if gate is None else gate.to_json(difference),
            }
        )
    elif not quiet:
        for name, arm in found.arms.items():
            say(f"{name}:")
            _say(arm)
        say(found.sentence)
        if gate is not None:
            gate.tell(difference)


def _shown(candidate: Candidate | None, result: Evaluation) -> int:
    """Return how many of the examples an LM was shown with their answers."""
    if candidate is None:
        return 0
    demos = (demo for prompt in candidate.prompts.values() for demo in prompt.demos)
    return len(
        {demo.provenance.example for demo in demos if demo.provenance is not None}
        & {rollout.job.example for rollout in result.rollouts}
    )


def _json(result: Evaluation) -> dict[str, Any]:
    return {
        "mean": result.mean,
        "stderr": result.stderr,
        "n": result.n,
        "outcomes": _outcomes(result),
        "badly": result.badly,
        "usage": result.usage,
        "unmetered": result.unmetered,
        "scores": result.scores,
    }


def _say(result: Evaluation) -> None:
    wide = "" if result.stderr != result.stderr else f" ± {100 * result.stderr:.1f}"  # NaN below two examples
    say(f"{percent(result.mean)}{wide} on {plural(result.n, 'example')}", style="bold")
    others = {kind: n for kind, n in _outcomes(result).items() if n and kind != "scored"}
    if others:
        say(", ".join(f"{n} {kind}" for kind, n in others.items()))
    if result.badly:
        from luthier.report.answer_problems_text import say_problems

        say(f"answers that came, but not as they should: {say_problems(result.badly)}")
    say(f"{plural(result.usage.calls, 'LM call')}, {count(result.usage.tokens)} tokens")
    if result.unmetered:
        from luthier.evaluation.unmetered import unmetered_sentence

        say(f"! {unmetered_sentence(result.unmetered)}", style="yellow")


def _outcomes(result: Evaluation) -> dict[str, int]:
    from luthier.evaluation.rollout import by_outcome

    return by_outcome(result.rollouts)
