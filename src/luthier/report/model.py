"""The journal as the report shows it: frozen values, no markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.evaluation.stats import standard_error
from luthier.report.shrink import Tally, best_shrunken
from luthier.report.spending import Amounts, Event, spending, total
from luthier.report.summary import ORIGINAL, Summary, first, point_key, summary, trial_number, unfolded, values

_MOST_MARKS = 400
"""Of more minibatch trials, every so manieth is drawn: a page of thousands would not open."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One trial on the chart."""

    number: int
    mean: float
    stderr: float
    n: int
    full: bool
    original: bool
    label: str
    best: float
    """Best so far, shrunken, after this trial."""
    calls: int
    """LM calls so far."""
    tokens: int
    """Tokens so far."""


@dataclass(frozen=True, slots=True)
class PromptPair:
    """A predictor's prompt before and after."""

    predictor: str
    kind: str
    """``prompt``, ``region``, ``tool``, …"""
    before: str
    after: str
    demos_before: tuple[Mapping[str, Any], ...]
    demos_after: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Level:
    """One thing a variable can be."""

    label: str
    instruction: str | None
    sizes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FullRow:
    """A candidate that was scored in full."""

    parts: tuple[tuple[str, str], ...]
    """(Variable, level's label)."""
    mean: float
    stderr: float
    n: int
    original: bool
    chosen: bool


@dataclass(frozen=True, slots=True)
class Effect:
    """What a predictor's change brings: the chosen candidate against itself without the change."""

    predictor: str
    difference: float
    low: float
    high: float
    without: float


@dataclass(frozen=True, slots=True)
class VariableRow:
    """How much a variable mattered: its share of what candidates differ by."""

    name: str
    share: float
    low: float
    high: float
    p: float
    best: str
    """Label of the level that does best by itself."""


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """Outcomes of some rollouts by kind."""

    label: str
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class View:
    """Everything the page shows."""

    summary: Summary
    manifest: Event
    marks: tuple[Mark, ...]
    prompts: tuple[PromptPair, ...]
    full: tuple[FullRow, ...]
    effects: tuple[Effect, ...]
    variables: tuple[VariableRow, ...]
    outcomes: tuple[OutcomeRow, ...]
    levels: Mapping[str, Mapping[str, Level]]
    """By variable, then by level's hash."""
    events: Sequence[Event]
    paid: Mapping[str, Amounts]
    """What was charged, by role, as the study's store has it; empty where there is no store."""
    paid_by_lm: Mapping[str, Amounts]
    """The same by the LM's identity."""
    remarks: Sequence[str]
    """What befell the study's calls, in sentences."""

    def event(self, name: str) -> Event | None:
        """Return the first event of that name."""
        return first(self.events, name)


def view(
    events: Sequence[Event],
    paid: Mapping[str, Amounts] | None = None,
    remarks: Sequence[str] = (),
    paid_by_lm: Mapping[str, Amounts] | None = None,
) -> View:
    """Read a journal; what is not there yet is empty."""
    events = unfolded(events)
    space = first(events, "space") or {}
    levels = _levels(space)
    return View(
        summary=summary(events),
        manifest=first(events, "manifest") or {},
        marks=tuple(_marks(events, levels)),
        prompts=tuple(_prompts(events)),
        full=tuple(_full(events, levels)),
        effects=tuple(_effects(first(events, "insight") or {})),
        variables=tuple(_variables(first(events, "insight") or {}, levels)),
        outcomes=tuple(_outcomes(events)),
        levels=levels,
        events=events,
        paid=paid or {},
        paid_by_lm=paid_by_lm or {},
        remarks=remarks,
    )


def _levels(space: Event) -> dict[str, dict[str, Level]]:
    found: dict[str, dict[str, Level]] = {}
    payloads = space.get("payloads") or {}
    for variable in space.get("variables", ()):
        name = str(variable["name"])
        of = payloads.get(name) or {}
        found[name] = {
            level: _level(index, of.get(level) or {}, name) for index, level in enumerate(variable["levels"])
        }
    return found


def _level(index: int, payload: Mapping[str, Any], variable: str) -> Level:
    sizes = {str(name): len(demos) for name, demos in (payload.get("demos") or {}).items()}
    instruction = payload.get("instruction")
    if "setting" in payload:
        label = str(payload["setting"])
    elif index == 0:
        label = "original"
    elif variable.endswith("instruction"):
        label = f"no. {index}"
    else:
        most = max(sizes.values(), default=0)
        label = f"no. {index}, {most} demo{'' if most == 1 else 's'}" if most else f"no. {index}, none"
    return Level(label, None if instruction is None else str(instruction), sizes)


