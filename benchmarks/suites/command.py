"""``run`` and ``table``: optimizers on the paper's tasks, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier import errors
from luthier.cli import options as o
from luthier.cli.console import emit, say, show_table
from luthier.cli.exits import Code, code_of_kind, guarded
from luthier.errors import ConfigError, LuthierError

if TYPE_CHECKING:
    from benchmarks.suites.suite import Suite
    from luthier.cli.launch import Launch
    from luthier.lm.lm import LM

Seeds = Annotated[
    str | None, typer.Option("--seeds", metavar="1,2,3", help="Each is a split and a search; 1 if left out.")
]
Evaluations = Annotated[
    int | None,
    typer.Option(
        "--evaluations",
        metavar="N",
        min=1,
        help="Program runs of each search, the paper's unit; for NAME/paper the paper's if left out.",
    ),
]
Candidates = Annotated[
    int | None,
    typer.Option(
        "--candidates",
        metavar="N",
        min=2,
        help="Instructions and demo sets to choose from; for NAME/paper the paper's if left out.",
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        metavar="T",
        min=0,
        help="Of the LM that runs the programs; its own if left out, for NAME/paper the paper's 0.7.",
    ),
]
Sizes = Annotated[
    str | None, typer.Option("--sizes", metavar="TRAIN,VAL,TEST", help="Other parts than the task's own.")
]


@guarded
def run(
    tasks: Annotated[
        list[str], typer.Argument(metavar="TASK…|SUITE", help="Tasks, or a TOML or JSON file that declares a suite.")
    ],
    lm: Annotated[str | None, typer.Option("--lm", metavar="NAME", help="Runs the programs.")] = None,
    optimizers: Annotated[
        list[str] | None,
        typer.Option("--optimizer", metavar="NAME", help="As often as wanted; mipro if left out."),
    ] = None,
    seeds: Seeds = None,
    evaluations: Evaluations = None,
    candidates: Candidates = None,
    temperature: Temperature = None,
    sizes: Sizes = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where studies and results are kept.")] = Path(
        "runs/bench"
    ),
    proposer_lm: o.Proposer = None,
    teacher_lm: o.Teacher = None,
    base_url: o.BaseUrl = None,
    api_key_env: o.ApiKeyEnv = None,
    price_in: o.PriceIn = None,
    price_out: o.PriceOut = None,
    endpoint: o.Endpoint = None,
    budget_usd: o.BudgetUsd = None,
    budget_calls: o.BudgetCalls = None,
    budget_tokens: o.BudgetTokens = None,
    budget_seconds: o.BudgetSeconds = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Run optimizers on tasks, one study after the other; run again, it goes on where it was.

    Budgets hold for each study by itself. Where a study failed, the exit code is that of the first failure.
    """
    from luthier.cli.launch import Launch

    suite = _suite(
        tasks,
        {
            "lm": lm,
            "optimizers": optimizers,
            "seeds": seeds,
            "evaluations": evaluations,
            "candidates": candidates,
            "temperature": temperature,
            "endpoint": endpoint,
            "sizes": sizes,
            "proposer_lm": proposer_lm,
            "teacher_lm": teacher_lm,
        },
    )
    found = _run(
        suite,
        out,
        Launch(
            program="",
            data="",
            metric="",
            lm=suite.lm,
            base_url=base_url,
            api_key_env=api_key_env,
            price_in=price_in,
            price_out=price_out,
            budget_usd=budget_usd,
            budget_calls=budget_calls,
            budget_tokens=budget_tokens,
            budget_seconds=budget_seconds,
        ),
    )
    if as_json:
        emit({"cases": found})
    failed = [result for result in found if result["status"] == "failed"]
    say(_ended(len(found), len(failed), out))
    if failed:
        raise typer.Exit(_code(failed[0]))


