"""One predictor call: from bound inputs to the LM and back, noted in the trace."""

from __future__ import annotations

import contextvars
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from luthier.errors import ConfigError, Unparseable
from luthier.lm.engine import engine, loop_is_running
from luthier.lm.lm import LM
from luthier.lm.request import Completion, Request, Usage, total_usage, usage_of
from luthier.lm.turns import message_body
from luthier.program.answer_problems import problems_of
from luthier.program.candidate import Demo, Prompt
from luthier.program.component import Component, value_in
from luthier.program.context import Run
from luthier.program.lms import Answered
from luthier.program.offered import Offered, Reply, offers
from luthier.program.parse import Parsed, parse
from luthier.program.render import CallSettings, messages, render, text
from luthier.program.signature import Signature
from luthier.program.thoughts import cut_by_thinking, without_thoughts
from luthier.program.trace import Call
from luthier.program.values import input_text, result_to_outputs, value_to_json
from luthier.program.wording import Wording


class Callee(Component, Answered, Protocol):
    """A predictor, as far as a call of it goes."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def signature(self) -> Signature:
        """Its inputs and outputs."""
        ...

    @property
    def settings(self) -> CallSettings:
        """What its decorator says of the LM's sampling."""
        ...

    @property
    def template(self) -> Wording | None:
        """Its own wording of the prompt."""
        ...

    @property
    def tools(self) -> tuple[Offered, ...]:
        """What its LM may call."""
        ...

    @property
    def is_async(self) -> bool:
        """Whether its body is."""
        ...


@dataclass(slots=True)
class PendingCall:
    """A predictor call whose body is running."""

    predictor: Callee
    inputs: Mapping[str, Any]
    run: Run
    index: int
    """Which call of this predictor in the run it is, from 0."""
    tools: tuple[Offered, ...] = ()
    """Those that ``lt.predict`` was given; else the predictor's own are offered."""
    answered: bool = False
    """Whether ``lt.predict`` has made the call, so that the body's value is not the outputs."""
    own: list[tuple[LM, Completion]] = field(default_factory=list)
    """What clients of the user's were answered while the body ran, in order of arrival."""
    declared: Usage | None = None
    """What the body says that it used, ``lt.prompt().used(...)``."""

    unseen: bool = False
    """Whether a client of the user's made a call that leaves no bill."""

    @property
    def usage(self) -> Usage | None:
        """What the body's own calls used, None where nothing was seen of any."""
        return total_usage(list(self.by_lm.values())) if self.own or self.declared is not None else None

    @property
    def by_lm(self) -> dict[str, Usage]:
        """The same by the LM's identity; what was declared is the run's LM's."""
        found: dict[str, Usage] = {}
        declared = [] if self.declared is None else [(self.lm, self.declared)]
        for lm, usage in (*((lm, usage_of(completion)) for lm, completion in self.own), *declared):
            found[lm.identity] = found.get(lm.identity, Usage()) + usage
        return found

    def declare(self, usage: Usage) -> None:
        """Note and charge what the body says that it used."""
        self.declared = usage if self.declared is None else self.declared + usage
        if not self.run.ambient:
            self.run.gateway.declare(self.lm, usage, self.run.role)

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


@contextmanager
def own_body(call: PendingCall) -> Iterator[None]:
    """Make a call the current one while its body runs, and note what becomes of it where the body raises.

    Raises:
        Unparseable: the body did, or it could not go on since the LM refused the prompt.
    """
    token = pending_call.set(call)
    noted = False
    try:
        yield
        noted = not call.answered  # by ``record_own``
    except Unparseable as error:
        if not call.answered:
            _record_own_failure(call, error)
            noted = True
        raise
    except Exception as error:
        refused = call.own[-1][1] if call.own else None
        if call.answered or refused is None or refused.refusal is None:
            raise
        name = call.predictor.name
        said = Unparseable(f"the LM refused: {refused.refusal}", text=refused.text, predictor=name, refused=True)
        _record_own_failure(call, said)
        noted = True
        raise said from error
    finally:
        pending_call.reset(token)
        for lm, usage in call.by_lm.items() if not noted else ():
            call.run.note_outside(lm, usage)


pending_call: contextvars.ContextVar[PendingCall | None] = contextvars.ContextVar("luthier_call", default=None)
"""The call whose body runs in this context."""


@dataclass(frozen=True, slots=True)
class BoundPrompt:
    """The current prompt of a predictor that makes its own call."""

    predictor: Callee
    inputs: Mapping[str, Any]
    instruction: str
    demos: tuple[Demo, ...]

    def messages(self, **inputs: Any) -> list[Any]:
        """Return chat messages as OpenAI-compatible clients take them; inputs left out are those of the call.

        Each is a mapping with ``role`` and ``content``; every client has a type of its own for it.
        """
        given, wording = {**self.inputs, **inputs}, self.predictor.template
        turns = messages(self.predictor.signature, self._prompt, given, wording=wording)
        return [message_body(turn) for turn in turns]

    def demo_messages(
        self,
        user: Callable[[Mapping[str, Any]], Any] | None = None,
        assistant: Callable[[Mapping[str, Any]], Any] | None = None,
    ) -> list[Any]:
        """Return the demos as user and assistant turns, to stand before the last user turn of messages of your own.

        Args:
            user: from a demo's inputs to what the user said; None: the only input as it is, several as lines.
            assistant: from its outputs to what was answered; None: the only output as it is, several as JSON.
        """
        asked, answered = user or _only_or_lines, assistant or _only_or_json
        return [
            turn
            for demo in self.demos
            for turn in (
                {"role": "user", "content": asked(demo.inputs)},
                {"role": "assistant", "content": answered(demo.outputs)},
            )
        ]

    def text(self, **inputs: Any) -> str:
        """Return the prompt as one text for a base model to continue; inputs left out are those of the call."""
        given, wording = {**self.inputs, **inputs}, self.predictor.template
        return text(self.predictor.signature, self._prompt, given, wording=wording)

    def used(
        self, prompt_tokens: int = 0, completion_tokens: int = 0, *, cached_tokens: int = 0, calls: int = 1
    ) -> None:
        """Say what the body's own calls used, where their client cannot be connected (``lt.connect``).

        It is charged at the price of the predictor's LM.

        Raises:
            ConfigError: not inside the body that asked for this prompt.
        """
        call = pending_call.get()
        if call is None or call.predictor != self.predictor:
            raise ConfigError(f"lt.prompt().used() answers only inside the body of predictor {self.predictor.name!r}")
        call.declare(Usage(prompt_tokens, completion_tokens, cached_tokens, calls))

    def parse(self, answer: str) -> Any:
        """Return the value that an answer to these messages gives.

        Raises:
            Unparseable: the answer is not in the form asked.
        """
        return read_answer(self.predictor.signature, Completion(answer)).value

    @property
    def _prompt(self) -> Prompt:
        return Prompt(self.instruction, self.demos)


