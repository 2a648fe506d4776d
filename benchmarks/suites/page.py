"""A page with curves: score against evaluations for every strategy or optimizer, with spread."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise, zip_longest

from luthier.report.html import Child, Markup, el
from luthier.report.style import CSS

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_COLOURS = (
    "#1b6ca8", "#c2521b", "#2e8b57", "#8e44ad", "#b8860b", "#c0392b", "#16838c", "#7f5539", "#5b6c9d", "#d1478c",
    "#6b8e23", "#555555",
)  # fmt: skip
_WIDTH, _HEIGHT, _LEFT, _TOP, _FOOT = 1000, 420, 56, 12, 34
_LEAST_SPAN = 0.05
"""Of the score, from the chart's foot to its top: smaller differences are not blown up."""
_STYLE = Markup(
    ".curves{width:100%;min-width:640px;height:auto}.dashed{stroke-dasharray:8 5}"
    ".curves .line{fill:none;stroke-width:2.25}.curves .band{opacity:.10}"
    ".legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;margin:6px 0 18px}"
    ".legend i{display:inline-block;width:14px;height:4px;border-radius:2px;margin-right:6px;vertical-align:middle}"
    "table{border-collapse:collapse;font-size:14px}td,th{padding:4px 12px 4px 0;text-align:right;white-space:nowrap}"
    "td:first-child,th:first-child{text-align:left}.scroll{overflow-x:auto}"
)

Curve = Sequence[tuple[float, float, float, float]]
"""Places from left to right: evaluations, mean, low, high."""


def page(title: str, lead: str, parts: Sequence[Markup]) -> str:
    """Return one self-contained HTML document."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("style", CSS, _STYLE),
    )
    heading = el("header", el("span", "luthier", class_="mark"))
    body = el("body", heading, el("main", el("h1", title), el("p", lead, class_="lead"), list(parts)))
    return "<!doctype html>\n" + el("html", head, body, lang="en") + "\n"


def section(title: str, *children: Child) -> Markup:
    """Return a titled part of the page."""
    return el("section", el("h2", title), list(children))


def curves(lines: Mapping[str, Curve]) -> Markup:
    """Return a chart of named curves with their bands, and a legend in the order of their ends."""
    most = max((curve[-1][0] for curve in lines.values()), default=1.0) or 1.0
    # No score lies beyond 0 and 1, whatever a standard deviation says.
    lines = {
        name: [(at, mean, max(0.0, low), min(1.0, high)) for at, mean, low, high in curve]
        for name, curve in lines.items()
    }
    lows = [low for curve in lines.values() for _, _, low, _ in curve]
    highs = [high for curve in lines.values() for *_, high in curve]
    bottom, top = min(lows, default=0.0), max(highs, default=1.0)
    span = max(top - bottom, _LEAST_SPAN)
    bottom = max(min(bottom, 0.0), top - span)
    top = bottom + span

    def x(at: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 8) * at / most

    def y(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _FOOT) * (top - value) / span

    # A search that is over keeps what it found.
    lines = {
        name: [*curve, (most, *curve[-1][1:])] if curve and curve[-1][0] < most else curve
        for name, curve in lines.items()
    }
    drawn: list[Child] = []
    for i in range(6):
        value = bottom + span * i / 5
        drawn.append(el("line", x1=_LEFT, x2=_WIDTH - 8, y1=f"{y(value):.1f}", y2=f"{y(value):.1f}", class_="grid"))
        drawn.append(el("text", f"{100 * value:.0f} %", x=_LEFT - 8, y=f"{y(value) + 4:.1f}", text_anchor="end"))
    for at in dict.fromkeys(round(most * i / 5) for i in range(6)):
        anchor = "end" if at >= round(most) else "middle"  # else the last would stand out of the chart
        drawn.append(el("text", str(at), x=f"{x(min(at, most)):.1f}", y=_HEIGHT - 12, text_anchor=anchor))
    order = sorted(lines, key=lambda name: -lines[name][-1][1])
    colour = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(lines)}
    dashed = set(list(lines)[len(_COLOURS) :])
    for name, curve in ((name, _steps(curve)) for name, curve in lines.items()):
        band = [f"{x(at):.1f},{y(high):.1f}" for at, _, _, high in curve]
        band += [f"{x(at):.1f},{y(low):.1f}" for at, _, low, _ in reversed(curve)]
        drawn.append(el("polygon", points=" ".join(band), fill=colour[name], class_="band"))
    for name, curve in ((name, _steps(curve)) for name, curve in lines.items()):
        places = " ".join(f"{x(at):.1f},{y(middle):.1f}" for at, middle, _, _ in curve)
        drawn.append(
            el("polyline", points=places, stroke=colour[name], class_="line dashed" if name in dashed else "line")
        )
    named = [
        el(
            "span",
            el("i", style=f"background:{colour[name]}"),
            f"{name} {100 * lines[name][-1][1]:.1f} %{' (dashed)' if name in dashed else ''}",
        )
        for name in order
    ]
    chart = el("svg", drawn, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", class_="curves", role="img", aria_label="curves")
    axes = el("p", "Across: program runs of the search. Upwards: score.", class_="caption")
    return Markup(el("div", chart, class_="scroll") + axes + el("div", named, class_="legend"))


def _steps(curve: Curve) -> Curve:
    """Return a curve that keeps each value until the next: nothing is known in between."""
    # A place that changes nothing needs no drawing, but for the last.
    curve = [*curve[:1], *(place for before, place in pairwise(curve) if place[1:] != before[1:]), *curve[-1:]]
    held = [(at, *before[1:]) for before, (at, *_) in pairwise(curve)]
    return [place for pair in zip_longest(curve, held) for place in pair if place is not None]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Return a table."""
    top = el("tr", [el("th", name) for name in head])
    return el(
        "div",
        el("table", el("thead", top), el("tbody", [el("tr", [el("td", cell) for cell in row]) for row in rows])),
        class_="scroll",
    )


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the same as a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"<(?=[A-Za-z/!])", "&lt;", " ".join(text.split()).replace("|", "\\|"))
