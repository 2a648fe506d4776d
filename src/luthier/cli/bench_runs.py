"""``bench run`` and ``bench table``: optimizers on the paper's tasks, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli import options as o
from luthier.cli.console import emit, people, say
from luthier.cli.exits import guarded
from luthier.errors import ConfigError

if TYPE_CHECKING:
    from luthier.bench.suite import Suite

Evaluations = Annotated[
    int | None, typer.Option("--evaluations", metavar="N", min=1, help="Program runs of each search, the paper's unit.")
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
        list[str] | None, typer.Option("--optimizer", metavar="NAME", help="As often as wanted; else mipro.")
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", metavar="1,2,3", help="Each is a split and a search.")] = "1",
    evaluations: Evaluations = None,
    sizes: Sizes = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where studies and results are kept.")] = Path(
        "runs/bench"
    ),
    proposer_lm: o.Proposer = None,
    teacher_lm: o.Teacher = None,
    base_url: o.BaseUrl = None,
    api_key_env: o.ApiKeyEnv = None,
    budget_usd: o.BudgetUsd = None,
    budget_calls: o.BudgetCalls = None,
    budget_tokens: o.BudgetTokens = None,
    budget_seconds: o.BudgetSeconds = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Run optimizers on tasks, one study after the other; run again, it goes on where it was.

    Budgets hold for each study by itself.
    """
    from luthier.bench.running import run_case
    from luthier.bench.suite import declare, read_suite
    from luthier.cli.launch import Launch

    first = Path(tasks[0])
    if first.suffix in (".toml", ".json"):
        if len(tasks) > 1 or lm is not None or optimizers or evaluations is not None or sizes is not None:
            raise ConfigError("a suite's file declares everything; leave out other tasks and options")
        suite = read_suite(first)
    else:
        suite = _suite(tasks, lm, optimizers, seeds, evaluations, sizes, proposer_lm, teacher_lm)
    declared = declare(suite, out)
    launch = Launch(
        program="",
        data="",
        metric="",
        lm=suite.lm,
        base_url=base_url,
        api_key_env=api_key_env,
        budget_usd=budget_usd,
        budget_calls=budget_calls,
        budget_tokens=budget_tokens,
        budget_seconds=budget_seconds,
    )

    def made(name: str, longest: int) -> Any:
        return launch.made(name).with_settings(max_tokens=longest)

    wanted = [case for case in declared.cases() if case in set(suite.cases())]
    found = []
    for number, case in enumerate(wanted, 1):
        head = f"{number} of {len(wanted)}  {case.task}, {case.optimizer}, seed {case.seed}"
        result = run_case(case, out, made, budget=launch.budget(), on_event=_phases(head))
        found.append(result)
        say(f"{head}: {_told(result)}")
    if as_json:
        emit({"cases": found})
    failed = sum(result["status"] == "failed" for result in found)
    say(f"{len(found) - failed} done, {failed} failed; luthier bench table {out}")


@guarded
def table(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR…", help="What `bench run` wrote, or its results alone.")
    ],
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables.")] = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Tell what optimizers came to, by task: scores, what they cost, and which differences are real."""
    from rich.table import Table

    from luthier.bench import tabling

    told = tabling.tell(folders)
    for of_task in told.tasks:
        for title, head, rows in of_task.tables():
            shown = Table(*head, box=None, title=f"{of_task.name}: {title}", header_style="dim", title_justify="left")
            for row in rows:
                shown.add_row(*row)
            people().print(shown)
    if html is not None:
        html.write_text(told.html(), encoding="utf-8")
        say(f"wrote {html}")
    if markdown is not None:
        markdown.write_text(told.markdown(), encoding="utf-8")
        say(f"wrote {markdown}")
    if as_json:
        emit(told.to_json())


def _suite(
    tasks: list[str],
    lm: str | None,
    optimizers: list[str] | None,
    seeds: str,
    evaluations: int | None,
    sizes: str | None,
    proposer_lm: str | None,
    teacher_lm: str | None,
) -> Suite:
    from luthier.bench.suite import Suite

    if lm is None:
        raise ConfigError("--lm says who runs the programs, e.g. --lm local/qwen2.5-coder-0.5b")
    parts = None if sizes is None else _numbers("--sizes", sizes)
    if parts is not None and len(parts) != 3:
        raise ConfigError(f"--sizes {sizes}: three numbers are needed, train, val, and test")
    return Suite(
        tasks=tuple(tasks),
        optimizers=tuple(optimizers or ["mipro"]),
        lm=lm,
        seeds=_numbers("--seeds", seeds),
        evaluations=evaluations,
        by_task={} if parts is None else {name: {"sizes": list(parts)} for name in tasks},
        proposer_lm=proposer_lm,
        teacher_lm=teacher_lm,
    )


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{option} {text}: whole numbers are needed, with commas between them") from error


_REACHED = {"proposals": "instructions proposed, searching", "loop_end": "searched, testing"}


def _phases(head: str) -> Callable[[Mapping[str, Any]], None]:
    """Return a listener that says when a study enters its longer phases."""

    def listen(event: Mapping[str, Any]) -> None:
        if event.get("transient"):
            return
        if event["event"] == "baseline":
            say(f"{head}: original {100 * event['mean']:.1f} % on val")
        elif event["event"] in _REACHED:
            say(f"{head}: {_REACHED[event['event']]}")

    return listen


def _told(result: Mapping[str, Any]) -> str:
    if result["status"] == "failed":
        return f"failed: {result['error']}"
    before, after = ((sum(result["test"][when]) / max(1, len(result["test"][when]))) for when in ("before", "after"))
    return f"test {100 * before:.1f} % → {100 * after:.1f} %, {result['decision']}"
