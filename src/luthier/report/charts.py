"""Charts as inline SVG. Horizontal places are percentages, so a chart fills any width and its text keeps its size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.report.figures import count, percent, points
from luthier.report.html import Child, Markup, el
from luthier.report.model import Mark

_TOP, _HEIGHT, _FOOT = 14, 250, 24


@dataclass(frozen=True, slots=True)
class Scale:
    """Values on a line from ``low`` to ``high``."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """Return where a value lies, from 0 to 1, clipped."""
        if self.high <= self.low:
            return 0.5
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def x(self, value: float) -> str:
        """Return a value's place from the left."""
        return f"{100 * self.share(value):.3f}%"

    def ticks(self, most: int = 5) -> list[float]:
        """Return round values on the scale, at most about ``most``."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        raw = span / most
        power = 10 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
        start = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(start, math.floor(self.high / step + 1e-9) + 1)]


def score_chart(marks: Sequence[Mark], baseline: float | None) -> Markup:
    """Return score by trial: minibatches with whiskers, full evaluations filled, best so far as steps."""
    lows = [mark.mean - mark.stderr for mark in marks]
    highs = [mark.mean + mark.stderr for mark in marks]
    x = _trials(marks)
    y = Scale(max(0.0, math.floor(min(lows) * 10) / 10), min(1.0, math.ceil(max(highs) * 10) / 10))
    ticks = y.ticks()
    drawn: list[Child] = [_line("0%", "100%", _y(y, tick), _y(y, tick), "grid") for tick in ticks]
    if baseline is not None:
        drawn.append(_line("0%", "100%", _y(y, baseline), _y(y, baseline), "baseline"))
    drawn += [_mark(mark, x, y, len(marks)) for mark in marks if not mark.full]
    drawn += _steps([(mark.number, mark.best) for mark in marks], x, y)
    drawn += [_mark(mark, x, y, len(marks)) for mark in marks if mark.full]
    labels = [(tick, percent(tick, 0)) for tick in ticks]
    summary = f"Score by trial, {len(marks)} evaluations, best so far {percent(marks[-1].best)}"
    return _framed(drawn, x, y, labels, summary, _HEIGHT, feet=True)


def cost_chart(marks: Sequence[Mark], amounts: Sequence[float], name: str) -> Markup:
    """Return an amount that only grows, by trial, as a filled staircase."""
    height = 90
    x, y = _trials(marks), Scale(0.0, max(amounts) * 1.05 or 1.0)
    drawn: list[Child] = []
    bottom = _TOP + height
    for index, (mark, amount) in enumerate(zip(marks, amounts, strict=True)):
        end = marks[index + 1].number if index + 1 < len(marks) else mark.number + 0.5
        width = 100 * (x.share(end) - x.share(mark.number))
        top = _y(y, amount, height)
        drawn.append(
            el("rect", x=x.x(mark.number), y=f"{top:.1f}", width=f"{width:.3f}%", height=f"{bottom - top:.1f}",
               class_="area")
        )  # fmt: skip
    drawn += _steps([(mark.number, amount) for mark, amount in zip(marks, amounts, strict=True)], x, y, height, "cost")
    ticks = y.ticks(2)
    drawn += [_line("0%", "100%", _y(y, tick, height), _y(y, tick, height), "grid") for tick in ticks]
    labels = [(tick, _brief(tick)) for tick in ticks]
    return _framed(drawn, x, y, labels, f"{name} so far: {count(amounts[-1])}", height, feet=False)


def difference_bar(difference: float, low: float, high: float, detectable: float | None) -> Markup:
    """Return a paired difference with its interval around zero; what is too small to be seen is shaded."""
    reach = max(abs(low), abs(high), abs(difference), (detectable or 0.0), 0.05) * 1.15
    x = Scale(-reach, reach)
    drawn: list[Child] = []
    if detectable:
        width = f"{100 * (x.share(detectable) - x.share(-detectable)):.3f}%"
        tip = el(
            "title",
            f"gains below {100 * detectable:.0f} points are hard to detect, if programs differ on 20 % of examples",
        )
        drawn.append(el("rect", tip, x=x.x(-detectable), y=24, width=width, height=36, class_="blind", rx=3))
    for tick in x.ticks(6):
        drawn.append(_line(x.x(tick), x.x(tick), 24, 60, "zero" if abs(tick) < 1e-12 else "grid"))
        drawn.append(_text(x.x(tick), 76, "0" if abs(tick) < 1e-12 else points(tick, 0), "middle"))
    drawn += _interval(x, difference, low, high, 42, 7)
    drawn.append(_text(x.x(difference), 17, points(difference), "middle", "value"))
    label = f"difference {points(difference)} points, interval {points(low)} to {points(high)}"
    return el("svg", drawn, class_="bar", width="100%", height=84, role="img", aria_label=label)


def effect_bar(difference: float, low: float, high: float, reach: float) -> Markup:
    """Return one row of a table of differences, all on the scale ±reach."""
    x = Scale(-reach, reach)
    drawn = [_line("50%", "50%", 0, 24, "zero"), *_interval(x, difference, low, high, 12, 3.5)]
    label = f"{points(difference)} points, interval {points(low)} to {points(high)}"
    return el("svg", drawn, class_="bar", width="100%", height=24, role="img", aria_label=label)


def share_bar(share: float, low: float, high: float, *, clear: bool) -> Markup:
    """Return one row of a table of shares, from nothing to all."""
    x = Scale(-0.03, 1.03)
    kind = "good" if clear else "open"
    width = f"{100 * (x.share(high) - x.share(low)):.3f}%"
    drawn = [
        _line(x.x(0.0), x.x(0.0), 0, 24, "zero"),
        el("rect", x=x.x(low), y=8.5, width=width, height=7, rx=3.5, class_=f"span {kind}"),
        el("circle", cx=x.x(share), cy=12, r=6, class_=f"dot {kind}"),
    ]
    label = f"{percent(share)}, interval {percent(low)} to {percent(high)}"
    return el("svg", drawn, class_="bar", width="100%", height=24, role="img", aria_label=label)


def mean_bar(mean: float, stderr: float, scale: Scale, kind: str) -> Markup:
    """Return one row of a table of means with whiskers of one standard error."""
    drawn = [
        _line("0%", "100%", 12, 12, "grid"),
        _line(scale.x(mean - stderr), scale.x(mean + stderr), 12, 12, f"whisker {kind}"),
        el("circle", cx=scale.x(mean), cy=12, r=5, class_=f"dot {kind}"),
    ]
    label = f"{percent(mean)} ± {percent(stderr)}"
    return el("svg", drawn, class_="bar", width="100%", height=24, role="img", aria_label=label)


def _interval(x: Scale, difference: float, low: float, high: float, y: float, thick: float) -> list[Markup]:
    kind = "good" if low > 0 else "bad" if high < 0 else "open"
    width = f"{100 * (x.share(high) - x.share(low)):.3f}%"
    return [
        el("rect", x=x.x(low), y=y - thick, width=width, height=2 * thick, rx=thick, class_=f"span {kind}"),
        el("circle", cx=x.x(difference), cy=y, r=thick + 2.5, class_=f"dot {kind}"),
    ]


def _trials(marks: Sequence[Mark]) -> Scale:
    numbers = [mark.number for mark in marks]
    return Scale(min(numbers) - 0.5, max(numbers) + 0.5)


def _mark(mark: Mark, x: Scale, y: Scale, crowd: int) -> Markup:
    place = x.x(mark.number)
    radius = (6.0 if mark.full else 4.0) if crowd <= 80 else (5.0 if mark.full else 2.2)
    kind = "original" if mark.original else "full" if mark.full else "mini"
    what = "full evaluation" if mark.full else "minibatch"
    name = f"trial {mark.number}" if mark.number else "baseline"
    tip = f"{name}, {what} of {mark.n}: {percent(mark.mean)} ± {percent(mark.stderr)}\n{mark.label}"
    whisker = _line(place, place, _y(y, mark.mean - mark.stderr), _y(y, mark.mean + mark.stderr), f"whisker {kind}")
    dot = el("circle", cx=place, cy=f"{_y(y, mark.mean):.1f}", r=radius, class_=f"dot {kind}")
    return el("g", el("title", tip), whisker, dot)


def _steps(
    values: Sequence[tuple[int, float]], x: Scale, y: Scale, height: int = _HEIGHT, kind: str = "best"
) -> list[Markup]:
    lines: list[Markup] = []
    for (start, value), (end, following) in zip(
        values, [*values[1:], (values[-1][0] + 0.5, values[-1][1])], strict=True
    ):
        level, after = _y(y, value, height), _y(y, following, height)
        lines.append(_line(x.x(start), x.x(end), level, level, kind))
        if level != after:
            lines.append(_line(x.x(end), x.x(end), level, after, kind))
    return lines


def _framed(
    drawn: Sequence[Child],
    x: Scale,
    y: Scale,
    labels: Sequence[tuple[float, str]],
    summary: str,
    height: int,
    *,
    feet: bool,
) -> Markup:
    whole = _TOP + height + (_FOOT if feet else 6)
    axis = el(
        "svg",
        [_text("100%", _y(y, value, height) + 4, text, "end") for value, text in labels],
        width="100%",
        height=whole,
        aria_hidden="true",
    )
    bottom = [_line("0%", "100%", _TOP + height, _TOP + height, "floor")]
    if feet:
        bottom += [
            _text(x.x(tick), _TOP + height + 18, count(tick), "middle") for tick in x.ticks(6) if tick == round(tick)
        ]
    plot = el("svg", drawn, bottom, width="100%", height=whole, role="img", aria_label=summary)
    return el("div", el("div", axis, class_="axis"), el("div", plot, class_="plot"), class_="chart")


def _y(y: Scale, value: float, height: int = _HEIGHT) -> float:
    return _TOP + height * (1 - y.share(value))


def _line(x1: str, x2: str, y1: float, y2: float, class_: str) -> Markup:
    return el("line", x1=x1, x2=x2, y1=f"{y1:.1f}", y2=f"{y2:.1f}", class_=class_)


def _text(x: str, y: float, text: str, anchor: str, class_: str | None = None) -> Markup:
    return el("text", text, x=x, y=f"{y:.1f}", text_anchor=anchor, class_=class_)


def _brief(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"
