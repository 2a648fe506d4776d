"""A program: the user's function, the predictors it calls, and the texts it reads."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any, TypeAlias

from luthier.errors import CandidateError, DataError, DiscoveryError
from luthier.program.candidate import Candidate, Kind
from luthier.program.component import Component, check_fit
from luthier.program.predictor import BoundPredictor, Predictor
from luthier.program.returns import check_returns
from luthier.program.source import code_hash, source_of
from luthier.program.text import HoldsTexts, Text
from luthier.program.walk import find_components, place_of, texts_of, unwrapped

__all__ = ["Program", "code_hash", "discover", "program_source"]

AnyPredictor = Predictor[..., Any]
Tunable: TypeAlias = Predictor[..., Any] | BoundPredictor[..., Any] | Component | HoldsTexts
"""What may be named in ``predictors=[...]``."""

_WORDS = {Kind.REGION: "text for template region", Kind.TOOL: "text for tool"}


@dataclass(frozen=True)
class Program:
    """A function and its components, sorted by name."""

    function: Callable[..., Any]
    components: tuple[Component, ...]
    is_async: bool
    parameters: tuple[inspect.Parameter, ...]
    """Those that have a name of their own: neither ``*args`` nor ``**kwargs``."""
    name: str
    """``module:qualname``."""
    deployed: Candidate | None = None
    """The prompts it runs with today, where they are not those in its code."""

    @property
    def original(self) -> Candidate:
        """Every component as it is today: in the program, or as deployed."""
        today = {} if self.deployed is None else self.deployed.prompts
        return Candidate(
            {component.name: today.get(component.name, component.original) for component in self.tuned},
            {component.name: component.fingerprint for component in self.tuned},
        )

    @property
    def tuned(self) -> tuple[Component, ...]:
        """The components that have something to tune."""
        return tuple(component for component in self.components if component.kind is not Kind.FIXED)

    @property
    def predictors(self) -> tuple[AnyPredictor, ...]:
        """The components that call an LM."""
        return tuple(component for component in self.components if isinstance(component, Predictor))

    @property
    def texts(self) -> tuple[Text, ...]:
        """The components that are text only."""
        return tuple(component for component in self.components if isinstance(component, Text))

    def predictor(self, name: str) -> AnyPredictor:
        """Return the predictor of that name.

        Raises:
            KeyError: there is none.
        """
        for predictor in self.predictors:
            if predictor.name == name:
                return predictor
        raise KeyError(name)

    def check(self, candidate: Candidate) -> None:
        """Refuse a candidate that was made for something else.

        A component that the candidate does not name stays as it is.

        Raises:
            CandidateError: it names one that the program lacks, or one that is something else now.
        """
        by_name = {component.name: component for component in self.components}
        for name in sorted(candidate.prompts):
            if name not in by_name:
                what = _WORDS.get(candidate.prompts[name].kind, "prompt for predictor")
                raise CandidateError(
                    f"the candidate has a {what} {name!r}, but {self.name} has only "
                    f"{', '.join(sorted(by_name)) or 'none'}; one that is met only at run time needs predictors=[...]"
                )
            check_fit(candidate, by_name[name])

    def with_components(self, more: Iterable[Component]) -> Program:
        """Return the program with components met at run time.

        Raises:
            DiscoveryError: two of one name.
        """
        return replace(self, components=_sorted([*self.components, *more]))

    def call(self, inputs: Mapping[str, Any]) -> Any:
        """Call the function with inputs by name.

        Raises:
            DataError: a parameter without a default has no input.
        """
        positional = []
        rest = dict(inputs)
        for parameter in self.parameters:
            if parameter.name not in rest and parameter.default is parameter.empty:
                raise DataError(f"{self.name} needs {parameter.name!r}, which the inputs lack")
            if parameter.kind is parameter.POSITIONAL_ONLY and parameter.name in rest:
                positional.append(rest.pop(parameter.name))
        return self.function(*positional, **rest)


def discover(function: Callable[..., Any], predictors: Sequence[Tunable] | None = None) -> Program:
    """Return the program that a function is: with the components given, else with those a static walk finds.

    Args:
        function: the program.
        predictors: predictors, and templates or tools, or single texts of them.

    Raises:
        DiscoveryError: no component, or two of one name; the message says where they are. Or the program, or a
            predictor's body, can be seen to return no value.
    """
    program = find_program(function, predictors)
    if not isinstance(function, Predictor | BoundPredictor):
        check_returns(function, f"the program {program.name}")
    for predictor in program.predictors:
        if not predictor.is_empty:
            check_returns(predictor.function, f"predictor {predictor.name!r}")
    if not program.tuned:
        raise DiscoveryError(
            f"{program.name} calls no predictor that can be found: decorate the functions that call the LM with "
            "@lt.predictor, or name them with predictors=[...]"
        )
    return program


def find_program(function: Callable[..., Any], predictors: Sequence[Tunable] | None = None) -> Program:
    """Do as ``discover`` does, but let a program without components pass: it may meet them at run time."""
    if not callable(function):
        raise DiscoveryError(f"a program is a function, not {function!r}")
    found = find_components(function) if predictors is None else [one for p in predictors for one in _given(p)]
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise DiscoveryError(f"{function!r} does not say what parameters it has; wrap it in a function") from error
    named = tuple(p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
    return Program(function, _sorted(found), _is_async(function), named, _name(function))


def program_source(program: Program) -> str:
    """Return the source of the program's function and of every user function it reaches, predictors included."""
    return source_of(program.function, [predictor.function for predictor in program.predictors])


def _given(thing: Any) -> Sequence[Component]:
    if isinstance(thing, BoundPredictor):
        thing = thing.predictor
    if isinstance(thing, Predictor):
        return (thing, *texts_of(thing.template), *(text for tool in thing.tools for text in tool.luthier_texts))
    if texts := texts_of(thing):
        return texts
    raise DiscoveryError(
        f"predictors=[...] holds {thing!r}, which is not decorated with @lt.predictor, and has no text to tune"
    )


def _sorted(components: Iterable[Component]) -> tuple[Component, ...]:
    by_name: dict[str, Component] = {}
    for component in components:
        other = by_name.setdefault(component.name, component)
        if other != component:
            what = "predictors" if isinstance(other, Predictor) and isinstance(component, Predictor) else "components"
            raise DiscoveryError(
                f"two {what} are called {component.name!r}: {_place(other)} and "
                f"{_place(component)}; rename one with name=... or .named(...)"
            )
    return tuple(by_name[name] for name in sorted(by_name))


def _place(component: Component) -> str:
    if isinstance(component, Text):
        return component.place
    return place_of(component.function) if isinstance(component, Predictor) else "an unknown place"


def _is_async(function: Any) -> bool:
    if isinstance(function, BoundPredictor):
        return function.predictor.is_async
    if isinstance(function, Predictor):
        return function.is_async
    inner = unwrapped(function)
    if inner is not function:
        return _is_async(inner)
    if inspect.isfunction(function) or inspect.ismethod(function):
        return inspect.iscoroutinefunction(function)
    call = inspect.getattr_static(type(function), "__call__", None)
    return isinstance(call, FunctionType | Predictor) and _is_async(call)


def _name(function: Any) -> str:
    inner = unwrapped(function)
    inner = inner.predictor if isinstance(inner, BoundPredictor) else inner
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    return f"{named.__module__}:{named.__qualname__}"
