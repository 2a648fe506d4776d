"""What a study's directory says about its prompts: the original ones, the best found, and the recommended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import CandidateError, ConfigError
from luthier.lm.lm import LM
from luthier.program.candidate import Candidate, Demo, Kind, Prompt
from luthier.program.lms import LMs
from luthier.report.summary import stopped_by, stopped_decision
from luthier.study.events import ChoiceEvent, ManifestEvent, RefusedEvent, VerdictEvent, every, first, read_all
from luthier.study.journal import read_journal


@dataclass(frozen=True, slots=True)
class Fields:
    """The names of a predictor's fields."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reasoning: bool


@dataclass(frozen=True, slots=True)
class StudyPrompts:
    """Prompts, and what is known about where they are from."""

    candidate: Candidate
    fields: Mapping[str, Fields]
    """By predictor, where it is known."""
    origin: str
    lms: LMs | None
    """Who answers which predictor, where servers do."""
    decision: str | None = None
    """The verdict's; None where there is none."""
    original: Candidate | None = None
    """The program's own prompts; None where the source does not say."""
    starts: frozenset[str] = frozenset()
    """Hashes of the prompts that the study was told to start from."""


def study_prompts(directory: Path, *, best: bool) -> StudyPrompts:
    """Return the prompts of a study: the best found, or what its verdict recommends.

    Raises:
        ConfigError: there is no study, or ``best`` is asked of one that has not chosen yet.
        CandidateError: the chosen prompts in the journal cannot be read.
    """
    events = read_all(read_journal(directory / "journal.jsonl"))
    manifest = first(events, ManifestEvent)
    if manifest is None:
        raise ConfigError(f"{directory} holds no study: there is no journal.jsonl in it, or nothing in that yet")
    verdict, stop = first(events, VerdictEvent), stopped_by(events)
    predictors, start = manifest.predictors, manifest.start
    decision = stopped_decision(stop) if stop else None if verdict is None else verdict.decision
    original = Candidate(
        {p["name"]: _original(p) for p in predictors},
        {p["name"]: p["fingerprint"] for p in predictors if "fingerprint" in p},
    )
    return StudyPrompts(
        candidate=_chosen(directory, first(events, ChoiceEvent), best=best, decision=decision, original=original),
        fields={
            p["name"]: Fields(tuple(p.get("inputs", ())), tuple(p["outputs"]), bool(p.get("reasoning")))
            for p in predictors
            if p.get("outputs")
        },
        origin=str(directory),
        lms=_lms(manifest, every(events, RefusedEvent)),
        decision=decision,
        original=original,
        starts=frozenset(key for key in (start.get("deployed"), *start.get("tried", ())) if key is not None),
    )


def _chosen(
    directory: Path, choice: ChoiceEvent | None, *, best: bool, decision: str | None, original: Candidate
) -> Candidate:
    if best and choice is None:
        raise ConfigError(f"{directory} has chosen no best candidate: it is not that far, or ended before its search")
    if choice is not None and (best or decision == "adopt"):
        try:
            return Candidate.from_json(choice.candidate)
        except (KeyError, ValueError, TypeError) as error:
            raise CandidateError(f"{directory}: the journal's chosen candidate cannot be read ({error})") from error
    if (directory / "prompts" / "candidate.json").exists():
        return Candidate.load(directory / "prompts")
    # Without a verdict that says otherwise, the recommendation is what the user has.
    return original


def _original(component: Mapping[str, Any]) -> Prompt:
    demos = tuple(map(Demo.from_json, component.get("demos", ())))
    return Prompt(component["instruction"], demos, Kind(component.get("kind", Kind.PROMPT)))


def _lms(manifest: ManifestEvent, refused: Sequence[RefusedEvent]) -> LMs | None:
    default = _server(manifest.lms.get("task") or {}, refused)
    named = {name: _server(lm, refused) for name, lm in manifest.predictor_lms.items()}
    return None if default is None else LMs(default, {name: lm for name, lm in named.items() if lm is not None})


def _server(lm: Mapping[str, Any], refused: Sequence[RefusedEvent]) -> LM | None:
    """Return the LM of a manifest if a server has it, without what that was found to refuse.

    What it supports decides how prompts are written.
    """
    _, at, url = str(lm.get("identity", "")).rpartition(" at ")
    if not at or not url.startswith(("http://", "https://")):
        return None
    sampling = {name: lm[name] for name in ("temperature", "max_tokens", "top_p", "endpoint", "extra") if name in lm}
    for event in refused:
        if event.lm == lm["identity"] and event.parameter in sampling:
            instead = {} if event.instead is None else {event.instead: sampling[event.parameter]}
            sampling |= {event.parameter: None, "extra": {**sampling.get("extra", {}), **instead}}
    try:
        return LM(lm["name"], base_url=url, **sampling)
    except ConfigError:  # named by the user's own client, not by an address of ours
        return None
