"""Where things are printed: JSON on standard output, everything for people on standard error."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from luthier.report.figures import showable


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Go on in silence: who reads along may leave, and the work must not end for that."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def people() -> Console:
    """Return a console on standard error, as it is now; one that nobody reads any more falls silent."""
    return _Console(file=sys.stderr, highlight=False, soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """Print a text for people, as it is."""
    people().print(Text(_safe(text), style=style))


def show_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table for people, whole: one too wide for the terminal is broken by it, not cut."""
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False)
    for number, name in enumerate(head):
        table.add_column(name, no_wrap=True, justify="right" if number and _are_numbers(rows, number) else "left")
    for row in rows:
        table.add_row(*map(_safe, row))
    say(title, style="italic")
    console = people()
    console.width = max(console.width, console.measure(table, options=console.options.update(max_width=10_000)).maximum)
    console.print(table)
    say("")


def complain(text: str) -> None:
    """Print an error: its first line in red, the rest plain."""
    first, _, rest = _safe(text).strip().partition("\n")
    people().print(Text("error: ", style="bold red") + Text(first, style="red"))
    if rest:
        people().print(Text(rest, style="dim"))


def emit(value: Any) -> None:
    """Print a value as JSON on standard output."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=True, indent=2) + "\n")
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """Return a value as JSON: dataclasses as objects, paths as text, numbers that JSON lacks as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.as_posix() if isinstance(value, Path) else str(value)


def _are_numbers(rows: Sequence[Sequence[str]], column: int) -> bool:
    return not any(row[column][:1].isalpha() for row in rows)


def _safe(text: str) -> str:
    from luthier.lm.redact import redact

    return showable(redact(text))