@guarded
def table(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR…", help="What `run` wrote, or its results alone.")],
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables.")] = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Tell what optimizers came to, by task: scores, what they cost, and which differences are real."""
    from benchmarks.suites import tabling

    told = tabling.tell(folders)
    for of_task in told.tasks:
        for title, head, rows in of_task.tables():
            show_table(f"{of_task.name}: {title}", head, rows)
    if html is not None:
        html.write_text(told.html(), encoding="utf-8")
        say(f"wrote {html}")
    if markdown is not None:
        markdown.write_text(told.markdown(), encoding="utf-8")
        say(f"wrote {markdown}")
    if as_json:
        emit(told.to_json())


def _suite(tasks: Sequence[str], given: Mapping[str, Any]) -> Suite:
    """Return the suite that a file declares, or that tasks and options make."""
    from benchmarks.suites.suite import Suite, read_suite

    options = {name: value for name, value in given.items() if value is not None}
    file = next((Path(name) for name in tasks if Path(name).suffix in (".toml", ".json")), None)
    if file is not None:
        spelled = [f"--{'optimizer' if name == 'optimizers' else name.replace('_', '-')}" for name in options]
        if extra := [*(name for name in tasks if Path(name) != file), *spelled]:
            raise ConfigError(
                f"{file} declares the whole suite: leave out {', '.join(extra)}, and write it into the file"
            )
        return read_suite(file)
    if "lm" not in options:
        raise ConfigError("--lm says who runs the programs, e.g. --lm local/qwen2.5-coder-0.5b")
    sizes = options.pop("sizes", None)
    if sizes is not None:
        options["by_task"] = {name: {"sizes": list(_numbers("--sizes", sizes))} for name in tasks}
    optimizers, seeds = options.pop("optimizers", ["mipro"]), options.pop("seeds", "1")
    return Suite(tasks=tuple(tasks), optimizers=tuple(optimizers), seeds=_numbers("--seeds", seeds), **options)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{option} {text}: whole numbers are needed, with commas between them") from error


def _run(suite: Suite, out: Path, launch: Launch) -> list[dict[str, Any]]:
    """Run the suite's cases; return their results."""
    from benchmarks.suites.results import known_result
    from benchmarks.suites.running import run_case
    from benchmarks.suites.suite import declare

    def made(name: str, longest: int) -> Any:
        return launch.made(name).with_settings(max_tokens=longest)

    asked_for = set(suite.cases())
    _check_lms(suite, launch, ask=any(known_result(case, out) is None for case in asked_for))
    wanted = [case for case in declare(suite, out).cases() if case in asked_for]
    say(f"{_studies(len(wanted))}, kept in {out}; you may stop at any time: the same command goes on.")
    found: list[dict[str, Any]] = []
    try:
        for number, case in enumerate(wanted, 1):
            progress = _Progress(f"{number} of {len(wanted)}  {case.task}, {case.optimizer}, seed {case.seed}")
            found.append(run_case(case, out, made, budget=launch.budget(), on_event=progress))
            progress.end(found[-1])
    except (LuthierError, KeyboardInterrupt) as error:
        error.add_note(f"{len(found)} of {_studies(len(wanted))} ended; the same command goes on from here.")
        raise
    return found


def _check_lms(suite: Suite, launch: Launch, *, ask: bool) -> None:
    """Find whatever is wrong with an LM, before anything is kept that the corrected name would not fit.

    Args:
        suite: names the LMs.
        launch: has their addresses and keys.
        ask: whether something is left to run: then a server is asked for one token, too.

    Raises:
        ConfigError: an LM cannot be asked.
    """
    lms = [launch.made(name) for name in dict.fromkeys((suite.lm, suite.proposer_lm, suite.teacher_lm)) if name]
    for lm in lms:
        lm.check(dollars=launch.budget_usd is not None, tokens=launch.budget_tokens is not None)
        _ = lm.identity  # only then is an embedded model looked for
    if ask:
        asyncio.run(_probe([lm for lm in lms if not lm.is_local]))


async def _probe(lms: Sequence[LM]) -> None:
    from luthier.lm.gateway import Gateway

    gateway = Gateway()
    try:
        for lm in lms:
            await gateway.probe(lm)
    finally:
        gateway.close()


@dataclass
class _Progress:
    """Says when a study enters its longer phases, and what it came to."""

    head: str
    heard: bool = False
    """Whether the study ran; one that is done is only read."""

    def __call__(self, event: Mapping[str, Any]) -> None:
        self.heard = True
        if not event.get("transient") and (reached := _reached(event)):
            say(f"{self.head}: {reached}")

    def end(self, result: Mapping[str, Any]) -> None:
        """Say what the study came to."""
        if result["status"] == "failed":
            say(f"{self.head}: failed: {result['error'].partition(': ')[2]}", style="red")
            return
        scores = (result["test"][when] for when in ("before", "after"))
        before, after = (100 * sum(values) / max(1, len(values)) for values in scores)
        said = {"adopt": "adopt the tuned", "keep": "keep the original", "unmeetable": "no prompt can score"}.get(
            result["decision"], "undecided"
        )
        known = "" if self.heard else "done before: "
        say(f"{self.head}: {known}on test {before:.1f} % with the original prompts, {after:.1f} % tuned: {said}")


def _reached(event: Mapping[str, Any]) -> str | None:
    """Return what a study does from this event on, where it is something longer."""
    match event["event"]:
        case "baseline":
            return (
                f"the original prompts score {100 * event['mean']:.1f} % on {event['n']} examples; preparing the search"
            )
        case "proposals":
            return "instructions are proposed; searching"
        case "loop_end":
            return "searched; testing"
    return None


def _studies(n: int) -> str:
    return f"{n} stud{'y' if n == 1 else 'ies'}"


def _ended(n: int, failed: int, out: Path) -> str:
    again = f", {failed} failed (why is said above; the same command tries again)" if failed else ""
    return f"{n - failed} of {_studies(n)} done{again}. Compare them: python -m benchmarks table {out}"


def _code(failed: Mapping[str, Any]) -> Code:
    """Return the code that the command would end with, had the failure ended it."""
    return code_of_kind(getattr(errors, failed["error"].partition(":")[0]))
