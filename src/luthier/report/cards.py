"""Results as notebooks show them: small cards that take the notebook's own colours, light or dark."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from luthier.evaluation.rollout import Evaluation, Outcome
from luthier.program.candidate import Candidate, Demo, Prompt
from luthier.report.answer_problems_text import say_problems
from luthier.report.figures import count, percent, plural, points
from luthier.report.html import Child, Markup, el
from luthier.runner.verdict import Verdict, level_text

_BADGES = {"adopt": "Adopt", "keep": "Keep your original", "undecided": "Undecided", "unmeetable": "Cannot be met"}
_SHOWN_DEMOS = 50
# Text and background are the notebook's; only greys that show on both, and badges that bring their own ground.
_CSS = Markup("""
.luthier-card{border:1px solid rgba(127,127,127,.35);border-radius:8px;padding:14px 18px;margin:4px 0;max-width:860px;
font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;font-variant-numeric:tabular-nums;
color:inherit;text-align:left;overflow-wrap:anywhere}
.luthier-card p{margin:8px 0}
.luthier-card .badge{display:inline-block;padding:1px 11px;border-radius:99px;font-weight:600;font-size:13px;
color:#fff;background:#7d5a0d}
.luthier-card .badge.adopt{background:#1a7344}.luthier-card .badge.keep{background:#4b5a6b}
.luthier-card .tiles{display:flex;flex-wrap:wrap;gap:6px 28px;margin:10px 0}
.luthier-card .tiles div{display:flex;flex-direction:column}
.luthier-card .tiles b{font-size:17px;font-weight:600}
.luthier-card .soft{opacity:.72;font-size:12.5px}
.luthier-card .axis{position:relative;height:26px;margin:12px 0 2px;max-width:520px}
.luthier-card .axis i{position:absolute;display:block}
.luthier-card .axis .line{left:0;right:0;top:12px;height:1px;background:rgba(127,127,127,.5)}
.luthier-card .axis .zero{top:3px;height:20px;width:2px;margin-left:-1px;background:currentColor}
.luthier-card .axis .span{top:9px;height:8px;border-radius:4px;background:rgba(127,127,127,.55)}
.luthier-card .axis .span.good{background:#2f9e63}.luthier-card .axis .span.bad{background:#cf5347}
.luthier-card .axis .dot{top:7px;width:12px;height:12px;margin-left:-6px;border-radius:99px;background:currentColor}
.luthier-card details{margin:6px 0}.luthier-card summary{cursor:pointer}
.luthier-card pre{margin:6px 0;padding:9px 12px;border-radius:6px;background:rgba(127,127,127,.13);color:inherit;
white-space:pre-wrap;overflow-wrap:anywhere;font:12.5px/1.5 ui-monospace,Menlo,Consolas,"Liberation Mono",monospace}
.luthier-card h4{margin:12px 0 4px;font-size:14px;font-weight:600}
""")


def card(value: object) -> Markup:
    """Return a verdict, an evaluation, or a candidate as HTML to put into a page.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(value, Verdict):
        return _card(_verdict(value))
    if isinstance(value, Evaluation):
        return _card(_evaluation(value))
    if isinstance(value, Candidate):
        return _card(el("b", "Candidate"), _candidate(value))
    raise TypeError(f"there is no card of {type(value).__name__}")


def result_card(verdict: Verdict, candidate: Candidate, best: Candidate, study_dir: Path, report: Path) -> Markup:
    """Return what a study found as HTML to put into a page."""
    prompts: list[Child] = [_folded("Recommended prompts", _candidate(candidate))]
    if best.key != candidate.key:
        prompts.append(_folded("Best prompts found", _candidate(best)))
    where = el("p", "Study: ", el("code", study_dir.as_posix()), " · report: ", el("code", report.as_posix()))
    return _card(_verdict(verdict), prompts, el("div", where, class_="soft"))


def _card(*body: Child) -> Markup:
    return el("div", el("style", _CSS), body, class_="luthier-card")


def _verdict(verdict: Verdict) -> list[Child]:
    badge = el("span", _BADGES.get(verdict.decision, verdict.decision), class_=f"badge {verdict.decision}")
    parts: list[Child] = [badge, el("p", verdict.sentence)]
    if not math.isnan(verdict.difference):
        parts.append(_axis(verdict.difference, verdict.low, verdict.high))
        interval = f"{points(verdict.low)} to {points(verdict.high)}"
        tiles = {
            "held out": f"{percent(verdict.before)} → {percent(verdict.after)}",
            f"points, {level_text(verdict.level)} interval": f"{points(verdict.difference)} ({interval})",
            "examples better, worse": f"{len(verdict.fixed)}, {len(verdict.broken)} of {verdict.n}",
            "tokens a call": f"{count(verdict.tokens_before)} → {count(verdict.tokens_after)}",
        }
        parts.append(_tiles(tiles))
    return parts


def _axis(difference: float, low: float, high: float) -> Markup:
    """Return the difference with its interval on a line that has zero on it."""
    reach = 1.15 * max(abs(low), abs(high), abs(difference), 0.01)

    def at(value: float) -> str:
        return f"{50 + 50 * value / reach:.1f}%"

    kind = "good" if low > 0 else "bad" if high < 0 else ""
    width = f"{50 * (high - low) / reach:.1f}%"
    return el(
        "div",
        el("i", class_="line"),
        el("i", class_=f"span {kind}".strip(), style=f"left:{at(low)};width:{width}"),
        el("i", class_="zero", style=f"left:{at(0)}"),
        el("i", class_="dot", style=f"left:{at(difference)}"),
        class_="axis",
        role="img",
        aria_label=f"difference {points(difference)} points, from {points(low)} to {points(high)}",
    )


def _evaluation(evaluation: Evaluation) -> list[Child]:
    wide = "" if math.isnan(evaluation.stderr) else f" ± {100 * evaluation.stderr:.1f}"
    usage = evaluation.usage
    counted = {outcome.value: evaluation.count(outcome) for outcome in Outcome}
    tiles = {
        f"on {plural(evaluation.n, 'example')}": f"{percent(evaluation.mean)}{wide}",
        **{name: count(n) for name, n in counted.items() if n},
        "LM calls": count(usage.calls),
        "tokens": count(usage.tokens),
    }
    parts: list[Child] = [el("b", "Evaluation"), _tiles(tiles)]
    if evaluation.badly:
        said = f"Answers that came, but not as they should: {say_problems(evaluation.badly)}"
        parts.append(el("p", said, class_="soft"))
    parts.append(_folded("Prompts", _candidate(evaluation.candidate)))
    return parts


def _candidate(candidate: Candidate) -> list[Child]:
    return [_prompt(name, prompt) for name, prompt in sorted(candidate.prompts.items())]


def _prompt(name: str, prompt: Prompt) -> Child:
    shown: list[Child] = [el("h4", name), el("pre", prompt.instruction or "(no instruction)")]
    if prompt.demos:
        demos: list[Child] = [el("pre", _demo(demo)) for demo in prompt.demos[:_SHOWN_DEMOS]]
        shown.append(_folded(plural(len(prompt.demos), "demonstration"), demos))
    return shown


def _demo(demo: Demo) -> str:
    reasoning: Mapping[str, object] = {} if demo.reasoning is None else {"reasoning": demo.reasoning}
    fields = {**demo.inputs, **reasoning, **demo.outputs}
    return "\n".join(f"{name}: {_plain(value)}" for name, value in fields.items())


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _tiles(figures: Mapping[str, str]) -> Markup:
    tiles = [el("div", el("b", value), el("span", name, class_="soft")) for name, value in figures.items()]
    return el("div", tiles, class_="tiles")


def _folded(title: str, body: Child) -> Markup:
    return el("details", el("summary", title), body)
