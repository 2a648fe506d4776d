"""Small studies of the two-stage world, their journals, and a listener that interrupts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import luthier as lt
from luthier.lm.doubles import ScriptedLM
from luthier.study.journal import read_journal, without_times
from tests.studies import world

Event = Mapping[str, Any]


class Interrupted(Exception):
    """Raised by a listener."""


def tune(directory: Path, optimizer: Any = "mipro", *, examples: int = 100, **given: Any) -> lt.Result[Any]:
    """Run a study of the world's program, on a scripted LM unless one is given."""
    settings = {"lm": lt.LM(ScriptedLM(world.answer)), "metric": lt.exact_match("answer"), "auto": "light", **given}
    program, metric = settings.pop("program", world.describe), settings.pop("metric")
    data = settings.pop("data", world.rows(examples))
    return lt.optimize(program, data, metric, optimizer=optimizer, study_dir=directory, **settings)


def stop_after(events: int) -> Callable[[Event], None]:
    """Return a listener that raises once so many journal events were written."""
    written = 0

    def listen(event: Event) -> None:
        nonlocal written
        written += not event.get("transient")
        if written >= events:
            raise Interrupted

    return listen


def journal(directory: Path) -> list[dict[str, Any]]:
    """Return the events of a study's journal, times left out."""
    return list(without_times(read_journal(directory / "journal.jsonl")))


def event(directory: Path, name: str) -> dict[str, Any]:
    """Return the study's event of that name."""
    return next(found for found in read_journal(directory / "journal.jsonl") if found["event"] == name)


def told(directory: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return asks with their tells."""
    events = read_journal(directory / "journal.jsonl")
    asks = [found for found in events if found["event"] == "ask"]
    return list(zip(asks, [found for found in events if found["event"] == "tell"], strict=False))
