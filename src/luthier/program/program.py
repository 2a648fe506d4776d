"""A program: the user's function and the predictors it calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

from luthier.errors import CandidateError, DataError, DiscoveryError
from luthier.program.call import drift
from luthier.program.candidate import Candidate
from luthier.program.predictor import BoundPredictor, Predictor
from luthier.program.source import code_hash, source_of
from luthier.program.walk import find_predictors, place_of, unwrapped

__all__ = ["Program", "code_hash", "discover", "program_source"]

AnyPredictor = Predictor[..., Any]


@dataclass(frozen=True)
class Program:
    """A function and the predictors it calls, sorted by name."""

    function: Callable[..., Any]
    predictors: tuple[AnyPredictor, ...]
    is_async: bool
    parameters: tuple[inspect.Parameter, ...]
    """Those that have a name of their own: neither ``*args`` nor ``**kwargs``."""
    name: str
    """``module:qualname``."""

    @property
    def original(self) -> Candidate:
        """Every predictor's original prompt."""
        return Candidate(
            {predictor.name: predictor.original for predictor in self.predictors},
            {predictor.name: predictor.fingerprint for predictor in self.predictors},
        )

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

        A predictor that the candidate does not name keeps its original prompt.

        Raises:
            CandidateError: it names a predictor that the program lacks, or one whose fields have changed.
        """
        by_name = {predictor.name: predictor for predictor in self.predictors}
        for name in sorted(candidate.prompts):
            if name not in by_name:
                raise CandidateError(
                    f"the candidate has a prompt for predictor {name!r}, but {self.name} has only "
                    f"{', '.join(sorted(by_name)) or 'none'}; one that is met only at run time needs predictors=[...]"
                )
            made_for = candidate.fingerprints.get(name)
            if made_for is not None and made_for != by_name[name].fingerprint:
                raise CandidateError(drift(name, made_for, by_name[name].fingerprint))

    def with_predictors(self, more: Iterable[AnyPredictor]) -> Program:
        """Return the program with predictors met at run time.

        Raises:
            DiscoveryError: two of one name.
        """
        return replace(self, predictors=_sorted([*self.predictors, *more]))

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


def discover(function: Callable[..., Any], predictors: Sequence[AnyPredictor] | None = None) -> Program:
    """Return the program that a function is: with the predictors given, else with those a static walk finds.

    Raises:
        DiscoveryError: no predictor, or two of one name; the message says where they are.
    """
    program = find_program(function, predictors)
    if not program.predictors:
        raise DiscoveryError(
            f"{program.name} calls no predictor that can be found: decorate the functions that call the LM with "
            "@lt.predictor, or name them with predictors=[...]"
        )
    return program


def find_program(function: Callable[..., Any], predictors: Sequence[AnyPredictor] | None = None) -> Program:
    """Do as ``discover`` does, but let a program without predictors pass: it may meet them at run time."""
    if not callable(function):
        raise DiscoveryError(f"a program is a function, not {function!r}")
    found = find_predictors(function) if predictors is None else [_unbound(p) for p in predictors]
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise DiscoveryError(f"{function!r} does not say what parameters it has; wrap it in a function") from error
    named = tuple(p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
    return Program(function, _sorted(found), _is_async(function), named, _name(function))


def program_source(program: Program) -> str:
    """Return the source of the program's function and of every user function it reaches, predictors included."""
    return source_of(program.function, [predictor.function for predictor in program.predictors])


def _unbound(predictor: Any) -> AnyPredictor:
    if isinstance(predictor, BoundPredictor):
        return predictor.predictor
    if not isinstance(predictor, Predictor):
        raise DiscoveryError(f"predictors=[...] holds {predictor!r}, which is not decorated with @lt.predictor")
    return predictor


def _sorted(predictors: Iterable[AnyPredictor]) -> tuple[AnyPredictor, ...]:
    by_name: dict[str, AnyPredictor] = {}
    for predictor in predictors:
        other = by_name.setdefault(predictor.name, predictor)
        if other != predictor:
            raise DiscoveryError(
                f"two predictors are called {predictor.name!r}: {place_of(other.function)} and "
                f"{place_of(predictor.function)}; rename one with name=... or .named(...)"
            )
    return tuple(by_name[name] for name in sorted(by_name))


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
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    return f"{named.__module__}:{named.__qualname__}"
