"""What a tracker logs of a study: parameters once, metrics by step, from the study's events alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.lm.redact import redact
from luthier.report.figures import moment
from luthier.report.shrink import best_shrunken
from luthier.report.summary import first, is_stopped, stopped_decision, tallies, trial_number, unfolded, values

Event = Mapping[str, Any]

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


def parameters(manifest: Event) -> dict[str, str]:
    """Return what the study was started with, flat and without keys."""
    optimizer, data = manifest.get("optimizer") or {}, manifest.get("data") or {}
    told: dict[str, Any] = {
        "program": manifest.get("program"),
        "predictors": [component["name"] for component in manifest.get("predictors", ())],
        "optimizer": optimizer.get("name"),
        **{f"optimizer.{name}": value for name, value in (optimizer.get("settings") or {}).items()},
        **{name: manifest.get(name) for name in ("auto", "seed", "split_seed", "group", "concurrency")},
        **{f"budget.{name}": limit for name, limit in (manifest.get("budget") or {}).items()},
        **{f"data.{part}": (data.get(part) or {}).get("n") for part in ("train", "val", "test")},
        **{f"code.{name}": value for name, value in (manifest.get("code") or {}).items()},
        **{f"version.{name}": value for name, value in (manifest.get("versions") or {}).items()},
    }
    named = {"": manifest.get("lms") or {}, ".of": manifest.get("predictor_lms") or {}}
    for kind, lms in named.items():
        for role, lm in lms.items():
            told |= {f"lm{kind}.{role}": lm.get("name"), f"lm{kind}.{role}.temperature": lm.get("temperature")}
    return {name: _short(value) for name, value in told.items() if value is not None}


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
        parts = unfolded([event]) if event["event"] in ("starts", "closing") else [event]
        for part in parts:
            if part["event"] in ("space", "ask", "tell", "baseline"):
                seen.append(part)
            if part["event"] == "ask":
                purposes[trial_number(part)] = str(part.get("purpose", ""))
            if part["event"] not in ("baseline", "tell"):
                continue
            last = max(last, number := trial_number(part))
            if id(event) in added and (scored := values(part)):
                name = "trial.score_in_full" if purposes.get(number, "full") == "full" else "trial.score"
                found.append(Point(name, sum(scored) / len(scored), number, at))
                if (best := best_shrunken(tallies(seen))) is not None:
                    found.append(Point("best_so_far", best, number, at))
        if event["event"] == "verdict" and id(event) in added:
            numbers = {name: event.get(name) for name in _OF_THE_VERDICT}
            found += [Point(f"verdict.{name}", float(n), last, at) for name, n in numbers.items() if n is not None]
    return found


def last_step(events: Iterable[Event]) -> int:
    """Return the number of the last trial told."""
    return max((trial_number(event) for event in unfolded(events) if event["event"] == "tell"), default=0)


def verdict_of(events: Iterable[Event]) -> tuple[str, str]:
    """Return the decision and its sentence; empty where there is none yet."""
    events = list(events)
    if is_stopped(events):
        return stopped_decision(events[-1]), str(events[-1].get("sentence") or "")
    verdict = first(events, "verdict") or {}
    return str(verdict.get("decision") or ""), str(verdict.get("sentence") or "")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = redact(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
