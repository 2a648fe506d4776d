"""What a tracker logs of a study: parameters once, metrics by step, from the study's events alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.lm.redact import redact
from luthier.report.figures import moment
from luthier.report.shrink import best_shrunken
from luthier.report.summary import stopped_by, stopped_decision, tallies, unfolded, values
from luthier.study.events import (
    AskEvent,
    BaselineEvent,
    ClosingEvent,
    Event,
    ManifestEvent,
    SpaceEvent,
    StartsEvent,
    TellEvent,
    VerdictEvent,
    every,
    first,
)

_LONGEST = 500
"""Characters of a parameter; what every version of the trackers takes."""
_OF_THE_VERDICT = ("before", "after", "difference", "low", "high", "tokens_before", "tokens_after")


@dataclass(frozen=True, slots=True)
class Point:
    """A metric's value at a step."""

    name: str
    value: float
    step: int
    milliseconds: int
    """When, since 1970."""


def parameters(manifest: ManifestEvent) -> dict[str, str]:
    """Return what the study was started with, flat and without keys."""
    optimizer, data = manifest.optimizer, manifest.data
    fields: dict[str, Any] = {
        "program": manifest.program,
        "predictors": [component["name"] for component in manifest.predictors],
        "optimizer": optimizer.get("name"),
        **{f"optimizer.{name}": value for name, value in (optimizer.get("settings") or {}).items()},
        **{name: getattr(manifest, name) for name in ("auto", "seed", "split_seed", "group", "concurrency")},
        **{f"budget.{name}": limit for name, limit in (manifest.budget or {}).items()},
        **{f"data.{part}": (data.get(part) or {}).get("n") for part in ("train", "val", "test")},
        **{f"code.{name}": value for name, value in manifest.code.items()},
        **{f"version.{name}": value for name, value in manifest.versions.items()},
    }
    named = {"": manifest.lms, ".of": manifest.predictor_lms}
    for kind, lms in named.items():
        for role, lm in lms.items():
            fields |= {f"lm{kind}.{role}": lm.get("name"), f"lm{kind}.{role}.temperature": lm.get("temperature")}
    return {name: _short(value) for name, value in fields.items() if value is not None}


def points(events: Sequence[Event], new: Iterable[Event]) -> list[Point]:
    """Return the metrics of new events, of which all up to them are ``events``.

    A trial's step is its number; the original's is 0, and the verdict's the last trial's.
    """
    events, added = list(events), {id(event) for event in new}
    found: list[Point] = []
    purposes: dict[int, str] = {}
    seen: list[Event] = []
    last = 0
    for event in events:
        when = moment(event)
        at = 0 if when is None else int(when.timestamp() * 1000)
        parts = unfolded([event]) if isinstance(event, StartsEvent | ClosingEvent) else [event]
        for part in parts:
            if isinstance(part, SpaceEvent | AskEvent | TellEvent | BaselineEvent):
                seen.append(part)
            if isinstance(part, AskEvent):
                purposes[part.trial] = part.purpose
            if not isinstance(part, BaselineEvent | TellEvent):
                continue
            last = max(last, number := part.trial if isinstance(part, TellEvent) else 0)
            if id(event) in added and (scored := values(part)):
                name = "trial.score_in_full" if purposes.get(number, "full") == "full" else "trial.score"
                found.append(Point(name, sum(scored) / len(scored), number, at))
                if (best := best_shrunken(tallies(seen))) is not None:
                    found.append(Point("best_so_far", best, number, at))
        if isinstance(event, VerdictEvent) and id(event) in added:
            numbers = {name: getattr(event, name) for name in _OF_THE_VERDICT}
            found += [Point(f"verdict.{name}", float(n), last, at) for name, n in numbers.items() if n is not None]
    return found


def last_step(events: Iterable[Event]) -> int:
    """Return the number of the last trial told."""
    return max((event.trial for event in every(unfolded(events), TellEvent)), default=0)


def verdict_of(events: Iterable[Event]) -> tuple[str, str]:
    """Return the decision and its sentence; empty where there is none yet."""
    events = list(events)
    if stop := stopped_by(events):
        return stopped_decision(stop), stop.sentence
    verdict = first(events, VerdictEvent)
    return ("", "") if verdict is None else (verdict.decision, verdict.sentence)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = redact(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
