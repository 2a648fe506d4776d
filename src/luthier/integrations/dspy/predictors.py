"""DSPy's predictors as luthier's: their signatures, their demos, and a call that takes the candidate's prompt."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from luthier.integrations.dspy.engine import run_here
from luthier.integrations.foreign import ForeignPredictor, Noted, calling
from luthier.lm.lm import LM
from luthier.program.candidate import Candidate, Demo, DemoSource, Prompt, Provenance
from luthier.program.output_type import shape_of
from luthier.program.shape import type_text
from luthier.program.signature import REASONING, Field, Signature
from luthier.program.values import value_to_json

_BINDING = "_luthier_predictor"
_BLAME = "_luthier_blamed"
_MEDIA = tuple(getattr(dspy, name) for name in ("Image", "Audio", "File") if hasattr(dspy, name))
_OWN_WORDS = ("signature", "demos")


def foreign_predictors(module: Any, lms: Mapping[int, LM]) -> dict[str, ForeignPredictor]:
    """Return a predictor for every ``dspy.Predict`` that DSPy itself would tune, by DSPy's name for it.

    Args:
        module: the program.
        lms: luthier's LM for each DSPy LM that a part has of its own, by its id.
    """
    return {
        name: ForeignPredictor(
            signature_of(predict.signature, name), _original(predict), _nearest(module, name), lms.get(id(predict.lm))
        )
        for name, predict in module.named_predictors()
    }


def bind_predictors(module: Any, predictors: Mapping[str, ForeignPredictor]) -> None:
    """Have the predictors of a module, a copy of the user's, take their prompts from the run's candidate."""
    for name, predict in module.named_predictors():
        vars(predict)[_BINDING] = predictors[name]
        kind: Any = type(predict)
        predict.__class__ = _tuned_class(kind)


def signature_of(signature: Any, name: str) -> Signature:
    """Return a DSPy signature as luthier's; an output called ``reasoning`` before others is what the LM thinks."""
    outputs = dict(signature.output_fields)
    reasoning = len(outputs) > 1 and next(iter(outputs)) == REASONING
    if reasoning:
        del outputs[REASONING]
    return Signature(
        name,
        signature.instructions,
        tuple(_field(known, info) for known, info in signature.input_fields.items()),
        tuple(_field(known, info) for known, info in outputs.items()),
        reasoning,
        dict,
    )


def tuned(student: Any, candidate: Candidate) -> Any:
    """Return a copy of a DSPy program with a candidate's prompts; the program itself stays as it is.

    A predictor that the candidate does not name, or gives its original prompt, keeps what it has.
    """
    made = student.deepcopy()
    for name, predict in made.named_predictors():
        prompt = candidate.prompts.get(name)
        if prompt is None or prompt == _original(predict):
            continue
        predict.signature = predict.signature.with_instructions(prompt.instruction)
        predict.demos = [dspy.Example(**demo) for demo in dspy_demos(prompt, marked=True)]
    return made


def dspy_demos(prompt: Prompt, *, marked: bool = False) -> list[dict[str, Any]]:
    """Return a prompt's demos as DSPy holds them; ``marked`` says of bootstrapped ones that they are augmented."""
    demos = []
    for demo in prompt.demos:
        own = {**demo.inputs, **({} if demo.reasoning is None else {REASONING: demo.reasoning}), **demo.outputs}
        traced = demo.provenance is not None and demo.provenance.source is DemoSource.BOOTSTRAPPED
        demos.append({"augmented": True, **own} if marked and traced else own)
    return demos


def blamed(error: BaseException) -> str:
    """Return the name of the predictor whose answer could not be read."""
    return str(getattr(error, _BLAME, ""))


@functools.cache
def _tuned_class(kind: Any) -> Any:
    """Return a class of predictors that is ``kind`` in all but its call."""

    def forward(self: Any, **kwargs: Any) -> Any:
        call = _prepared(self, kwargs)
        if call is None:
            return kind.forward(self, **kwargs)
        with call.noted() as noted:
            prediction = kind.forward(self, **call.kwargs)
            call.note(noted, prediction)
        return prediction

    async def aforward(self: Any, **kwargs: Any) -> Any:
        call = _prepared(self, kwargs)
        if call is None:
            return await kind.aforward(self, **kwargs)
        with call.noted() as noted:
            prediction = await kind.aforward(self, **call.kwargs)
            call.note(noted, prediction)
        return prediction

    made = type(kind.__name__, (kind,), {"forward": forward, "aforward": aforward})
    made.__module__, made.__qualname__ = kind.__module__, kind.__qualname__
    return made


