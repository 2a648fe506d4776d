"""``python -m benchmarks``: the paper's tasks and suites run with optimizers, and strategies replayed on tables.

Worlds with an able proposer have a command of their own, ``python -m benchmarks.worlds``.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.suites import command
from luthier.cli import options as o
from luthier.cli.console import emit, say, show_table
from luthier.cli.exits import guarded

app = typer.Typer(
    help="The benchmark: tasks, optimizers, and strategies on recorded tables.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command("list")
@guarded
def list_parts(as_json: o.AsJson = False, debug: o.Debug = False) -> None:
    """List tasks, optimizers, strategies, and synthetic tables."""
    from benchmarks.replay import strategies
    from benchmarks.replay.replaying import SYNTHETIC, about, kinds
    from benchmarks.tasks.registry import task, task_names
    from luthier.optimizers.registry import OPTIMIZERS

    parts = {
        "tasks": {name: task(name).about or _first_sentence(task(name).program) for name in task_names()},
        "optimizers": {
            name: "The same, with the paper's settings." if name.endswith("/paper") else _first_sentence(make)
            for name, make in OPTIMIZERS.items()
        },
        "strategies": {name: strategies.ABOUT[name] for name in strategies.STRATEGIES},
        "synthetic tables": {f"{SYNTHETIC}{kind}": about(kind) for kind in kinds()},
    }
    if as_json:
        emit({name: list(members) for name, members in parts.items()})
        return
    for title, members in parts.items():
        say(title)
        width = max(map(len, members))
        for name, told in members.items():
            say(f"  {name:{width}}  {told}".rstrip())


def _first_sentence(documented: object) -> str:
    return (inspect.getdoc(documented) or "").partition("\n\n")[0].replace("\n", " ")


@app.command("replay")
@guarded
def replay(
    tables: Annotated[list[str], typer.Argument(metavar="TABLE…", help="Recorded tables, or synthetic:KIND.")],
    strategies: Annotated[
        list[str] | None, typer.Option("--strategy", metavar="NAME", help="One of `list`; all if left out.")
    ] = None,
    evaluations: Annotated[int, typer.Option("--evaluations", min=1, help="Program runs that each may spend.")] = 300,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Replays of each, each with its own cut.")] = 50,
    null_studies: Annotated[
        int, typer.Option("--null-studies", min=0, help="Studies on null tables, to count false adoptions.")
    ] = 0,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with curves.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables.")] = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Replay search strategies on tables of recorded outcomes; no LM is asked."""
    from benchmarks.replay import replaying

    if null_studies:
        replaying.check_nulls(strategies or [], evaluations=evaluations)
    compared = []
    for source in tables:
        found = replaying.run(source, strategies or [], evaluations=evaluations, seeds=seeds)
        compared.append(found)
        if as_json:
            continue
        show_table(f"{source}, {evaluations} evaluations", found.head, found.rows())
    null_rows = replaying.nulls(strategies or [], evaluations=evaluations, studies=null_studies) if null_studies else []
    if null_rows and not as_json:
        show_table("null tables: adopted by mistake", replaying.NULL_HEAD, null_rows)
        say(replaying.NULL_NOTE)
    if html is not None:
        html.write_text(replaying.as_html(compared, null_rows), encoding="utf-8")
        say(f"wrote {html}")
    if markdown is not None:
        markdown.write_text(replaying.as_markdown(compared, null_rows), encoding="utf-8")
        say(f"wrote {markdown}")
    if as_json:
        emit({"tables": [one.to_json() for one in compared], "null tables": null_rows})


app.command("run")(command.run)
app.command("table")(command.table)

if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
