"""What a study was charged, read from its store without disturbing a study that runs."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from luthier.report.spending import Amounts, amounts


def paid(store: Path) -> dict[str, Amounts]:
    """Return the store's charges by role.

    Nothing where there is no store, where it cannot be read, or where other studies share it.
    """
    # The store's own class would make a missing file and take a writer's part; a reader must not.
    if not store.is_file():
        return {}
    try:
        with closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as database:
            rows = database.execute("SELECT study, role, COALESCE(bill, reserved) FROM attempts").fetchall()
        if len({study for study, _, _ in rows}) > 1:
            return {}
        found: dict[str, Amounts] = {}
        for _, role, bill in rows:
            found[str(role)] = found.get(str(role), Amounts()) + amounts(json.loads(bill))
    except (sqlite3.Error, ValueError):
        return {}
    return found
