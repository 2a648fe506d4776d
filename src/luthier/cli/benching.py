"""``bench``: what the benchmark has, and strategies replayed on its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luthier.cli import options as o
from luthier.cli.console import emit, people, say
from luthier.cli.exits import guarded

app = typer.Typer(help="The benchmark: tasks, optimizers, and strategies on recorded tables.", no_args_is_help=True)


@app.command("list")
@guarded
def list_parts(as_json: o.AsJson = False, debug: o.Debug = False) -> None:
    """List tasks, optimizers, and strategies."""
    from luthier.bench.replaying import kinds
    from luthier.bench.strategies import STRATEGIES
    from luthier.optimizers.registry import OPTIMIZERS
    from luthier.tasks.registry import task_names

    parts = {
        "tasks": list(task_names()),
        "optimizers": list(OPTIMIZERS),
        "strategies": list(STRATEGIES),
        "synthetic tables": list(kinds()),
    }
    if as_json:
        emit(parts)
        return
    for name, members in parts.items():
        say(f"{name}: {', '.join(members)}")


@app.command("replay")
@guarded
def replay(
    tables: Annotated[list[str], typer.Argument(metavar="TABLE…", help="Recorded tables, or synthetic:KIND.")],
    strategies: Annotated[
        list[str] | None, typer.Option("--strategy", metavar="NAME", help="One of `bench list`; all if left out.")
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
    from rich.table import Table

    from luthier.bench import replaying

    compared = []
    for source in tables:
        found = replaying.run(source, strategies or [], evaluations=evaluations, seeds=seeds)
        compared.append(found)
        if as_json:
            continue
        shown = Table(*replaying.HEAD, box=None, title=f"{source}, {evaluations} evaluations", header_style="dim")
        for row in found.rows():
            shown.add_row(*row)
        people().print(shown)
    null_rows = replaying.nulls(strategies or [], evaluations=evaluations, studies=null_studies) if null_studies else []
    if html is not None:
        html.write_text(replaying.as_html(compared, null_rows), encoding="utf-8")
        say(f"wrote {html}")
    if markdown is not None:
        markdown.write_text(replaying.as_markdown(compared, null_rows), encoding="utf-8")
        say(f"wrote {markdown}")
    if as_json:
        emit({"tables": [one.to_json() for one in compared], "null tables": null_rows})
