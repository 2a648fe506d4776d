"""The page: headline and verdict on top, sections below."""

from __future__ import annotations

from luthier._version import __version__
from luthier.report import follow, sections
from luthier.report.charts import difference_bar
from luthier.report.figures import count, dollars, duration, moment, percent, points
from luthier.report.html import Child, Markup, el
from luthier.report.model import View
from luthier.report.spending import total
from luthier.report.style import CSS
from luthier.runner.verdict import level_text

# No scripts, nothing fetched: what a model wrote cannot act, even if an escape were missed.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_METHODS = {
    "tango": "Tango's score interval",
    "resampling": "studentised resampling",
    "bound": "bounded by the score interval",
}
_BADGES = {"adopt": "Adopt", "keep": "Keep your original", "undecided": "Undecided", "unmeetable": "Cannot be met"}


def page(view: View, *, live: str | None = None) -> Markup:
    """Return the whole report as one self-contained HTML document.

    Where ``live`` names the state that it shows, it has a script that asks where it came from for a later one.
    """
    name = view.summary.program or "study"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY if live is None else follow.POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", f"{name}: luthier report"),
        el("style", CSS, None if live is None else follow.STYLE),
    )
    found = [
        sections.prompts(view),
        sections.search(view),
        sections.effects(view),
        sections.variables(view),
        sections.examples(view),
        sections.candidates(view),
        sections.worth(view),
        sections.outcomes(view),
        sections.bootstrap(view),
        sections.lessons(view),
        sections.instructions(view),
        sections.costs(view),
        sections.settings(view),
    ]
    following = None if live is None else (_sign(view, live), el("script", follow.SCRIPT))
    body = el("body", _masthead(view), el("main", _hero(view), found), _footer(view, live=live), following)
    return Markup("<!doctype html>\n" + el("html", head, body, lang="en") + "\n")


def _masthead(view: View) -> Markup:
    began = moment(view.events[0]) if view.events else None
    when = f"{began.day} {began:%B %Y, %H:%M} UTC" if began is not None else ""
    facts = " · ".join(text for text in (view.summary.optimizer, when) if text)
    mark = el("span", "luthier", class_="mark")
    return el("header", mark, el("span", el("code", view.summary.program or "a study"), " ", facts, class_="soft"))


def _hero(view: View) -> Markup:
    summary, verdict = view.summary, view.summary.verdict
    if summary.decision is None:
        kind, badge = "open", "Not finished" if not summary.finished else "No verdict"
        headline = _unfinished(view)
    else:
        kind, badge = summary.decision, _BADGES.get(summary.decision, summary.decision)
        headline = summary.sentence or badge
    parts: list[Child] = [
        el("p", el("span", badge, class_=f"badge {kind if kind in _BADGES else 'open'}")),
        el("h1", headline),
    ]
    if verdict is not None and verdict.difference is not None and verdict.low is not None and verdict.high is not None:
        parts.append(difference_bar(verdict.difference, verdict.low, verdict.high, verdict.smallest_detectable))
        method = f" ({_METHODS.get(verdict.method, verdict.method)})" if verdict.method else ""
        caption = f"Paired difference, in points, with its {level_text(verdict.level or 0.95)} interval{method}."
        if verdict.smallest_detectable:
            caption += " Shaded: gains too small for this many examples to detect, if programs differ on 20 % of them."
        parts.append(el("p", caption, class_="caption"))
    return el(
        "div", parts, _tiles(view), _warnings(summary.warnings), class_=f"hero {kind if kind in _BADGES else 'open'}"
    )


def _warnings(texts: tuple[str, ...]) -> Markup | None:
    """Warnings stay in sight, but many of them are folded: the verdict is the headline."""
    if not texts:
        return None
    if len(texts) == 1:
        return el("p", texts[0], class_="warning")
    items = el("ul", [el("li", text) for text in texts])
    return el("details", el("summary", f"{len(texts)} warnings"), items, class_="warning")


def _unfinished(view: View) -> str:
    summary = view.summary
    if summary.finished:
        return "The study ended without a verdict."
    text = f"This study is not finished: it is {summary.phase}."
    if summary.best is not None:
        text += f" Best so far {percent(summary.best)} on validation examples"
        text += f", the original {percent(summary.baseline)}." if summary.baseline is not None else "."
    return text


def _tiles(view: View) -> Markup:
    summary, verdict = view.summary, view.summary.verdict
    tiles: list[tuple[str, str, str]] = []
    if verdict is not None and verdict.before is not None and verdict.after is not None:
        before, after = verdict.before, verdict.after
        tiles.append(("score, held out", f"{percent(before)} → {percent(after)}", f"{points(after - before)} points"))
    elif summary.baseline is not None:
        tiles.append(("score, validation", percent(summary.baseline), "the original"))
    if verdict is not None and verdict.tokens_before and verdict.tokens_after is not None:
        before, after = verdict.tokens_before, verdict.tokens_after
        tiles.append(("tokens a call", f"{count(before)} → {count(after)}", f"× {after / before:.2g}"))
    spent, kind = (total(view.paid.values()), ", charged") if view.paid else (summary.spent, "")
    planned = f"of {summary.trials_planned} planned" if summary.trials_planned else ""
    tiles += [
        ("trials", count(summary.trials), planned),
        (
            "program runs",
            count(summary.rollouts),
            f"of {count(summary.rollouts_planned)} planned" if summary.rollouts_planned else "",
        ),
        (f"LM calls{kind}", count(spent.calls), _limit(view, "lm_calls")),
        (f"tokens{kind}", count(spent.tokens), _limit(view, "tokens")),
    ]
    if spent.usd is not None:
        tiles.append(("price", dollars(spent.usd), _limit(view, "usd")))
    tiles.append(("time", duration(summary.seconds), ""))
    return el(
        "div",
        [
            el("div", el("span", name), el("b", value), el("small", note) if note else None)
            for name, value, note in tiles
        ],
        class_="tiles",
    )


def _limit(view: View, name: str) -> str:
    limit = view.summary.budget.get(name)
    if limit is None:
        return ""
    return f"budget {dollars(limit)}" if name == "usd" else f"budget {count(limit)}"


def _sign(view: View, live: str) -> Markup:
    finished = "yes" if view.summary.finished else "no"
    since = view.events[-1].time if view.events else None
    return el("aside", "", id="live", role="status", data_tag=live, data_finished=finished, data_since=since)


def _footer(view: View, *, live: str | None) -> Markup:
    version = (view.manifest.versions if view.manifest else {}).get("luthier", __version__)
    return el(
        "footer",
        f"luthier {version}. This file is all there is to the report: no script, nothing loaded from elsewhere."
        if live is None
        else f"luthier {version}. This page follows the study as it runs; nothing is loaded from elsewhere.",
    )
