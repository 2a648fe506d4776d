"""What a study's directory says about its prompts: the original ones, the best found, and the recommended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import CandidateError, ConfigError
from luthier.lm.lm import LM
from luthier.program.candidate import Candidate, Demo, Prompt
from luthier.study.journal import read_journal

Fields = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
"""By predictor: the names of its inputs and of its outputs."""


@dataclass(frozen=True, slots=True)
class StudyPrompts:
    """Prompts, and what is known about where they are from."""

    candidate: Candidate
    fields: Fields
    origin: str
    lm: LM | None
    """The study's task LM, where it is a server's."""
    decision: str | None = None
    """The verdict's; None where there is none."""
    original: Candidate | None = None
    """What the study began with; None where the source does not say."""


def study_prompts(directory: Path, *, best: bool) -> StudyPrompts:
    """Return the prompts of a study: the best found, or what its verdict recommends.

    Raises:
        ConfigError: there is no study, or ``best`` is asked of one that has not chosen yet.
        CandidateError: the chosen prompts in the journal cannot be read.
    """
    events = {event["event"]: event for event in reversed(read_journal(directory / "journal.jsonl"))}
    if not events:
        raise ConfigError(f"{directory} holds no study: there is no journal.jsonl in it, or nothing in that yet")
    manifest = events.get("manifest") or {}
    predictors = manifest.get("predictors", ())
    decision = (events.get("verdict") or {}).get("decision")
    original = Candidate(
        {p["name"]: Prompt(p["instruction"], tuple(map(Demo.from_json, p.get("demos", ())))) for p in predictors},
        {p["name"]: p["fingerprint"] for p in predictors if "fingerprint" in p},
    )
    return StudyPrompts(
        candidate=_chosen(directory, events, best=best, decision=decision, original=original),
        fields={p["name"]: (tuple(p.get("inputs", ())), tuple(p.get("outputs", ()))) for p in predictors},
        origin=str(directory),
        lm=_server(manifest.get("lms", {}).get("task") or {}),
        decision=decision,
        original=original,
    )


def _chosen(
    directory: Path, events: Mapping[str, Any], *, best: bool, decision: str | None, original: Candidate
) -> Candidate:
    if best and "choice" not in events:
        raise ConfigError(f"{directory} has not chosen yet: there is no best candidate to take")
    if best or decision == "adopt":
        try:
            return Candidate.from_json(events["choice"]["candidate"])
        except (KeyError, ValueError, TypeError) as error:
            raise CandidateError(f"{directory}: the journal's chosen candidate cannot be read ({error})") from error
    if (directory / "prompts" / "candidate.json").exists():
        return Candidate.load(directory / "prompts")
    # Without a verdict that says otherwise, the recommendation is what the user has.
    return original


def _server(lm: Mapping[str, Any]) -> LM | None:
    """Return the LM of a manifest if a server has it; what it supports decides how prompts are written."""
    _, at, url = str(lm.get("identity", "")).rpartition(" at ")
    if not at or not url.startswith(("http://", "https://")):
        return None
    sampling = {name: lm[name] for name in ("temperature", "max_tokens", "top_p", "endpoint") if name in lm}
    return LM(lm["name"], base_url=url, **sampling)
