"""``export``: take a study's prompts elsewhere, and know that nothing changed on the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli import options as o
from luthier.cli.console import say
from luthier.cli.exits import guarded
from luthier.cli.importing import load
from luthier.errors import ConfigError

if TYPE_CHECKING:
    from luthier.lm.lm import LM

_NAMES = ("python", "openai", "langchain", "dspy", "promptfoo", "markdown", "json")
_TYPED = ("python", "openai", "langchain", "dspy", "promptfoo")

Best = Annotated[
    bool, typer.Option("--best", help="The best found, whatever the verdict; else what the verdict recommends.")
]


@guarded
def export(
    source: Annotated[Path, typer.Argument(metavar="STUDY_DIR|PROMPTS_DIR", help="A study, or saved prompts.")],
    to: Annotated[str, typer.Option("--to", metavar="|".join(_NAMES), help="The form.")] = "json",
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write it.")] = None,
    best: Best = False,
    program: Annotated[
        str | None,
        typer.Option(
            "--program", metavar="MODULE:FUNCTION", help="What the prompts are for: types and descriptions of fields."
        ),
    ] = None,
    lm: Annotated[
        str | None,
        typer.Option("--lm", metavar="NAME", help="Who is to be asked, where that is not the study's LM."),
    ] = None,
    base_url: o.BaseUrl = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="PATH", help="Examples to check with, and to make promptfoo tests from."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Hold the export to sending what luthier sends.")
    ] = True,
    debug: o.Debug = False,
) -> None:
    """Write a study's prompts, or saved ones, in a form that works without luthier, and check that form."""
    from luthier.deploy.forms import checked_export, unchecked_export
    from luthier.deploy.parts import parts_of

    if to not in _NAMES:
        raise ConfigError(f"--to {to}: must be one of {', '.join(_NAMES)}")
    known = None if program is None else load(program, "the program")
    parts = parts_of(source, program=known, best=best, lm=_lm(lm, base_url))
    rows = [] if data is None else _rows(data)
    if check:
        text, checked = checked_export(parts, to, rows)
        said = checked.sentence
    else:
        text, said = unchecked_export(parts, to, rows), "not checked, as asked"
    if to in _TYPED and not parts.exact:
        say("note: without --program, descriptions of fields and types of answers are left out")
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_bytes(text.encode("utf-8", "surrogatepass"))
        say(f"written to {output}")
    if to in _TYPED:
        say(said)


def _lm(name: str | None, base_url: str | None) -> LM | None:
    from luthier.cli.launch import Launch, check_url

    if name is None:
        return None
    return Launch("", "", "", name, base_url=check_url(base_url)).made(name)  # type: ignore[no-any-return]


def _rows(path: str) -> list[dict[str, Any]]:
    from luthier.evaluation.sources import read_source

    return [dict(row) for row in read_source(path, "--data").rows]
