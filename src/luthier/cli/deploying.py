"""``export``, ``apply``, ``diff``: take a study's prompts elsewhere, put them back, see what changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli import options as o
from luthier.cli.console import emit, say
from luthier.cli.exits import code_of_decision, guarded
from luthier.cli.importing import load
from luthier.errors import ConfigError
from luthier.report.figures import showable

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
    from luthier.exports.forms import WITHOUT_TEXTS, checked_export, unchecked_export
    from luthier.exports.parts import parts_of

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
    if parts.texts and to in WITHOUT_TEXTS:
        say(f"note: left out, since {to} has no place for texts of templates and tools: {', '.join(parts.texts)}")
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


@guarded
def apply(
    study_dir: o.StudyArgument,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A directory of prompts, a Python file with docstrings, or a template's file."
        ),
    ],
    best: Annotated[bool, typer.Option("--best", help="Apply the best found, whatever the verdict.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the change and write nothing.")] = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Write a study's result back into your files, as a change small enough to review."""
    from luthier.exports.apply import apply as applied

    found = applied(study_dir, path, best=best)
    if not best and found.decision != "adopt":
        code = code_of_decision(found.decision)
        verdict = "has no verdict yet" if found.decision is None else f"says {found.decision!r}"
        say(f"nothing to apply: the study {verdict}. --best applies the best prompts found all the same")
        if as_json:
            emit({"decision": found.decision, "files": [], "diff": ""})
        raise typer.Exit(code)
    diff = "".join(edit.diff() for edit in found.edits)
    if as_json:
        files = [edit.path for edit in found.edits]
        emit({"decision": found.decision, "files": files, "diff": diff, "written": not dry_run, "notes": found.notes})
    elif dry_run:
        typer.echo(showable(diff), nl=False)
    if not dry_run:
        for edit in found.edits:
            edit.write()
            say(f"{'removed' if edit.after is None else 'written'}: {edit.path}")
    if not found.edits:
        say("nothing to change: the prompts are there already")
    for note in found.notes:
        say(f"note: {note}")


@guarded
def diff(
    a: Annotated[str, typer.Argument(metavar="STUDY_DIR|PROMPTS_DIR|original", help="One side.")],
    b: Annotated[str, typer.Argument(metavar="STUDY_DIR|PROMPTS_DIR|original", help="The other side.")],
    best: Best = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Compare two sets of prompts; like diff, it ends with 0 where they are equal and with 1 where they differ."""
    from luthier.exports.changes import changes, sides

    found = changes(*sides(a, b, best=best))
    if as_json:
        emit({"same": not found, "predictors": {change.name: change.to_json() for change in found}})
    else:
        lines = [line for change in found for line in change.lines(a, b)]
        typer.echo("".join(f"{showable(line)}\n" for line in lines), nl=False)
    raise typer.Exit(1 if found else 0)
