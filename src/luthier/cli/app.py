"""The command line's commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from luthier._version import __version__
from luthier.cli import checking, deploying, evaluating, looking, models, tuning
from luthier.cli.exits import Code

app = typer.Typer(
    name="luthier",
    help="Tunes language-model programs: instructions and demonstrations of every stage, jointly, for a known price, "
    "with an honest verdict.",
    epilog="Exit codes: 0 adopt, or done; 10 keep, or worse (a gate); 11 undecided; 12 unmeetable; "
    "2 bad input; 3 the budget ended before the verdict; 4 stopped by infrastructure (resumable); 5 user code raised; "
    "130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"luthier {__version__}")
        raise typer.Exit


@app.callback()
def luthier(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Tune language-model programs."""


@app.command("bench", hidden=True, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def bench() -> None:
    """Say where the benchmark is now; for one release."""
    typer.echo(
        "the benchmark is no part of the package any more: in a clone of luthier, python -m benchmarks", err=True
    )
    raise typer.Exit(Code.BAD_INPUT)


app.command("demo")(tuning.demo)
app.command("check")(checking.check)
app.command("optimize")(tuning.optimize)
app.command("evaluate")(evaluating.evaluate)
app.command("resume")(tuning.resume)
app.command("show")(looking.show)
app.command("export")(deploying.export)
app.command("apply")(deploying.apply)
app.command("diff")(deploying.diff)
app.add_typer(models.app, name="models")
