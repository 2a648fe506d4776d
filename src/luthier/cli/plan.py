"""The plan, shown before the first paid call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from luthier.cli.console import people, say
from luthier.errors import ConfigError
from luthier.report.figures import count, dollars, duration, showable

Confirm = Callable[[Mapping[str, Any]], bool]


def show_plan(plan: Mapping[str, Any]) -> None:
    """Print a plan for people."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title="Plan, at most", title_justify="left")
    table.add_column("phase")
    for name in ("program runs", "LM calls", "tokens", "price", "time"):
        table.add_column(name, justify="right")
    for phase in plan.get("phases", ()):
        table.add_row(*_row(phase))
    if plan.get("total"):
        table.add_section()
        table.add_row(*_row({**plan["total"], "name": "total"}), style="bold")
    people().print(table)
    for text in _remarks(plan):
        say(text)


def asker(*, yes: bool, quiet: bool, budgeted: bool, pause: Callable[[], None], resume: Callable[[], None]) -> Confirm:
    """Return what decides whether a plan is carried out.

    A terminal is asked. Where there is none to ask, a plan goes ahead when a budget bounds it or nothing leaves
    the machine; else ``--yes`` has to say so.
    """

    def confirm(plan: Mapping[str, Any]) -> bool:
        if not quiet:
            pause()
            show_plan(plan)
        if yes:
            agreed = True
        elif sys.stdin is not None and sys.stdin.isatty():
            pause()
            agreed = typer.confirm("Go ahead?", default=True, err=True)
        elif budgeted or not plan.get("leaves_machine"):
            agreed = True
        else:
            raise ConfigError("nobody can be asked here: agree to the plan with --yes, or bound it with a --budget-…")
        resume()
        return agreed

    return confirm


def _row(phase: Mapping[str, Any]) -> list[str]:
    seconds = phase.get("seconds")
    return [
        showable(phase.get("name", "")),
        count(phase.get("rollouts")),
        count(phase.get("calls")),
        count(phase.get("tokens")),
        dollars(phase.get("usd")),
        "–" if seconds is None else duration(float(seconds)),
    ]


def _remarks(plan: Mapping[str, Any]) -> list[str]:
    splits = plan.get("splits")
    hosts = plan.get("leaves_machine") or []
    detectable = plan.get("smallest_detectable")
    found = []
    if splits:
        found.append(
            f"Examples: {splits.get('train', 0)} to learn from, {splits.get('val', 0)} to compare candidates on, "
            f"{splits.get('test', 0)} held out for the verdict."
        )
    found.append(f"Leaves this machine to: {', '.join(hosts)}." if hosts else "Nothing leaves this machine.")
    if detectable is not None:
        found.append(f"So many held-out examples can show a gain from about {100 * detectable:.0f} points on.")
    found += [Text(str(note)).plain for note in plan.get("notes", ())]
    return found
