"""Live progress: a listener of events that draws on a terminal, prints lines elsewhere, or keeps quiet."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from luthier.cli.console import people
from luthier.cli.steps import line, spent, steps
from luthier.report.figures import count, duration, showable
from luthier.report.paid import paid
from luthier.report.spending import Amounts, amounts, total
from luthier.report.summary import Summary, summary
from luthier.study.events import (
    AskEvent,
    Event,
    MeasuredPlanEvent,
    RolloutEvent,
    TellEvent,
    WarningEvent,
    every,
    read,
    read_all,
)

_REDRAWS_PER_SECOND = 4.0
_STOCK_SECONDS = 0.02
_BAR_WIDTH = 60
_STOCK_PAUSES = 20
_MARKS = {"done": Text("✓", style="green"), "todo": Text("·", style="dim")}


def charges(study_dir: Path) -> Amounts | None:
    """Return what a study has been charged so far, None where its directory does not tell."""
    found = paid(study_dir / "store.sqlite")
    return total(found.values()) if found else None


class Progress:
    """Pass it as ``on_event``; use it as a context manager around the study.

    Args:
        console: where to draw; standard error where None.
        quiet: draw nothing.
        live: redraw in place; None: where the console is a terminal.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False, live: bool | None = None) -> None:
        self._console = people() if console is None else console
        self._quiet = quiet
        self._live_wanted = self._console.is_terminal if live is None else live
        self._live: Live | None = None
        self._spinner = Spinner("dots")
        # Guards all below: events come from the engine's and the user's threads, drawing happens on Rich's.
        self._lock = threading.RLock()
        self._events: list[Event] = []
        self._purposes: dict[int, str] = {}
        self._state = Summary()
        self._stock_due = 0.0
        self._running = 0
        self._paid: Amounts | None = None
        self._paid_before = Amounts()
        self._began: tuple[float, int] | None = None
        self._before: list[Event] = []

    def recall(self, events: Sequence[Mapping[str, Any]], paid: Amounts | None = None) -> None:
        """Take note of what an earlier run of the study recorded and paid; shown once this run adds something."""
        with self._lock:
            self._before = read_all(events)
            self._paid_before = Amounts() if paid is None else paid

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take note of an event."""
        new = read(event)
        with self._lock:
            self._go_on()
            if new.transient:
                self._note_transient(new)
                return
            self._events.append(new)
            if isinstance(new, AskEvent):
                self._purposes[new.trial] = new.purpose
                return
            self._take_stock(new)
            text = None if self._quiet else self._line(new)
        if text is not None:
            self._console.print(Text(showable(text)))

    def pause(self) -> None:
        """Stop drawing, so that something can be asked."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def resume(self) -> None:
        """Draw from now on."""
        if self._live_wanted and not self._quiet and self._live is None:
            self._live = Live(
                get_renderable=self.render,
                console=self._console,
                refresh_per_second=_REDRAWS_PER_SECOND,
                transient=True,
            )
            self._live.start()

    def __enter__(self) -> Progress:
        self.resume()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()
        if self._live_wanted and not self._quiet and self._events:
            self._console.print(self._steps(moving=False))
            for warning in self._state.warnings:
                self._console.print(Text(f"! {showable(warning)}", style="yellow"))

    def render(self) -> RenderableType:
        """Return the display as it is now."""
        with self._lock:
            if not self._events:
                return Text("")
            state = self._state
            head = Text.assemble((state.program, "bold"), "  ", (state.optimizer, "dim"))
            return Group(head, self._steps(moving=True), self._bar())

    def _go_on(self) -> None:
        """Begin where the earlier run stopped."""
        if not self._before:
            return
        self._events, self._before = [*self._before], []
        self._purposes = {event.trial: event.purpose for event in every(self._events, AskEvent)}
        self._state = summary(self._events)

    def _take_stock(self, event: Event) -> None:
        """Sum up; after a trial of a study so long that this takes a while, only now and then."""
        began = time.monotonic()
        if isinstance(event, TellEvent) and began < self._stock_due:
            return
        self._state, self._running = summary(self._events), 0
        took = time.monotonic() - began
        self._stock_due = time.monotonic() + (_STOCK_PAUSES * took if took > _STOCK_SECONDS else 0.0)

    def _line(self, event: Event) -> str | None:
        # The live display shows all but the plan by itself.
        drawn = self._live_wanted and not isinstance(event, MeasuredPlanEvent)
        return None if drawn else line(event, self._state, self._purposes, self._paid)

    def _note_transient(self, event: Event) -> None:
        if isinstance(event, WarningEvent) and not self._quiet:
            self._console.print(Text(showable(f"! {event.message}"), style="yellow"))
        if not isinstance(event, RolloutEvent):
            return
        self._running += 1
        if event.paid:
            now = amounts(event.paid)
            self._paid = replace(self._paid_before + now, usd=None) if now.usd is None else self._paid_before + now
        if self._began is None:
            self._began = (time.monotonic(), self._done - 1)

    @property
    def _done(self) -> int:
        return self._state.rollouts + self._running

    def _steps(self, *, moving: bool) -> Table:
        table = Table.grid(padding=(0, 2))
        for step in steps(self._events, self._state):
            if step.name == "verdict" and step.state == "done":
                continue  # it has the last word, and is said there
            now = self._spinner if moving else Text("…", style="yellow")
            text = step.text or (self._state.phase if step.state == "now" else "")
            style = "dim" if step.state == "todo" else ""
            table.add_row(_MARKS.get(step.state, now), Text(step.name, style=style), Text(showable(text), style=style))
        return table

    def _bar(self) -> RenderableType:
        planned, done = self._state.rollouts_planned, self._done
        runs = (
            f"{count(done)} program runs"
            if not planned
            else f"{count(done)} of {count(max(planned, done))} program runs"
        )
        calls = spent(self._state, self._paid)
        left = self._seconds_left()
        facts = [runs, calls, *([f"about {duration(left)} left"] if left is not None else [])]
        line = Text(" · ".join(facts), style="dim")
        if not planned:
            return line
        rows = Table.grid()  # a bar does not end its line by itself
        rows.add_row(ProgressBar(total=planned, completed=min(done, planned), width=_BAR_WIDTH))
        rows.add_row(line)
        return rows

    def _seconds_left(self) -> float | None:
        """Return the time left at the pace since this run began, which a resumed study's journal cannot tell."""
        planned = self._state.rollouts_planned
        if self._began is None or not planned or self._done >= planned:
            return None
        since, before = self._began
        made, took = self._done - before, time.monotonic() - since
        return (planned - self._done) * took / made if made >= 3 and took > 1 else None
