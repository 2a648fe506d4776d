"""Prompts in other forms: JSON, Markdown, OpenAI messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.errors import CandidateError, ConfigError
from luthier.program.candidate import Candidate, Demo, Prompt

if TYPE_CHECKING:
    from luthier.program.signature import Signature

FORMS = ("json", "markdown", "openai")
Fields = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]


def prompts_of(source: Path, *, best: bool) -> tuple[Candidate, Fields]:
    """Return the prompts in a study's directory or in one of saved prompts, and the fields of each predictor.

    Raises:
        ConfigError: it holds neither.
        CandidateError: saved prompts cannot be read.
    """
    if (source / "journal.jsonl").exists():
        return _of_study(source, best=best)
    if (source / "candidate.json").exists():
        candidate = Candidate.load(source)
        return candidate, {name: _fields_of_demos(prompt) for name, prompt in candidate.prompts.items()}
    raise ConfigError(f"{source} holds neither a study (journal.jsonl) nor saved prompts (candidate.json)")


def exported(found: tuple[Candidate, Fields], form: str, *, program: str | None = None) -> str:
    """Return prompts in a form of ``FORMS``, ending in a newline."""
    candidate, fields = found
    if form == "json":
        return json.dumps(candidate.to_json(), ensure_ascii=False, indent=2) + "\n"
    if form == "markdown":
        return "\n".join(_markdown(name, prompt) for name, prompt in candidate.prompts.items())
    signatures = _signatures(candidate, fields, program)
    messages = {name: _messages(signatures[name], prompt) for name, prompt in candidate.prompts.items()}
    return json.dumps(messages, ensure_ascii=False, indent=2) + "\n"


def _of_study(source: Path, *, best: bool) -> tuple[Candidate, Fields]:
    from luthier.study.journal import read_journal

    events = {event["event"]: event for event in reversed(read_journal(source / "journal.jsonl"))}
    predictors = (events.get("manifest") or {}).get("predictors", ())
    fields = {p["name"]: (tuple(p.get("inputs", ())), tuple(p.get("outputs", ()))) for p in predictors}
    decision = (events.get("verdict") or {}).get("decision")
    if best and "choice" not in events:
        raise ConfigError(f"{source} has not chosen yet: there is no best candidate to export")
    if best or decision == "adopt":
        return _candidate(events["choice"]["candidate"], source), fields
    if (source / "prompts" / "candidate.json").exists():
        return Candidate.load(source / "prompts"), fields
    # Without a verdict that says otherwise, the recommendation is what the user has.
    return Candidate({p["name"]: Prompt(p["instruction"], _demos(p)) for p in predictors}), fields


def _candidate(data: Mapping[str, Any], source: Path) -> Candidate:
    try:
        return Candidate.from_json(data)
    except (KeyError, ValueError, TypeError) as error:
        raise CandidateError(f"{source}: the chosen candidate in the journal cannot be read ({error})") from error


def _demos(predictor: Mapping[str, Any]) -> tuple[Demo, ...]:
    return tuple(Demo.from_json(demo) for demo in predictor.get("demos", ()))


def _fields_of_demos(prompt: Prompt) -> tuple[tuple[str, ...], tuple[str, ...]]:
    first = prompt.demos[0] if prompt.demos else Demo({"input": ""}, {"output": ""})
    return tuple(first.inputs), tuple(first.outputs)


def _markdown(name: str, prompt: Prompt) -> str:
    parts = [f"## {name}\n", prompt.instruction.strip() + "\n"]
    for number, demo in enumerate(prompt.demos, start=1):
        parts.append(f"### Demo {number}\n")
        reasoning = {} if demo.reasoning is None else {"reasoning": demo.reasoning}
        for field, value in {**demo.inputs, **reasoning, **demo.outputs}.items():
            parts.append(f"**{field}**\n\n{_fenced(value)}\n")
    return "\n".join(parts)


def _fenced(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def _signatures(candidate: Candidate, fields: Fields, program: str | None) -> dict[str, Signature]:
    from luthier.program.signature import Field, Signature

    if program is not None:
        return _signatures_of_program(candidate, program)
    made = {}
    for name, prompt in candidate.prompts.items():
        inputs, outputs = fields.get(name) or _fields_of_demos(prompt)
        reasoning = any(demo.reasoning is not None for demo in prompt.demos)
        made[name] = Signature(
            name=name,
            instruction=prompt.instruction,
            inputs=tuple(Field(field, str) for field in inputs),
            outputs=tuple(Field(field, str) for field in outputs),
            reasoning=reasoning,
            result=str,
        )
    return made


def _signatures_of_program(candidate: Candidate, program: str) -> dict[str, Signature]:
    from luthier.cli.importing import load
    from luthier.program.program import discover

    found = {p.name: p.signature for p in discover(load(program, "the program")).predictors}
    if missing := sorted(set(candidate.prompts) - set(found)):
        raise CandidateError(f"{program} has no predictor {', '.join(missing)}")
    return found


def _messages(signature: Signature, prompt: Prompt) -> list[dict[str, Any]]:
    from luthier.lm.request import message_json
    from luthier.program.render import messages

    placeholders = {field.name: f"{{{field.name}}}" for field in signature.inputs}
    return [message_json(message) for message in messages(signature, prompt, placeholders)]
