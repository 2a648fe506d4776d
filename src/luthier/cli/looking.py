"""``show``: look at a study, also one that runs."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.cli import options as o
from luthier.cli.console import emit, say
from luthier.cli.exits import guarded
from luthier.cli.progress import Progress, charges
from luthier.cli.steps import spent, steps
from luthier.errors import ConfigError
from luthier.report import write_report
from luthier.report.figures import duration
from luthier.report.paid import STORE, faults, remarks, unbilled
from luthier.report.summary import Summary, stopped_by, summary
from luthier.study.events import Event, read_all

_POLL_SECONDS = 0.5
_MARKS = {"done": "✓", "now": "…", "todo": "·"}


@guarded
def show(
    study_dir: o.StudyArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing until the study is done.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Write report.html as things stand now.")] = False,
    web: Annotated[
        bool, typer.Option("--web", help="Serve the report on this machine as a page that follows the study.")
    ] = False,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Of --web; 0: any that is free.")
    ] = 0,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Show where a study stands, also one that runs in another terminal."""
    if web:
        _serve(study_dir, port, as_json=as_json)
        return
    if follow and not as_json:
        _follow(study_dir)
    events = read_all(_events(study_dir))
    if report:
        write_report(study_dir, events)
    state = summary(events)
    if as_json:
        charged = charges(study_dir)
        paid = None if charged is None else {"lm_calls": charged.calls, "tokens": charged.tokens, "usd": charged.usd}
        store = study_dir / STORE
        more = {"paid": paid, "faults": faults(store), "unbilled": unbilled(store)}
        emit({**state.to_json(), **more, "study_dir": study_dir, "report": _report(study_dir)})
    else:
        _print(study_dir, events, state)


def _events(study_dir: Path) -> list[dict[str, Any]]:
    from luthier.study.journal import read_journal

    events = read_journal(study_dir / "journal.jsonl")
    if not events:
        raise ConfigError(f"{study_dir} holds no study: there is no journal.jsonl in it, or nothing in that yet")
    return events


def _follow(study_dir: Path) -> None:
    _events(study_dir)
    shown = 0
    with Progress() as progress:
        while True:
            events = _events(study_dir)
            for event in events[shown:]:
                progress(event)
            shown = len(events)
            if summary(read_all(events[-1:])).finished:
                return
            time.sleep(_POLL_SECONDS)


def _serve(study_dir: Path, port: int, *, as_json: bool) -> None:
    """Serve the live page until Ctrl-C, which is how it is meant to end."""
    from luthier.net.serve import LoopbackPages
    from luthier.report.live import LiveReport

    _events(study_dir)
    with LoopbackPages({"": LiveReport(study_dir)}, port) as pages:
        if as_json:
            emit({"url": pages.url, "study_dir": study_dir})
        else:
            say(f"{study_dir} is shown at {pages.url}", style="bold")
            say("Only this machine can see it, with this address. Ctrl-C ends it; the study goes on.")
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(_POLL_SECONDS)


def _print(study_dir: Path, events: list[Event], state: Summary) -> None:
    head = " · ".join(text for text in (state.program, state.optimizer, str(study_dir)) if text)
    say(head, style="bold")
    for step in steps(events, state):
        text = step.text or (state.phase if step.state == "now" else "")
        say(f"{_MARKS[step.state]} {step.name:<13} {text}", style="dim" if step.state == "todo" else "")
    say(f"  {spent(state, charges(study_dir))}, {duration(state.seconds)}")
    for warning in state.warnings:
        say(f"! {warning}", style="yellow")
    for remark in remarks(events, study_dir / STORE):
        say(remark)
    if stopped_by(events):
        say(state.sentence, style="bold")
        if state.decision == "unmeetable":
            say(f"Examples that show it: luthier resume {study_dir}. Once it is fixed, begin a new study.")
        say(f"Search all the same: luthier resume {study_dir} --anyway")
    elif not state.finished:
        say(f"Not finished. If nothing runs it: luthier resume {study_dir}")
    if (report := _report(study_dir)) is not None:
        say(f"Report: {report}")


def _report(study_dir: Path) -> Path | None:
    report = study_dir / "report.html"
    return report if report.exists() else None
