"""The report as a page that follows a study, whether it runs, is paused, or is done."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from luthier.canonical import content_hash
from luthier.errors import LuthierError
from luthier.lm.redact import redact
from luthier.net.serve import Page
from luthier.report.follow import POLICY
from luthier.report.paid import STORE
from luthier.report.write import report_text

_SHARE = 5.0
"""A long study's report takes a while to make: never more than this share of the time is spent on it."""


class LiveReport:
    """Makes the page again when the study's files have changed. Reads them only, so a running study never notices."""

    def __init__(self, study_dir: Path) -> None:
        self._directory = study_dir
        self._lock = threading.Lock()  # browsers ask at one time, and one report is enough
        self._seen: list[tuple[int, int] | None] = []
        self._page: Page | None = None
        self._next = 0.0

    def __call__(self) -> Page:
        """Return the page as things stand."""
        with self._lock:
            began, files = time.monotonic(), self._files()
            if self._page is None or (files != self._seen and began >= self._next):
                self._seen, self._page = files, self._made()
                self._next = time.monotonic() + _SHARE * (time.monotonic() - began)
            return self._page

    def _files(self) -> list[tuple[int, int] | None]:
        names = ("journal.jsonl", STORE, f"{STORE}-wal")
        return [_stamp(self._directory / name) for name in names]

    def _made(self) -> Page:
        try:
            # The page names the state of the files it was made from, by which its script asks whether there is another.
            tag = content_hash(self._seen)[:32]
            return Page(report_text(self._directory, live=tag).encode("utf-8", errors="replace"), tag, POLICY)
        except (LuthierError, OSError) as error:
            return Page(redact(str(error)).encode(), kind="text/plain; charset=utf-8", status=500)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
