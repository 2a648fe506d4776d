"""One predictor call: from bound inputs to the LM and back, noted in the trace."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from luthier.errors import Unparseable
from luthier.lm.engine import engine, loop_is_running
from luthier.lm.request import Completion, Request
from luthier.program.badly import badly
from luthier.program.candidate import Demo, Prompt
from luthier.program.component import value_in
from luthier.program.context import Run
from luthier.program.parse import parse
from luthier.program.render import messages, render, text
from luthier.program.trace import Call
from luthier.program.values import result_to_outputs, value_to_json

if TYPE_CHECKING:
    from luthier.lm.lm import LM
    from luthier.program.predictor import Predictor


@dataclass(slots=True)
class PendingCall:
    """A predictor call whose body is running."""

    predictor: Predictor[..., Any]
    inputs: Mapping[str, Any]
    run: Run
    index: int
    """The how-manieth call of this predictor in the run."""
    answered: bool = False
    """Whether ``lt.predict`` has made the call, so that the body's value is not the outputs."""

    @property
    def lm(self) -> LM:
        """The LM that answers it."""
        return self.run.lm_of(self.predictor)

    @property
    def prompt(self) -> Prompt:
        """The prompt of the run's candidate, or the original.

        Raises:
            CandidateError: the prompt was made for another signature.
        """
        return value_in(self.run.candidate, self.predictor)


pending_call: contextvars.ContextVar[PendingCall | None] = contextvars.ContextVar("luthier_call", default=None)
"""The call whose body runs in this context."""


@dataclass(frozen=True, slots=True)
class BoundPrompt:
    """The current prompt of a predictor that makes its own call."""

    predictor: Predictor[..., Any]
    inputs: Mapping[str, Any]
    instruction: str
    demos: tuple[Demo, ...]

    def messages(self, **inputs: Any) -> list[dict[str, str]]:
        """Return chat messages as OpenAI-compatible clients take them; inputs left out are those of the call."""
        given, wording = {**self.inputs, **inputs}, self.predictor.template
        turns = messages(self.predictor.signature, self._prompt, given, wording=wording)
        return [{"role": turn.role, "content": turn.text} for turn in turns]

    def text(self, **inputs: Any) -> str:
        """Return the prompt as one text for a base model to continue; inputs left out are those of the call."""
        given, wording = {**self.inputs, **inputs}, self.predictor.template
        return text(self.predictor.signature, self._prompt, given, wording=wording)

    def parse(self, answer: str) -> Any:
        """Return the value that an answer to these messages gives.

        Raises:
            Unparseable: the answer is not in the form asked.
        """
        return parse(self.predictor.signature, Completion(answer)).value

    @property
    def _prompt(self) -> Prompt:
        return Prompt(self.instruction, self.demos)


def call_lm(call: PendingCall) -> Any:
    """Ask the LM, wait, and return the predictor's value.

    Raises:
        Unparseable, LMError, BudgetExhausted, StudyPaused: as they come.
    """
    request = _request(call)
    run = call.run
    if loop_is_running():
        # Outside a study a notebook's cell may block its own loop; the engine has another one.
        call.lm.identity  # noqa: B018 - found here, because hashing weights would hold up the engine
        with _pending(call):
            completion = engine().submit(run.gateway.complete(call.lm, request, run.role)).result()
    else:
        with run.asking(), _pending(call):
            completion = run.gateway.complete_blocking(call.lm, request, run.role)
    return _finish(call, completion)


async def acall_lm(call: PendingCall) -> Any:
    """Ask the LM and return the predictor's value.

    Raises:
        Unparseable, LMError, BudgetExhausted, StudyPaused: as they come.
    """
    request = _request(call)
    with call.run.asking(), _pending(call):
        completion = await call.run.gateway.complete(call.lm, request, call.run.role)
    return _finish(call, completion)


def record_own(call: PendingCall, value: Any) -> None:
    """Note a call that the predictor's body made itself: what it returned is its outputs."""
    outputs, reasoning = result_to_outputs(call.predictor.signature, value)
    call.run.record(
        Call(
            call.predictor.name,
            call.index,
            _inputs_json(call),
            outputs,
            reasoning,
            text=value if isinstance(value, str) else "",
            finish_reason="stop",
            usage=None,
        )
    )


def record_unparseable(call: PendingCall, error: Unparseable) -> None:
    """Note a call whose body could not read the answer."""
    _record_failure(call, Completion(error.text, "other"), error)


@contextmanager
def _pending(call: PendingCall) -> Iterator[None]:
    """Let who watches the call to the LM see whose it is, also where the predictor has no body."""
    token = pending_call.set(call)
    try:
        yield
    finally:
        pending_call.reset(token)


def _request(call: PendingCall) -> Request:
    call.answered = True
    run, predictor = call.run, call.predictor
    settings = predictor.settings
    if run.temperature is not None:
        settings = replace(settings, temperature=run.temperature)
    request = render(
        predictor.signature, call.prompt, call.inputs, lm=call.lm, settings=settings, wording=predictor.template
    )
    if not request.temperature and not run.anew:
        return request
    number = run.sample(predictor.name, lambda: request.key(call.lm.identity))
    return replace(request, sample=number)


def _finish(call: PendingCall, completion: Completion) -> Any:
    try:
        parsed = parse(call.predictor.signature, completion)
    except Unparseable as error:
        _record_failure(call, completion, error)
        raise
    call.run.record(
        Call(
            call.predictor.name,
            call.index,
            _inputs_json(call),
            parsed.outputs,
            parsed.reasoning,
            completion.text,
            completion.finish_reason,
            completion.usage,
            badly=badly(completion, call.predictor.signature, call.lm),
            lm=call.lm.identity,
        )
    )
    return parsed.value


def _record_failure(call: PendingCall, completion: Completion, error: Unparseable) -> None:
    call.run.record(
        Call(
            call.predictor.name,
            call.index,
            _inputs_json(call),
            None,
            None,
            completion.text,
            completion.finish_reason,
            completion.usage,
            error=str(error),
            badly=badly(completion, call.predictor.signature, call.lm),
            lm=call.lm.identity,
        )
    )


def _inputs_json(call: PendingCall) -> dict[str, Any]:
    return {name: value_to_json(value) for name, value in call.inputs.items()}
