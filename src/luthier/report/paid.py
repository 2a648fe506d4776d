"""What a study was charged and which faults it met, read from its store without disturbing a study that runs."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from luthier.report.spending import Amounts, amounts


def paid(store: Path) -> dict[str, Amounts]:
    """Return the store's charges by role.

    Nothing where there is no store, where it cannot be read, or where other studies share it.
    """
    rows = _rows(store, "SELECT study, role, COALESCE(bill, reserved) FROM attempts")
    if len({study for study, _, _ in rows}) > 1:
        return {}
    found: dict[str, Amounts] = {}
    for _, role, bill in rows:
        found[role] = found.get(role, Amounts()) + amounts(bill)
    return found


def faults(store: Path) -> dict[str, int]:
    """Return how many attempts infrastructure failed, by kind; nothing where ``paid`` would tell nothing."""
    rows = _rows(store, "SELECT key, '', value FROM vals WHERE key LIKE 'faults/%'")
    return {kind: int(count) for kind, count in rows[0][2].items()} if len(rows) == 1 else {}


def _rows(store: Path, query: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return two names and an object for each row."""
    # The store's own class would make a missing file and take a writer's part; a reader must not.
    if not store.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as database:
            return [(str(a), str(b), json.loads(value)) for a, b, value in database.execute(query)]
    except (sqlite3.Error, ValueError):
        return []
