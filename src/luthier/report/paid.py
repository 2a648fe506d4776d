"""What a study was charged and which faults it met, read from its store without disturbing a study that runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from luthier.report.answer_problems_text import say_problems
from luthier.report.figures import count, plural
from luthier.report.spending import Amounts, amounts
from luthier.report.summary import answer_problems, unfolded
from luthier.study.events import DoneEvent, Event, first

STORE = "store.sqlite"
"""Where a study keeps its store, unless it shares one."""
_OWN = "study NOT LIKE 'check/%'"
"""A check of the same program, made before, keeps its answers here and its charges apart."""
_KINDS = {
    "RateLimited": "rate limit (429)",
    "ServerFault": "server error (5xx)",
    "BadAnswer": "cut or malformed answer",
    "CallTimeout": "no answer in time",
    "NeverSent": "connection refused",
    "Unreachable": "connection broken",
}


def paid(store: Path) -> dict[str, Amounts]:
    """Return the store's charges by role.

    Nothing where there is no store, where it cannot be read, or where other studies share it.
    """
    rows = _rows(store, f"SELECT study, role, COALESCE(bill, reserved) FROM attempts WHERE {_OWN}")
    if len({study for study, _, _ in rows}) > 1:
        return {}
    found: dict[str, Amounts] = {}
    for _, role, bill in rows:
        found[role] = found.get(role, Amounts()) + amounts(bill)
    return found


def paid_by_lm(store: Path) -> dict[str, Amounts]:
    """Return the same by the LM's identity; nothing where a store is from before attempts named theirs."""
    if not paid(store):
        return {}
    found: dict[str, Amounts] = {}
    for identity, _, bill in _rows(store, f"SELECT lm, '', COALESCE(bill, reserved) FROM attempts WHERE {_OWN}"):
        found[identity] = found.get(identity, Amounts()) + amounts(bill)
    return {} if "None" in found else found


def answered(store: Path) -> Amounts:
    """Return what a store's answers were billed: calls and tokens, cached ones apart, which charges do not tell."""
    bills = [bill for _, _, bill in _rows(store, "SELECT lm, '', usage FROM answers WHERE usage NOT NULL")]
    # A bill is kept as prompt, completion, and cached tokens, and calls.
    prompt, completion, cached = (sum(int(bill[place]) for bill in bills) for place in range(3))
    return Amounts(len(bills), prompt, completion, cached)


def faults(store: Path) -> dict[str, int]:
    """Return how many attempts infrastructure failed, by kind; nothing where ``paid`` would tell nothing."""
    rows = _rows(store, "SELECT key, '', value FROM vals WHERE key LIKE 'faults/%'")
    return {kind: int(count) for kind, count in rows[0][2].items()} if len(rows) == 1 else {}


def unbilled(store: Path) -> int:
    """Return how many attempts have no bill: none came, or they are in flight. Their worst case is what is charged."""
    counted = "CAST(COUNT(bill IS NULL OR NULL) AS TEXT)"
    rows = _rows(store, f"SELECT study, '', {counted} FROM attempts WHERE {_OWN} GROUP BY study")
    return int(rows[0][2]) if len(rows) == 1 else 0


def remarks(events: Iterable[Event], store: Path) -> list[str]:
    """Return what went wrong with a study's calls, in sentences without a full stop; none where all went well."""
    events, found = list(events), []
    if bad := answer_problems(unfolded(events)):
        found.append(f"Answers that came, but not as they should: {say_problems(bad)}")
    if met := faults(store):
        kinds = ", ".join(f"{_KINDS.get(kind, kind)} {count(n)}" for kind, n in sorted(met.items()))
        found.append(f"Attempts that failed on the way and were made again: {kinds}")
    if n := unbilled(store):
        ended = first(events, DoneEvent) is not None
        found.append(
            f"{plural(n, 'attempt')} {'' if ended else 'in flight or '}without a bill, charged at the worst case"
        )
    return found


def _rows(store: Path, query: str) -> list[tuple[str, str, Any]]:
    """Return two names and a JSON value for each row."""
    # The store's own class would make a missing file and take a writer's part; a reader must not.
    if not store.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as database:
            return [(str(a), str(b), json.loads(value)) for a, b, value in database.execute(query)]
    except (sqlite3.Error, ValueError):
        return []
