"""From a study directory to its ``report.html``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from luthier.report.model import view
from luthier.report.page import page
from luthier.report.paid import STORE, paid, paid_by_lm, remarks
from luthier.study.events import Event, read_all


def write_report(study_dir: Path, events: Sequence[Event] | None = None) -> Path:
    """Write the study's report, finished or not, and return where it is.

    Args:
        study_dir: the study's directory.
        events: its journal, where it has been read already; a long one takes memory.

    Raises:
        JournalError: the journal is damaged or from a newer luthier.
        OSError: the directory cannot be read or written.
    """
    directory = Path(study_dir)
    text = report_text(directory, events)
    target = directory / "report.html"
    # A reader may have the old report open: it is replaced whole, never half-written.
    draft = directory / "report.html.part"
    draft.write_bytes(text.encode("utf-8", errors="replace"))
    os.replace(draft, target)
    return target


def report_text(study_dir: Path, events: Sequence[Event] | None = None, *, live: str | None = None) -> str:
    """Return the study's report; as a page that follows the study where ``live`` names the state it shows.

    Raises:
        JournalError, OSError: as ``write_report``.
    """
    from luthier.study.journal import read_journal

    store = study_dir / STORE
    events = read_all(read_journal(study_dir / "journal.jsonl")) if events is None else events
    return page(view(events, paid(store), remarks(events, store), paid_by_lm(store)), live=live)
