"""What there is to take elsewhere: a candidate, and all that its predictors' prompts depend on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.deploy.study import StudyPrompts, study_prompts
from luthier.errors import CandidateError, ConfigError
from luthier.lm.body import request_body
from luthier.program.candidate import Candidate, Demo, Prompt
from luthier.program.program import Program, find_program
from luthier.program.render import CallSettings, render, uses_json
from luthier.program.signature import Field, Signature
from luthier.program.values import value_to_json
from luthier.tuning import Result

if TYPE_CHECKING:
    from luthier.lm.lm import LM

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


@dataclass(frozen=True, slots=True)
class Parts:
    """All predictors' prompts, by name."""

    candidate: Candidate
    parts: tuple[Part, ...]
    origin: str
    """Where they are from, for people."""
    lm: LM | None = None
    """The language model they are written for; None: any that takes no schema."""

    @property
    def exact(self) -> bool:
        """Whether every signature is the program's own."""
        return all(part.exact for part in self.parts)


def parts_of(
    source: Source, *, program: Callable[..., Any] | None = None, best: bool = False, lm: LM | None = None
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
    lm = found.lm if lm is None else lm
    if isinstance(source, Result) and program is None:
        program = source.program
    if program is None:
        parts = [_guessed(name, prompt, found) for name, prompt in found.candidate.prompts.items()]
    else:
        known = find_program(program)
        known.check(found.candidate)
        parts = [_known(name, prompt, known, lm) for name, prompt in found.candidate.prompts.items()]
    return Parts(found.candidate, tuple(sorted(parts, key=lambda part: part.name)), found.origin, lm)


def _found(source: Source, best: bool) -> StudyPrompts:
    if isinstance(source, Candidate):
        return StudyPrompts(source, {}, "a candidate", None)
    if isinstance(source, Result):
        return StudyPrompts(source.best if best else source.candidate, {}, str(source.study_dir), None)
    directory = Path(source)
    if (directory / "journal.jsonl").exists():
        return study_prompts(directory, best=best)
    if (directory / "candidate.json").exists():
        return StudyPrompts(Candidate.load(directory), {}, str(directory), None)
    raise ConfigError(f"{directory} holds neither a study (journal.jsonl) nor saved prompts (candidate.json)")


def _known(name: str, prompt: Prompt, program: Program, lm: LM | None) -> Part:
    try:
        predictor = program.predictor(name)
    except KeyError as error:  # pragma: no cover - `check` has refused it
        raise CandidateError(f"{program.name} has no predictor {name!r}") from error
    signature = predictor.signature
    schema = lm is not None and lm.supports_schema and not lm.supports_grammar
    names = {entry.name for entry in signature.inputs}
    defaults = {
        parameter.name: value_to_json(parameter.default)
        for parameter in inspect.signature(predictor.function).parameters.values()
        if parameter.name in names and parameter.default is not parameter.empty
    }
    return Part(
        name,
        prompt,
        signature,
        exact=True,
        json_form=uses_json(signature, schema=schema),
        defaults=defaults,
        options=_settings(predictor.settings) if lm is None else _body(signature, prompt, lm, predictor.settings),
    )


def _body(signature: Signature, prompt: Prompt, lm: LM, settings: CallSettings) -> dict[str, Any]:
    """Return a request's body as the client would send it, without what differs from call to call."""
    if lm.address is None:
        return _settings(settings)
    request = render(signature, prompt, {}, lm=lm, settings=settings)
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
    first = prompt.demos[0] if prompt.demos else Demo({"input": ""}, {"output": ""})
    inputs, outputs = found.fields.get(name) or (tuple(first.inputs), tuple(first.outputs))
    signature = Signature(
        name=name,
        instruction=prompt.instruction,
        inputs=tuple(Field(each, str) for each in inputs),
        outputs=tuple(Field(each, str) for each in outputs),
        reasoning=any(demo.reasoning is not None for demo in prompt.demos),
        result=str,
    )
    return Part(name, prompt, signature, exact=False, json_form=uses_json(signature))
