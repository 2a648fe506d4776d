"""The predictor: one LM call of the user's program, whose prompt is tuned."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from luthier.errors import ConfigError, SignatureError
from luthier.lm.engine import loop_is_running, open_studies
from luthier.lm.lm import LM
from luthier.program.body import Body, body_of
from luthier.program.call import (
    BoundPrompt,
    PendingCall,
    acall_lm,
    call_lm,
    own_body,
    pending_call,
    record_own,
)
from luthier.program.candidate import Kind, Prompt
from luthier.program.context import current_run, lost_calls, outside_run
from luthier.program.inputs import normal_inputs
from luthier.program.inspect_signature import (
    input_parameters,
    local_qualname,
    signature_of,
    takes_instance,
)
from luthier.program.offered import Offered
from luthier.program.render import CallSettings
from luthier.program.signature import Signature
from luthier.program.spec import Spec, lm_of, stops_of
from luthier.program.text import Guard
from luthier.program.wording import Wording
from luthier.types import AUTO, Auto

__all__ = ["AUTO", "BoundPredictor", "Predictor", "predict", "predictor", "prompt"]

_OUTSIDE = (
    "predictor {!r} was called outside of any run: use `with lt.use(lm): ...`, or call the program through "
    "lt.bind(program, lm=lm), which works from any thread. A thread that the program starts itself needs its context: "
    "pool.submit(contextvars.copy_context().run, ...), or as the target of threading.Thread"
)

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")


@overload
def predictor(fn: Callable[P, R], /) -> Predictor[P, R]: ...


@overload
def predictor(
    *,
    name: str | None = None,
    instruction: str | Auto | None = None,
    reasoning: bool = False,
    output: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    top_p: float | None = None,
    stop: str | Iterable[str] | None = None,
    lm: LM | str | None = None,
    template: Wording | None = None,
    tools: Iterable[Offered] = (),
) -> Callable[[Callable[P, R]], Predictor[P, R]]: ...


def predictor(  # noqa: PLR0913 - one decorator with keywords is what users want to write
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    instruction: str | Auto | None = None,
    reasoning: bool = False,
    output: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    top_p: float | None = None,
    stop: str | Iterable[str] | None = None,
    lm: LM | str | None = None,
    template: Wording | None = None,
    tools: Iterable[Offered] = (),
) -> Any:
    """Make a function, sync or async, or a method one tunable LM call.

    Luthier makes the call where the body is a docstring alone, ``...``, or returns ``lt.predict()``; any other body
    makes its own and asks ``lt.prompt()`` for the current prompt.

    Args:
        fn: the function, when the decorator is used without parentheses.
        name: the predictor's name; the function's, or ``Class.method``, when left out.
        instruction: the original instruction; the docstring when left out. ``lt.AUTO`` derives one.
        reasoning: have the LM think before it answers.
        output: the name of the single output field; the function's when left out.
        temperature: overrules the LM's, as do the next three.
        max_tokens: the longest answer.
        top_p: nucleus sampling.
        stop: where the answer ends.
        lm: who answers it, where a run does not say so by the predictor's name; the run's LM when left out.
        template: all words of the prompt (``lt.Template``); then there is no instruction, and only the template's
            regions are tuned, and demos where it says where they go.
        tools: what the LM may call (``lt.tool``); then the function returns ``lt.Reply``.

    Raises:
        SignatureError: there is no instruction, or an output's type is not supported.
    """
    settings = CallSettings(temperature, max_tokens, top_p, stops_of(stop))
    if template is not None:
        if instruction is not None:
            raise SignatureError("a predictor with a template has no instruction: the words are all the template's")
        instruction = ""
    spec = Spec(name, instruction, reasoning, output, settings, lm_of(lm), template, tuple(tools))
    names_around = sys._getframe(1).f_locals

    def decorate(function: Callable[P, R]) -> Predictor[P, R]:
        return Predictor(function, spec, names_around)

    return decorate if fn is None else decorate(fn)


def predict(*, tools: Iterable[Offered] = ()) -> T:  # type: ignore[type-var]
    """Make the predictor's call, offering ``tools`` to its LM, or else the predictor's own.

    In an ``async def`` body the result may be awaited or returned as it is.

    Strict type checkers refuse to return ``Any`` as ``str``; so the type is what the body is declared to return.

    Raises:
        ConfigError: not inside a predictor's body.
        Unparseable, LMError, BudgetExhausted, StudyPaused: the call failed.
    """
    call = _pending("predict")
    if current_run() is None:
        raise ConfigError(_OUTSIDE.format(call.predictor.name))
    if call.answered:
        # A second call from one body is a call of its own.
        call.index = call.run.begin(call.predictor)
    call.answered, call.tools = True, tuple(tools)
    return cast("T", acall_lm(call) if call.predictor.is_async else call_lm(call))


def prompt() -> BoundPrompt:
    """Return the current prompt of the predictor whose body asks, for a body that makes its own call.

    Raises:
        ConfigError: not inside a predictor's body.
    """
    call = _pending("prompt")
    current = call.prompt
    return BoundPrompt(call.predictor, call.inputs, current.instruction, current.demos)


class Predictor(Generic[P, R]):
    """One LM call of a program. Called like the function it was made from, and typed like it."""

    lm: LM | None = None
    """The LM it brings along; None: the run's."""
    template: Wording | None = None
    """The words of its prompt, where they are a template's."""
    tools: tuple[Offered, ...] = ()
    """What its LM may call."""
    guard: Guard = Guard()
    """What a proposed instruction must keep to."""

    def __init__(self, function: Callable[P, R], spec: Spec, names_around: Mapping[str, Any] | None = None) -> None:
        if not inspect.isfunction(function):
            raise SignatureError(f"{function!r} is no function; write @staticmethod above @lt.predictor, not below")
        functools.update_wrapper(self, function)
        self._function = function
        self._spec = spec
        self._takes_instance = takes_instance(function)
        self._parameters = inspect.signature(function)
        self.name = local_qualname(function) if spec.name is None else spec.name
        """Its name: the one given, the function's, or ``Class.method``."""
        self.settings = spec.settings
        """Its sampling settings."""
        self.lm = spec.lm
        self.template = spec.template
        self.tools = spec.tools
        self.is_async = inspect.iscoroutinefunction(function)
        """Whether a call is awaited."""
        self._body = body_of(function)
        input_parameters(function, self.name)
        self._signature: Signature | None = None
        try:
            self._signature = self._inspect(names_around)
        except NameError:
            # An annotation names something defined further down; it is looked up at first use.
            self._signature = None

    @property
    def makes_own_call(self) -> bool:
        """Whether its body makes the call, and not luthier."""
        return self._body is Body.OWN

    @property
    def is_empty(self) -> bool:
        """Whether it has no body but its docstring."""
        return self._body is Body.EMPTY

    @property
    def function(self) -> Callable[P, R]:
        """The function it was made from."""
        return self._function

    @property
    def signature(self) -> Signature:
        """Its fields and its original instruction.

        Raises:
            SignatureError: an annotation names what does not exist.
        """
        if self._signature is None:
            try:
                self._signature = self._inspect(None)
            except NameError as error:
                raise SignatureError(f"predictor {self.name!r}: {error}") from error
        return self._signature

    @property
    def kind(self) -> Kind:
        """What its value is: an instruction with demos, or what a template leaves of that."""
        if self.template is None:
            return Kind.INSTRUCTION if self.signature.is_free else Kind.PROMPT
        return Kind.DEMOS if self.template.takes_demos else Kind.FIXED

    @functools.cached_property
    def original(self) -> Prompt:
        """Its prompt before any tuning."""
        return Prompt(self.signature.instruction, kind=self.kind)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Identifies the signature that prompts are made for."""
        return self.signature.fingerprint

    def named(
        self,
        name: str,
        *,
        instruction: str | Auto | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        top_p: float | None = None,
        stop: str | Iterable[str] | None = None,
        lm: LM | str | None = None,
    ) -> Predictor[P, R]:
        """Return a predictor of the same signature under another name, tuned apart; what is left out stays."""
        old = self._spec.settings
        settings = CallSettings(
            old.temperature if temperature is None else temperature,
            old.max_tokens if max_tokens is None else max_tokens,
            old.top_p if top_p is None else top_p,
            old.stop if stop is None else stops_of(stop),
        )
        kept = self._spec.instruction if instruction is None else instruction
        own = self._spec.lm if lm is None else lm_of(lm)
        spec = replace(self._spec, name=name, instruction=kept, settings=settings, lm=own)
        twin: Predictor[P, R] = Predictor(self._function, spec)
        if twin._signature is None and self._signature is not None and instruction is None:
            twin._signature = replace(self._signature, name=name)
        return twin

    def __eq__(self, other: object) -> bool:
        # What `named` makes again in every run of a loop is one predictor.
        if not isinstance(other, Predictor):
            return NotImplemented
        return self._function is other._function and self.name == other.name and self._spec == other._spec

    def __hash__(self) -> int:
        return hash((id(self._function), self.name))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the predictor in the current run.

        Raises:
            ConfigError: there is no run, or the call would block a running loop inside an evaluation.
        """
        if self.is_async:
            return cast(R, self._run_async(args, kwargs))
        return self._run(args, kwargs)

    @overload
    def __get__(self, instance: None, owner: type) -> Predictor[P, R]: ...

    @overload
    def __get__(
        self: Predictor[Concatenate[Any, Q], R], instance: object, owner: type | None = None
    ) -> BoundPredictor[Q, R]: ...

    def __get__(self, instance: object | None, owner: type | None = None) -> Any:
        """Bind the predictor to the instance it is a method of."""
        if instance is None or not self._takes_instance:
            return self
        return BoundPredictor(cast("Predictor[..., Any]", self), instance)

    def __repr__(self) -> str:
        return f"<predictor {self.name}>"

    def _inspect(self, names_around: Mapping[str, Any] | None) -> Signature:
        spec = self._spec
        return signature_of(
            self._function,
            name=self.name,
            instruction=spec.instruction,
            reasoning=spec.reasoning,
            output=spec.output,
            strict=self._body is not Body.OWN,
            local_names=names_around,
        )

    def _begin(self, args: Any, kwargs: Any) -> PendingCall:
        run = current_run()
        if run is None and self.makes_own_call and not open_studies:
            run = outside_run()  # nobody listens, so the body works as it did before it was a predictor
        if run is None:
            lost = ConfigError(_OUTSIDE.format(self.name))
            lost_calls.note(self.name, lost)
            raise lost
        if not self.is_async and not run.ambient and loop_is_running():
            raise ConfigError(
                f"predictor {self.name!r} is sync, but was called on a running event loop, which it would block: "
                "make it async (`async def`, and await it)"
            )
        try:
            bound = self._parameters.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"predictor {self.name!r}: {error}") from None
        bound.apply_defaults()
        inputs = dict(bound.arguments)
        if self._takes_instance:
            del inputs[next(iter(self._parameters.parameters))]
        inputs = normal_inputs(self.signature.inputs, inputs)
        return PendingCall(cast("Predictor[..., Any]", self), inputs, run, run.begin(cast("Predictor[..., Any]", self)))

    def _run(self, args: Any, kwargs: Any) -> R:
        call = self._begin(args, kwargs)
        if self._body is Body.EMPTY:
            return cast(R, call_lm(call))
        with own_body(call):
            value = self._function(*args, **kwargs)
        if not call.answered:
            record_own(call, value)
        return cast(R, value)

    async def _run_async(self, args: Any, kwargs: Any) -> Any:
        call = self._begin(args, kwargs)
        if self._body is Body.EMPTY:
            return await acall_lm(call)
        with own_body(call):
            value = await cast("Coroutine[Any, Any, Any]", self._function(*args, **kwargs))
            if inspect.isawaitable(value):  # `return lt.predict()`, not awaited
                value = await value
        if not call.answered:
            record_own(call, value)
        return value


class BoundPredictor(Generic[P, R]):
    """A predictor that is a method, bound to its instance."""

    def __init__(self, predictor: Predictor[..., Any], instance: object) -> None:
        self.predictor = predictor
        """The predictor itself."""
        self.instance = instance
        """What it is bound to."""
        self.name = predictor.name
        """Its name."""

    @property
    def signature(self) -> Signature:
        """The predictor's signature."""
        return self.predictor.signature

    @property
    def __signature__(self) -> inspect.Signature:
        """The method's parameters without its instance: what ``inspect`` tells a program's inputs by."""
        whole = inspect.signature(self.predictor)
        return whole.replace(parameters=list(whole.parameters.values())[1:])

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the predictor on its instance."""
        return cast(R, self.predictor(self.instance, *args, **kwargs))

    def __repr__(self) -> str:
        return f"<predictor {self.name} of {type(self.instance).__name__}>"


def _pending(asked: str) -> PendingCall:
    call = pending_call.get()
    if call is None:
        raise ConfigError(f"lt.{asked}() answers only inside the body of a function decorated with @lt.predictor")
    return call
