"""The journal as the report shows it: frozen values, no markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.evaluation.stats import standard_error
from luthier.report.shrink import Tally, best_shrunken
from luthier.report.spending import Amounts, spending, total
from luthier.report.summary import ORIGINAL, Summary, original_key, point_key, summary, unfolded, values
from luthier.study.events import (
    AskEvent,
    BaselineEvent,
    ChoiceEvent,
    E,
    Event,
    InsightEvent,
    ManifestEvent,
    Outcome,
    SpaceEvent,
    TellEvent,
    VerdictEvent,
    every,
    first,
)

_MOST_MARKS = 400
"""Of more minibatch trials, only some are drawn, evenly spaced: a page of thousands would not open."""


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
    manifest: ManifestEvent | None
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
    """What went wrong with the study's calls, in sentences."""

    def event(self, kind: type[E]) -> E | None:
        """Return the first event of a kind."""
        return first(self.events, kind)


def view(
    events: Sequence[Event],
    paid: Mapping[str, Amounts] | None = None,
    remarks: Sequence[str] = (),
    paid_by_lm: Mapping[str, Amounts] | None = None,
) -> View:
    """Read a journal; what is not there yet is empty."""
    events = unfolded(events)
    levels = _levels(first(events, SpaceEvent))
    insight = first(events, InsightEvent)
    return View(
        summary=summary(events),
        manifest=first(events, ManifestEvent),
        marks=tuple(_marks(events, levels)),
        prompts=tuple(_prompts(events)),
        full=tuple(_full(events, levels)),
        effects=() if insight is None else tuple(_effects(insight)),
        variables=() if insight is None else tuple(_variables(insight, levels)),
        outcomes=tuple(_outcomes(events)),
        levels=levels,
        events=events,
        paid=paid or {},
        paid_by_lm=paid_by_lm or {},
        remarks=remarks,
    )


def _levels(space: SpaceEvent | None) -> dict[str, dict[str, Level]]:
    found: dict[str, dict[str, Level]] = {}
    if space is None:
        return found
    for variable in space.variables:
        name = str(variable["name"])
        of = space.payloads.get(name) or {}
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
    asks: dict[int, AskEvent] = {}
    spent = Amounts()
    original: str | None = None
    last = max((event.trial for event in every(events, TellEvent)), default=0)
    step = max(1, -(-last // _MOST_MARKS))
    for event in events:
        spent += total(spending(event).values())
        if isinstance(event, SpaceEvent):
            original = original_key(event)
        elif isinstance(event, AskEvent):
            asks[event.trial] = event
        elif isinstance(event, BaselineEvent | TellEvent) and (scores := values(event)):
            number = event.trial if isinstance(event, TellEvent) else 0
            ask = asks.get(number) if isinstance(event, TellEvent) else None
            key = ORIGINAL if ask is None else point_key(ask.point)
            key = ORIGINAL if key == original else key
            sums[key] = sums.get(key, Tally()).plus(scores)
            full = ask is None or ask.purpose == "full"
            if not full and number % step and number != last:
                continue
            yield Mark(
                number=number,
                mean=sum(scores) / len(scores),
                stderr=standard_error(scores) or 0.0,
                n=len(scores),
                full=full,
                original=key == ORIGINAL,
                label=describe(ask.point, levels) if ask is not None and key != ORIGINAL else "the original",
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
    manifest, choice = first(events, ManifestEvent), first(events, ChoiceEvent)
    chosen = {} if choice is None else choice.candidate.get("prompts") or {}
    texts, original_demos = _original_texts(events), _original_demos(events)
    for predictor in () if manifest is None else manifest.predictors:
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
    firsts = _first_levels(events)
    return {str(payload["predictor"]): str(payload["instruction"]) for payload in firsts if "instruction" in payload}


def _original_demos(events: Sequence[Event]) -> dict[str, tuple[Mapping[str, Any], ...]]:
    """Return the demos of the space's first levels, which are the original's."""
    firsts = _first_levels(events)
    return {str(name): tuple(demos) for payload in firsts for name, demos in (payload.get("demos") or {}).items()}


def _first_levels(events: Sequence[Event]) -> list[Mapping[str, Any]]:
    return [
        space.payloads.get(variable["name"], {}).get(variable["levels"][0]) or {}
        for space in every(events, SpaceEvent)
        for variable in space.variables
    ]


def _full(events: Sequence[Event], levels: Mapping[str, Mapping[str, Level]]) -> Iterable[FullRow]:
    choice = first(events, ChoiceEvent)
    if choice is None:
        return
    chosen = point_key(choice.point)
    rows = sorted(choice.table, key=lambda row: -float(row.get("mean") or 0.0))
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


def _effects(insight: InsightEvent) -> Iterable[Effect]:
    for name, effect in insight.predictors.items():
        difference = float(effect.get("difference") or 0.0)
        low, high = effect.get("low"), effect.get("high")
        yield Effect(
            str(name),
            difference,
            difference if low is None else float(low),
            difference if high is None else float(high),
            float(effect.get("mean_without") or 0.0),
        )


def _variables(insight: InsightEvent, levels: Mapping[str, Mapping[str, Level]]) -> Iterable[VariableRow]:
    for name, found in insight.variables.items():
        best = levels.get(name, {}).get(str(found.get("best")))
        share, low, high, p = (float(found.get(key) or 0.0) for key in ("share", "low", "high", "p"))
        yield VariableRow(str(name), share, low, high, p, "?" if best is None else best.label)


def _outcomes(events: Sequence[Event]) -> Iterable[OutcomeRow]:
    baseline, verdict = first(events, BaselineEvent), first(events, VerdictEvent)
    sources: list[tuple[str, Sequence[Outcome]]] = [
        ("Original, validation", () if baseline is None else baseline.outcomes),
        ("Search", [outcome for event in every(events, TellEvent) for outcome in event.outcomes]),
        ("Original, held out", () if verdict is None else verdict.outcomes_before),
        ("Chosen, held out", () if verdict is None else verdict.outcomes_after),
    ]
    for label, outcomes in sources:
        counts: dict[str, int] = {}
        for outcome in outcomes:
            counts[outcome.outcome] = counts.get(outcome.outcome, 0) + 1
        if counts:
            yield OutcomeRow(label, counts)