class _Call:
    """A predictor's call under the candidate of its run."""

    def __init__(self, predict: Any, predictor: ForeignPredictor, run: Any, kwargs: Mapping[str, Any]) -> None:
        self._predictor = predictor
        self._run = run
        self._inputs = kwargs
        prompt = predictor.prompt_in(run)
        self.kwargs = dict(kwargs)
        if prompt is not predictor.original and prompt != predictor.original:
            self.kwargs["signature"] = _instructed(predict.signature, prompt.instruction)
            self.kwargs["demos"] = dspy_demos(prompt)

    def noted(self) -> Any:
        return calling(self._predictor, self._inputs, self._run, functools.partial(_unreadable, self._predictor.name))

    def note(self, noted: Noted, prediction: Any) -> None:
        signature = self._predictor.signature
        given = {field.name: value_to_json(prediction.get(field.name)) for field in signature.outputs}
        noted.outputs = given
        if signature.reasoning:
            thought = prediction.get(REASONING)
            noted.reasoning = None if thought is None else str(getattr(thought, "content", None) or thought)


def _prepared(predict: Any, kwargs: Mapping[str, Any]) -> _Call | None:
    """Return the call to be made; None outside a study, and where the program itself says with which prompt."""
    run = run_here()
    if run is None or any(word in kwargs for word in _OWN_WORDS):
        return None
    return _Call(predict, vars(predict)[_BINDING], run, kwargs)


@functools.lru_cache(maxsize=4096)
def _instructed(signature: Any, instruction: str) -> Any:
    # DSPy makes a class of it, which takes longer than the rest of a call.
    return signature.with_instructions(instruction)


def _unreadable(name: str, error: Exception) -> str | None:
    if not isinstance(error, AdapterParseError):
        return None
    setattr(error, _BLAME, getattr(error, _BLAME, name))
    return str(error.lm_response)


def _original(predict: Any) -> Prompt:
    signature = signature_of(predict.signature, "")
    return Prompt(signature.instruction, tuple(_demo(demo, signature) for demo in predict.demos))


def _demo(demo: Any, signature: Signature) -> Demo:
    held = dict(demo.items())
    source = DemoSource.BOOTSTRAPPED if held.get("augmented") else DemoSource.WRITTEN
    reasoning = held.get(REASONING) if signature.reasoning else None

    def part(fields: Sequence[Field]) -> dict[str, Any]:
        return {field.name: value_to_json(held[field.name]) for field in fields if field.name in held}

    thought = None if reasoning is None else str(reasoning)
    return Demo(part(signature.inputs), part(signature.outputs), thought, Provenance(source))


def _field(name: str, info: Any) -> Field:
    annotation = info.annotation
    said = (info.json_schema_extra or {}).get("desc") or ""
    shape = shape_of(annotation, strict=False)
    return Field(
        name,
        annotation,
        "" if said == f"${{{name}}}" else said,
        private=_is_media(annotation),
        choices=tuple(choice.text for choice in shape.choices),
        type_text=type_text(annotation),
    )


def _is_media(annotation: Any) -> bool:
    # An image's bytes belong neither into a proposer's prompt nor into a report.
    if isinstance(annotation, type) and issubclass(annotation, _MEDIA):
        return True
    return any(_is_media(argument) for argument in typing.get_args(annotation))


def _nearest(module: Any, name: str) -> types.FunctionType:
    """Return the ``forward`` of the user's module that holds a predictor, as near to it as possible."""
    owner: Any = module
    found = module
    for part in name.split(".")[:-1]:
        owner = getattr(owner, part.split("[")[0], None)
        if not isinstance(owner, dspy.Module):
            break
        if is_users(type(owner)):
            found = owner
    return own_forward(type(found))


def own_forward(kind: type) -> types.FunctionType:
    """Return the function of a module's class that runs it, the sync one where there are both."""
    for name in ("forward", "aforward"):
        function = getattr(kind, name, None)
        if isinstance(function, types.FunctionType):
            return function
    raise TypeError(f"{kind.__qualname__} has neither forward nor aforward")


def is_users(kind: type) -> bool:
    """Whether a module's class is the user's, not DSPy's."""
    return not (kind.__module__ == "dspy" or kind.__module__.startswith("dspy."))
