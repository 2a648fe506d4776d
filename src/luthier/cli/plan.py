"""The plan, shown before the first paid call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table
from rich.text import Text

from luthier.cli.console import people, say
from luthier.errors import ConfigError
from luthier.report.figures import count, dollars, duration, showable

if TYPE_CHECKING:
    from luthier.budget import Budget

Confirm = Callable[[Mapping[str, Any]], bool]

_COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("program runs", "rollouts", count),
    ("LM calls", "calls", count),
    ("tokens", "tokens", count),
    ("price", "usd", dollars),
    ("time", "seconds", duration),
)
_LIMITS = (
    ("calls", "lm_calls", lambda limit: f"{count(limit)} LM calls"),
    ("tokens", "tokens", lambda limit: f"{count(limit)} tokens"),
    ("usd", "usd", dollars),
    ("seconds", "seconds", duration),
)
_NAMES = {"insight": "each predictor's part"}


def show_plan(plan: Mapping[str, Any], budget: Budget | None = None) -> None:
    """Print a plan for people; what nothing is known about has no column."""
    whole = plan.get("total") or {}
    rows = [*plan.get("phases", ()), *([{**whole, "name": "total"}] if whole else [])]
    known = [column for column in _COLUMNS if any(row.get(column[1]) is not None for row in rows)]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title="Plan, at most", title_justify="left")
    table.add_column("phase")
    for title, _, _ in known:
        table.add_column(title, justify="right")
    for row in rows:
        name = str(row.get("name", ""))
        cells = [shown(row.get(field)) for _, field, shown in known]
        table.add_row(showable(_NAMES.get(name, name)), *cells, style="bold" if name == "total" else "")
    people().print(table)
    for text in _remarks(plan, budget):
        say(text)


def asker(
    *, yes: bool, quiet: bool, budget: Budget | None, pause: Callable[[], None], resume: Callable[[], None]
) -> Confirm:
    """Return what decides whether a plan is carried out.

    A terminal is asked. Where there is none to ask, a plan goes ahead when a budget bounds it or nothing leaves
    the machine; else ``--yes`` has to say so.
    """

    def confirm(plan: Mapping[str, Any]) -> bool:
        if not quiet:
            pause()
            show_plan(plan, budget)
        if yes:
            agreed = True
        elif sys.stdin is not None and sys.stdin.isatty():
            pause()
            agreed = typer.confirm("Go ahead?", default=True, err=True)
        elif budget is not None or not plan.get("leaves_machine"):
            agreed = True
        else:
            raise ConfigError("nobody can be asked here: agree to the plan with --yes, or bound it with a --budget-…")
        resume()
        return agreed

    return confirm


def _remarks(plan: Mapping[str, Any], budget: Budget | None) -> list[str]:
    splits = plan.get("splits")
    hosts = plan.get("leaves_machine") or []
    found = []
    if splits:
        found.append(
            f"Examples: {splits.get('train', 0)} to learn from, {splits.get('val', 0)} to compare candidates on, "
            f"{splits.get('test', 0)} held out for the verdict."
        )
        if not splits.get("test"):
            found.append("None are held out, so there will be a best candidate but no verdict.")
    if met := _limits_met(plan.get("total") or {}, budget):
        aside = "; the verdict is set aside first" if (splits or {}).get("test") else ""
        found.append(f"The budget of {met} may end the search early{aside}.")
    found.append(
        f"Examples and prompts are sent to {', '.join(hosts)}."
        if hosts
        else "luthier sends nothing to other machines; what a server or client of yours passes on, it cannot see."
    )
    if unit := plan.get("paper_unit"):
        found.append(
            f"The search takes {unit['program_runs']} program runs at most, as much as {unit['full_evaluations']:.1f} "
            f"full evaluations on {unit['examples']} examples (the paper's unit); the other phases come on top."
        )
    if plan.get("trials"):
        found.append("It stops after the first phase if that leaves nothing to win, unless --anyway is given.")
    if plan.get("surrogate_trials"):
        found.append(f"In {plan['surrogate_trials']} trials the choice is guided by what earlier ones showed.")
    found += [Text(str(note)).plain for note in plan.get("notes", ())]
    return found


def _limits_met(whole: Mapping[str, Any], budget: Budget | None) -> str:
    return ", ".join(
        shown(limit)
        for field, name, shown in _LIMITS
        if (limit := getattr(budget, name, None)) is not None and (whole.get(field) or 0) > limit
    )