def _marks(events: Sequence[Event], levels: Mapping[str, Mapping[str, Level]]) -> Iterable[Mark]:
    sums: dict[str, Tally] = {}
    asks: dict[int, Event] = {}
    spent = Amounts()
    original: str | None = None
    last = max((trial_number(event) for event in events if event["event"] == "tell"), default=0)
    every = max(1, -(-last // _MOST_MARKS))
    for event in events:
        spent = spent + total(spending(event).values()) if event["event"] != "done" else spent
        if event["event"] == "space":
            original = point_key({v["name"]: v["levels"][0] for v in event["variables"]})
        elif event["event"] == "ask":
            asks[trial_number(event)] = event
        elif event["event"] in ("baseline", "tell") and values(event):
            number = trial_number(event)
            ask = asks.get(number, {}) if event["event"] == "tell" else {}
            key = point_key(ask.get("point", {})) if ask else ORIGINAL
            key = ORIGINAL if key == original else key
            sums[key] = sums.get(key, Tally()).plus(values(event))
            full = not ask or ask.get("purpose") == "full"
            if not full and number % every and number != last:
                continue
            yield Mark(
                number=number,
                mean=sum(values(event)) / len(values(event)),
                stderr=standard_error(values(event)) or 0.0,
                n=len(values(event)),
                full=full,
                original=key == ORIGINAL,
                label=describe(ask.get("point", {}), levels) if key != ORIGINAL else "the original",
                best=best_shrunken(sums) or 0.0,
                calls=spent.calls,
                tokens=spent.tokens,
            )


def describe(point: Mapping[str, str], levels: Mapping[str, Mapping[str, Level]]) -> str:
    """Return a point in words: what it changes."""
    changed = [f"{name}: {label}" for name, label in parts(point, levels) if label != "original"]
    return "; ".join(changed) or "the original"


def parts(point: Mapping[str, str], levels: Mapping[str, Mapping[str, Level]]) -> tuple[tuple[str, str], ...]:
    """Return a point's variables with their levels' labels."""
    unknown: Mapping[str, Level] = {}
    labels = ((name, levels.get(name, unknown).get(level)) for name, level in sorted(point.items()))
    return tuple((name, "?" if level is None else level.label) for name, level in labels)


def _prompts(events: Sequence[Event]) -> Iterable[PromptPair]:
    manifest = first(events, "manifest") or {}
    chosen = ((first(events, "choice") or {}).get("candidate") or {}).get("prompts") or {}
    texts, original_demos = _original_texts(events), _original_demos(events)
    for predictor in manifest.get("predictors", ()):
        name, before = str(predictor["name"]), texts.get(str(predictor["name"]), str(predictor.get("instruction", "")))
        after = chosen.get(name) or {}
        known = original_demos.get(name, ())
        yield PromptPair(
            name,
            str(predictor.get("kind", "prompt")),
            before,
            str(after.get("instruction", before)),
            tuple(predictor.get("demos", known)),
            tuple(after.get("demos", known)),
        )


def _original_texts(events: Sequence[Event]) -> dict[str, str]:
    """Return the instructions of the space's first levels: what is deployed may not be what the program says."""
    space = first(events, "space") or {}
    firsts = [
        ((space.get("payloads") or {}).get(variable["name"]) or {}).get(variable["levels"][0]) or {}
        for variable in space.get("variables", ())
    ]
    return {str(payload["predictor"]): str(payload["instruction"]) for payload in firsts if "instruction" in payload}


def _original_demos(events: Sequence[Event]) -> dict[str, tuple[Mapping[str, Any], ...]]:
    """Return the demos of the space's first levels, which are the original's."""
    found: dict[str, tuple[Mapping[str, Any], ...]] = {}
    space = first(events, "space") or {}
    for variable in space.get("variables", ()):
        payload = ((space.get("payloads") or {}).get(variable["name"]) or {}).get(variable["levels"][0]) or {}
        found |= {str(name): tuple(demos) for name, demos in (payload.get("demos") or {}).items()}
    return found


def _full(events: Sequence[Event], levels: Mapping[str, Mapping[str, Level]]) -> Iterable[FullRow]:
    choice = first(events, "choice") or {}
    chosen = point_key(choice.get("point") or {})
    rows = sorted(choice.get("table", ()), key=lambda row: -float(row.get("mean") or 0.0))
    for row in rows:
        point = row.get("point") or {}
        yield FullRow(
            parts(point, levels),
            float(row.get("mean") or 0.0),
            float(row.get("stderr") or 0.0),
            int(row.get("n") or 0),
            bool(row.get("is_original")),
            point_key(point) == chosen,
        )


def _effects(insight: Event) -> Iterable[Effect]:
    for name, effect in (insight.get("predictors") or {}).items():
        difference = float(effect.get("difference") or 0.0)
        low, high = effect.get("low"), effect.get("high")
        yield Effect(
            str(name),
            difference,
            difference if low is None else float(low),
            difference if high is None else float(high),
            float(effect.get("mean_without") or 0.0),
        )


def _variables(insight: Event, levels: Mapping[str, Mapping[str, Level]]) -> Iterable[VariableRow]:
    for name, found in (insight.get("variables") or {}).items():
        best = levels.get(name, {}).get(str(found.get("best")))
        share, low, high, p = (float(found.get(key) or 0.0) for key in ("share", "low", "high", "p"))
        yield VariableRow(str(name), share, low, high, p, "?" if best is None else best.label)


def _outcomes(events: Sequence[Event]) -> Iterable[OutcomeRow]:
    verdict = first(events, "verdict") or {}
    told = [outcome for event in events if event["event"] == "tell" for outcome in event.get("outcomes", ())]
    sources = [
        ("Original, validation", (first(events, "baseline") or {}).get("outcomes", ())),
        ("Search", told),
        ("Original, held out", verdict.get("outcomes_before", ())),
        ("Chosen, held out", verdict.get("outcomes_after", ())),
    ]
    for label, outcomes in sources:
        counts: dict[str, int] = {}
        for outcome in outcomes:
            kind = str(outcome.get("outcome", "scored"))
            counts[kind] = counts.get(kind, 0) + 1
        if counts:
            yield OutcomeRow(label, counts)