def _only_or_lines(inputs: Mapping[str, Any]) -> str:
    texts = {name: input_text(value_to_json(value)) for name, value in inputs.items()}
    return next(iter(texts.values())) if len(texts) == 1 else "\n".join(f"{name}: {t}" for name, t in texts.items())


def _only_or_json(outputs: Mapping[str, Any]) -> str:
    values = {name: value_to_json(value) for name, value in outputs.items()}
    only = next(iter(values.values())) if len(values) == 1 else values
    return only if isinstance(only, str) else json.dumps(only, ensure_ascii=False)


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
    lm, last = call.own[-1] if call.own else (call.lm, Completion(value if isinstance(value, str) else ""))
    usage, by_lm = call.usage, call.by_lm
    call.run.record(
        Call(
            call.predictor.name,
            call.index,
            _inputs_json(call),
            outputs,
            reasoning,
            text=last.text,
            finish_reason=last.finish_reason,
            usage=usage,
            badly=problems_of(last, call.predictor.signature, lm) if call.own else (),
            lm="" if usage is None else lm.identity,
            by_lm=by_lm if len(by_lm) > 1 else {},
            unmetered=usage is None or call.unseen,
        )
    )


def note_own(run: Run, lm: LM, completion: Completion) -> None:
    """Note what a client of the user's was answered: it is the predictor's whose body runs, or the program's."""
    call = pending_call.get()
    if call is not None and call.run is run:
        call.own.append((lm, completion))
    else:
        run.note_outside(lm.identity, usage_of(completion))


def note_unseen(run: Run) -> None:
    """Note a call of a client of the user's that leaves no bill: it counts as unmetered."""
    call = pending_call.get()
    if call is not None and call.run is run:
        call.unseen = True
    else:
        run.trace.unseen = True


def own_predictor() -> str:
    """Return the name of the predictor whose body runs, "" outside of any."""
    call = pending_call.get()
    return "" if call is None else call.predictor.name


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
    run, predictor, identity = call.run, call.predictor, call.lm.identity
    settings = predictor.settings
    if run.temperature is not None and call.lm.temperature is not None:
        settings = replace(settings, temperature=run.temperature)
    request = render(
        predictor.signature, call.prompt, call.inputs, lm=call.lm, settings=settings, wording=predictor.template
    )
    if tools := offers(call.tools or predictor.tools):
        request = replace(request, tools=tools)

    @functools.cache  # whoever learns that a server refuses several settings draws again for each, the same
    def number() -> int:
        return run.sample(predictor.name, lambda: request.key(identity))

    if request.temperature == 0 and not run.bypass_cache:
        return replace(request, draw=number)
    return replace(request, sample=number())


def _finish(call: PendingCall, completion: Completion) -> Any:
    try:
        parsed = read_answer(call.predictor.signature, completion)
    except Unparseable as error:
        error.refused = completion.refusal is not None or completion.finish_reason == "content_filter"
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
            badly=problems_of(completion, call.predictor.signature, call.lm),
            lm=call.lm.identity,
        )
    )
    return parsed.value


def read_answer(signature: Signature, completion: Completion) -> Parsed:
    """Return what an answer says; where the predictor takes it as it is, all of it, tool calls included.

    Raises:
        Unparseable: it is not in the form asked, is cut, or was refused.
    """
    if not signature.is_free:
        return parse(signature, completion)
    if completion.refusal is not None or completion.finish_reason in ("length", "content_filter"):
        why = completion.refusal or completion.finish_reason
        said = f"the answer to {signature.name!r} is not whole: {why}{cut_by_thinking(completion)}"
        raise Unparseable(said, text=completion.text, predictor=signature.name)
    reply = Reply(without_thoughts(completion.text), completion.tool_calls)
    return Parsed({signature.outputs[0].name: reply.luthier_json()}, None, reply)


def _record_own_failure(call: PendingCall, error: Unparseable) -> None:
    lm, last = call.own[-1] if call.own else (call.lm, Completion(error.text, "other"))
    _record_failure(call, replace(last, usage=call.usage), error, lm)


def _record_failure(call: PendingCall, completion: Completion, error: Unparseable, lm: LM | None = None) -> None:
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
            badly=problems_of(completion, call.predictor.signature, call.lm if lm is None else lm),
            lm=(call.lm if lm is None else lm).identity,
            unmetered=lm is not None and completion.usage is None,
        )
    )


def _inputs_json(call: PendingCall) -> dict[str, Any]:
    return {name: value_to_json(value) for name, value in call.inputs.items()}
