"""What there is to take elsewhere: a candidate, and all that its predictors' prompts depend on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.api import Result
from luthier.errors import ConfigError
from luthier.exports.saved_study import Fields, StudyPrompts, study_prompts
from luthier.lm.body import request_body
from luthier.program.candidate import Candidate, Demo, Kind, Prompt
from luthier.program.lms import LMChoice, LMs, resolve
from luthier.program.predictor import Predictor
from luthier.program.program import find_program
from luthier.program.render import CallSettings, render, uses_json
from luthier.program.signature import Field, Form, Signature
from luthier.program.values import value_to_json

if TYPE_CHECKING:
    from luthier.lm.lm import LM

_TEMPLATE = "a template writes its messages"
_TEXTS = (Kind.REGION, Kind.TOOL)
_BEYOND = {Kind.DEMOS: _TEMPLATE, Kind.FIXED: _TEMPLATE, Kind.INSTRUCTION: "it offers tools"}
"""What a kind says of a predictor whose program is not known."""

Source = Candidate | Result[Any] | str | Path
"""A candidate, what ``optimize`` returned, the directory of a study, or one of saved prompts."""


@dataclass(frozen=True, slots=True)
class Part:
    """One predictor's prompt, and how it is written and read."""

    name: str
    prompt: Prompt
    signature: Signature
    exact: bool
    """Whether the signature is the program's own, not guessed from names."""
    json_form: bool
    """Whether a chat answer is one JSON object."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Inputs that may be left out, as JSON."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What a request's body says beside model and messages."""
    lm: LM | None = None
    """The language model it is written for; None: any that takes no schema."""
    beyond: str = ""
    """Why its messages are not the instruction, the demonstrations, and lines of inputs; empty where they are."""


@dataclass(frozen=True, slots=True)
class Parts:
    """All that a candidate has."""

    candidate: Candidate
    parts: tuple[Part, ...]
    """Predictors' prompts, by name."""
    texts: Mapping[str, str]
    """Texts of template regions and tools, by name."""
    origin: str
    """Where they are from, for people."""

    @property
    def exact(self) -> bool:
        """Whether every signature is the program's own."""
        return all(part.exact for part in self.parts)


def parts_of(
    source: Source, *, program: Callable[..., Any] | None = None, best: bool = False, lm: LMChoice | None = None
) -> Parts:
    """Return the prompts of a source, the recommended ones unless ``best``.

    Args:
        source: where they are.
        program: what they are for; without it, fields are known by name only.
        best: the best found, whatever the verdict.
        lm: who is to be asked, for what is written only for some servers; the study's, where it tells.

    Raises:
        ConfigError: the source holds no prompts, or has not chosen yet.
        CandidateError: they cannot be read, or are not for this program.
    """
    found = _found(source, best)
    if isinstance(source, Result) and program is None:
        program = source.program
    everything = found.candidate.prompts
    prompts = {name: prompt for name, prompt in everything.items() if prompt.kind not in _TEXTS}
    texts = {name: text.instruction for name, text in everything.items() if name not in prompts}
    if program is None:
        parts = [_guessed(name, prompt, found) for name, prompt in prompts.items()]
    else:
        known = find_program(program)
        known.check(found.candidate)
        lms = found.lms if lm is None else resolve(lm, known.predictors)
        parts = [_known(known.predictor(name), prompt, lms) for name, prompt in prompts.items()]
    return Parts(found.candidate, tuple(sorted(parts, key=lambda part: part.name)), texts, found.origin)


def _found(source: Source, best: bool) -> StudyPrompts:
    if isinstance(source, Candidate):
        return StudyPrompts(source, {}, "a candidate", None)
    if isinstance(source, Result):
        found = study_prompts(source.study_dir, best=best)
        return replace(found, candidate=source.best if best else source.candidate)
    directory = Path(source)
    if (directory / "journal.jsonl").exists():
        return study_prompts(directory, best=best)
    if (directory / "candidate.json").exists():
        return StudyPrompts(Candidate.load(directory), {}, str(directory), None)
    raise ConfigError(f"{directory} holds neither a study (journal.jsonl) nor saved prompts (candidate.json)")


def _known(predictor: Predictor[..., Any], prompt: Prompt, lms: LMs | None) -> Part:
    signature = predictor.signature
    lm = predictor.lm if lms is None else lms.of(predictor)
    schema = lm is not None and lm.supports_schema and not lm.supports_grammar
    return Part(
        predictor.name,
        prompt,
        signature,
        exact=True,
        json_form=uses_json(signature, schema=schema),
        defaults=_defaults(predictor),
        options=_settings(predictor.settings) if lm is None else _body(signature, prompt, lm, predictor.settings),
        lm=lm,
        beyond=_beyond(predictor),
    )


def _beyond(predictor: Predictor[..., Any]) -> str:
    if type(predictor) is not Predictor:
        return "another framework writes its messages"
    if predictor.template is not None:
        return _TEMPLATE
    if any(field.form is not Form.TEXT for field in predictor.signature.inputs):
        return "it takes conversations or images"
    return "it offers tools" if predictor.tools or predictor.signature.is_free else ""


def _defaults(predictor: Predictor[..., Any]) -> dict[str, Any]:
    if type(predictor) is not Predictor:  # its function is only the nearest one of the user's
        return {}
    names = {entry.name for entry in predictor.signature.inputs}
    return {
        parameter.name: value_to_json(parameter.default)
        for parameter in inspect.signature(predictor.function).parameters.values()
        if parameter.name in names and parameter.default is not parameter.empty
    }


def _body(signature: Signature, prompt: Prompt, lm: LM, settings: CallSettings) -> dict[str, Any]:
    """Return a request's body as the client would send it, without what differs from call to call."""
    if lm.address is None:
        return _settings(settings)
    request = replace(render(signature, prompt, {}, lm=lm, settings=settings), extra=lm.extra)
    body = request_body(request, lm.address, llama=False)
    return {name: value for name, value in body.items() if name not in ("model", "messages", "prompt")}


def _settings(settings: CallSettings) -> dict[str, Any]:
    named = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": settings.max_tokens,
        "stop": list(settings.stop) or None,
    }
    return {name: value for name, value in named.items() if value is not None}


def _guessed(name: str, prompt: Prompt, found: StudyPrompts) -> Part:
    """Return a part whose fields are texts: the best that names alone can tell."""
    beyond = _BEYOND.get(prompt.kind, "")
    first = prompt.demos[0] if prompt.demos else Demo({"input": ""}, {"output": ""})
    fields = found.fields.get(name) or Fields(tuple(first.inputs), tuple(first.outputs), False)
    signature = Signature(
        name=name,
        instruction=prompt.instruction,
        inputs=tuple(Field(each, str) for each in fields.inputs),
        outputs=tuple(Field(each, str) for each in fields.outputs),
        reasoning=fields.reasoning or any(demo.reasoning is not None for demo in prompt.demos),
        result=str,
    )
    return Part(name, prompt, signature, exact=False, json_form=uses_json(signature), beyond=beyond)
