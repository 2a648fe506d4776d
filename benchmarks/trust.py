"""Gather the rows of every measurement into one table: ``benchmarks/results/trust.md``. Run alone, it writes it anew.

A measurement writes ``benchmarks/results/NAME.json`` with ``rows``: what was promised, what was measured, the target,
ours, the peers', and the command that repeats it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
SOURCES = ("chaos", "budgets", "rate", "speed", "bench", "scale", "tokens", "fuzz", "hostile")
"""In the order of the table; a measurement that has not been made is said to be missing."""

Row = Mapping[str, Any]

_HEAD = ("line", "measure", "target", "ours", "peers", "command")


def main() -> None:
    """Write the table."""
    RESULTS.joinpath("trust.md").write_text(page(), encoding="utf-8")
    print(f"wrote {RESULTS / 'trust.md'}")


def page() -> str:
    """Return the page: a table for each measurement that was made."""
    parts = [
        "# An engine to trust with money\n\n"
        "Hard limits, faults, and speed, beside DSPy's MIPROv2, gepa, and raw aiohttp where comparable. All on "
        "two slow shared cores: read times as ratios within one run. Misses are stated. "
        "`python -m benchmarks.trust` makes this page from the results.\n"
    ]
    for name in SOURCES:
        rows = rows_of(name)
        parts.append(f"## {name}\n\n{table(rows)}" if rows else f"## {name}\n\nNot measured.\n")
    return "\n".join(parts)


def rows_of(name: str) -> Sequence[Row]:
    """Return a measurement's rows, none where it was not made."""
    file = RESULTS / f"{name}.json"
    if not file.exists():
        return ()
    rows: Sequence[Row] = json.loads(file.read_text(encoding="utf-8")).get("rows", ())
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table."""
    lines = [_HEAD, ["---"] * len(_HEAD), *([_cell(row, name) for name in _HEAD] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(row: Row, name: str) -> str:
    text = str(row.get(name, "")).replace("|", "\\|").replace("\n", " ")
    return f"`{text}`" if name == "command" and text and "`" not in text else text


if __name__ == "__main__":
    main()
