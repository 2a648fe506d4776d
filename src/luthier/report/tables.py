"""Tables and bars of the report, each from plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.report.charts import Scale, effect_bar, mean_bar, share_bar
from luthier.report.figures import count, percent, plural, points, short_id
from luthier.report.html import Child, Markup, el
from luthier.report.model import Effect, FullRow, OutcomeRow, VariableRow

_LONGEST_VALUE = 1200
_MOST_IDS = 200
CLEAR = 0.05
"""Below this chance of seeming to matter as much, a variable is said to have mattered."""
KINDS = {"scored": "scored", "unparseable": "unparseable", "error": "program error", "unscored": "unscored"}


def table(head: Sequence[Child], rows: Sequence[Sequence[Child]], *, numbers: int = 0, class_: str = "") -> Markup:
    """Return a table; its last ``numbers`` columns are right-aligned."""
    width = len(head)
    classes = ["num" if index >= width - numbers else None for index in range(width)]
    top = el("tr", [el("th", cell, class_=name, scope="col") for cell, name in zip(head, classes, strict=True)])
    # Narrow screens stack the cells of a row, so every number carries its column's name.
    names = [cell if isinstance(cell, str) else None for cell in head]
    body = [
        el(
            "tr",
            [
                el("td", cell, class_=c, data_name=n if c else None)
                for cell, c, n in zip(row, classes, names, strict=True)
            ],
        )
        for row in rows
    ]
    inner = el("table", el("thead", top), el("tbody", body), class_=class_ or None)
    return el("div", inner, class_="scroll")


def effects(rows: Sequence[Effect]) -> Markup:
    """Return what each predictor's change brings."""
    reach = max([0.05, *(max(abs(row.low), abs(row.high)) for row in rows)]) * 1.1
    body = [
        (
            el("code", row.predictor),
            effect_bar(row.difference, row.low, row.high, reach),
            el("b", points(row.difference)),
            percent(row.without),
        )
        for row in sorted(rows, key=lambda row: -row.difference)
    ]
    return table(("predictor", "", "brings (points)", "score without"), body, numbers=2, class_="bars")


def variables(rows: Sequence[VariableRow]) -> Markup:
    """Return how much each variable mattered."""
    body = [
        (
            el("code", row.name),
            share_bar(row.share, row.low, row.high, clear=row.p <= CLEAR),
            el("b", percent(row.share)) if row.p <= CLEAR else el("span", percent(row.share), class_="soft"),
            f"{row.p:.2f}",
            row.best,
        )
        for row in rows
    ]
    return table(("variable", "", "share", "by chance", "best by itself"), body, numbers=3, class_="bars")


def full_rows(rows: Sequence[FullRow]) -> Markup:
    """Return the candidates that were scored in full."""
    low = min(row.mean - row.stderr for row in rows)
    high = max(row.mean + row.stderr for row in rows)
    margin = max(0.02, (high - low) * 0.1)
    scale = Scale(max(0.0, low - margin), min(1.0, high + margin))
    body = []
    for row in rows:
        kind = "full" if row.chosen else "original" if row.original else "mini"
        named = _candidate_name(row)
        score = [el("b", percent(row.mean)), el("span", f" ± {100 * row.stderr:.1f}", class_="soft")]
        body.append((named, mean_bar(row.mean, row.stderr, scale, kind), score, count(row.n)))
    return table(("candidate", "", "score", "examples"), body, numbers=2, class_="bars")


def _candidate_name(row: FullRow) -> Markup:
    badges = [
        el("span", "chosen", class_="tag chosen") if row.chosen else None,
        el("span", "original", class_="tag") if row.original else None,
    ]
    changed = [(name, label) for name, label in row.parts if label != "original"]
    lines = [el("div", el("code", name), " ", el("span", label, class_="soft")) for name, label in changed]
    return el("div", badges, lines)


def outcomes(rows: Sequence[OutcomeRow]) -> Markup:
    """Return rollouts by how they ended."""
    kinds = [kind for kind in KINDS if any(row.counts.get(kind) for row in rows)]
    body: list[list[Child]] = []
    for row in rows:
        whole = sum(row.counts.values())
        shares = [
            el("i", class_=kind, style=f"width:{100 * row.counts.get(kind, 0) / whole:.2f}%", title=KINDS[kind])
            for kind in kinds
        ]
        body.append([row.label, el("div", shares, class_="stack"), *[_keyed(k, row.counts.get(k, 0)) for k in kinds]])
    head: list[Child] = ["rollouts", ""]
    head += [KINDS[kind] for kind in kinds]
    return table(head, body, numbers=len(kinds), class_="bars")


def _keyed(kind: str, n: int) -> list[Child]:
    return [el("i", class_=f"key {kind}"), count(n)]


def passes(passed: Mapping[str, int], attempted: Mapping[str, int]) -> Markup:
    """Return bootstrap passes by class."""
    body: list[tuple[Child, ...]] = []
    for name in sorted(set(passed) | set(attempted)):
        n, of = int(passed.get(name, 0)), int(attempted.get(name, passed.get(name, 0)))
        share = 100 * n / of if of else 0.0
        bar = el("div", el("i", class_="scored", style=f"width:{share:.1f}%"), class_="stack")
        body.append((name or "all", bar, el("b", count(n)) if n else el("b", "0", class_="warn"), count(of)))
    return table(("class", "", "passed", "runs"), body, numbers=2, class_="bars")


def demos(items: Sequence[Mapping[str, Any]], *, label: str) -> Markup:
    """Return demos, folded under their count."""
    if not items:
        return el("p", f"{label}: no demos", class_="soft nodemos")
    sources: dict[str, int] = {}
    for item in items:
        source = str((item.get("provenance") or {}).get("source", "given"))
        sources[source] = sources.get(source, 0) + 1
    detail = ", ".join(f"{n} {source}" for source, n in sorted(sources.items()))
    head = el("summary", f"{label}: {plural(len(items), 'demo')} ", el("span", f"({detail})", class_="soft"))
    return el("details", head, el("ol", [el("li", _demo(item)) for item in items], class_="demos"))


def _demo(item: Mapping[str, Any]) -> list[Child]:
    rows: list[Child] = [_field(name, value, "in") for name, value in (item.get("inputs") or {}).items()]
    if item.get("reasoning") is not None:
        rows.append(_field("reasoning", item["reasoning"], "out"))
    rows += [_field(name, value, "out") for name, value in (item.get("outputs") or {}).items()]
    return rows


def _field(name: str, value: Any, side: str) -> Markup:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > _LONGEST_VALUE:
        text = f"{text[:_LONGEST_VALUE]} … ({plural(len(text) - _LONGEST_VALUE, 'more character')})"
    return el("div", el("span", name, class_="name"), el("span", text, class_="value"), class_=f"field {side}")


def ids(examples: Sequence[str], numbers: Mapping[str, Any]) -> Markup:
    """Return examples as chips, named by their row in the data where it is known; the whole id is the chip's tip."""

    def name(example: str) -> str:
        return f"row {numbers[example]}" if numbers.get(example) else short_id(example)

    shown = [el("code", name(str(example)), title=example) for example in examples[:_MOST_IDS]]
    rest = len(examples) - len(shown)
    return el("p", shown, el("span", f"and {rest} more", class_="soft") if rest else None, class_="chips")


def facts(rows: Sequence[tuple[str, Child]]) -> Markup:
    """Return a list of names with values."""
    return el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in rows], class_="facts")
