"""Writes ``docs/cli.md`` from the commands themselves: ``python -m luthier.cli.reference > docs/cli.md``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer

from luthier.cli.app import app
from luthier.cli.exits import Code

_EXIT_CODES = {
    Code.DONE: "adopt: the tuned prompts are better; or the command did what it was asked",
    Code.UNEXPECTED: "a fault in luthier itself; of `luthier diff`: the prompts differ",
    Code.BAD_INPUT: "bad input: an option, a file, the data, the program, or the metric",
    Code.BUDGET: "the budget ended before the verdict",
    Code.INFRASTRUCTURE: "stopped by infrastructure; `luthier resume` goes on",
    Code.USER_CODE: "the program, the metric, or a module of yours raised",
    Code.KEEP: "keep your original; of `luthier check`: nothing to win; of `luthier evaluate --fail-…`: worse than the "
    "baseline",
    Code.UNDECIDED: "undecided: the examples cannot tell; of `--fail-unless-as-good`: not shown to be as good",
    Code.UNMEETABLE: "unmeetable: the baseline shows that no prompt can score, since no label can match an answer, no "
    "answer could be read, or every run returned None; the same of `luthier check`",
    Code.INTERRUPTED: "interrupted, or you said no",
}


def reference() -> str:
    """Return the command line's reference as Markdown."""
    root: Any = typer.main.get_command(app)
    parts = [
        "# Command line",
        "",
        "Written by `python -m luthier.cli.reference`; a test compares it with the commands.",
        "",
        "JSON goes to standard output (with `--json`), everything for people to standard error.",
        "",
        *_leaves(root, "luthier"),
        "## Exit codes",
        "",
        "| code | meaning |",
        "|---|---|",
        *(f"| {int(code)} | {text} |" for code, text in _EXIT_CODES.items()),
    ]
    return "\n".join(parts) + "\n"


def _leaves(command: Any, path: str) -> Iterable[str]:
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            if not child.hidden:
                yield from _leaves(child, f"{path} {name}")
        return
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option"]
    usage = " ".join([path, *(str(argument.metavar) for argument in arguments), "[OPTIONS]"])
    yield from (f"## `{path}`", "", _sentence(command.help), "", "```", usage, "```", "")
    if arguments:
        yield from ("| argument | |", "|---|---|")
        yield from (f"| `{_cell(argument.metavar)}` | {_cell(argument.help)} |" for argument in arguments)
        yield ""
    yield from ("| option | |", "|---|---|")
    yield from (f"| {_names(option)} | {_cell(option.help)}{_default(option)} |" for option in options)
    yield ""


def _names(option: Any) -> str:
    spelled = [*sorted(option.opts, key=len, reverse=True), *option.secondary_opts]
    names = ", ".join(f"`{name}`" for name in spelled)
    if option.is_flag:
        return names
    return f"{names} `{_cell(option.metavar)}`"


def _default(option: Any) -> str:
    if option.required:
        return " Required."
    if option.is_flag or option.default in (None, ""):
        return ""
    return f" Default: `{option.default}`."


def _cell(text: Any) -> str:
    return _sentence(text).replace("|", "\\|")


def _sentence(text: Any) -> str:
    return " ".join(str(text or "").replace("``", "`").split())


if __name__ == "__main__":
    import sys

    sys.stdout.write(reference())
