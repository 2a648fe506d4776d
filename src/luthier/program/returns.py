"""What a function returns: found out before it runs where that can be known, and reported where it cannot be scored."""

from __future__ import annotations

import dis
import functools
import inspect
import types
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from types import FunctionType, MethodType
from typing import Any

from luthier.errors import ConfigError, DiscoveryError

_RUN_TO_ITS_END = "collect what it yields and return that, as one value"
_EMPTY = inspect.Parameter.empty


def check_returns(function: Callable[..., Any], what: str) -> None:
    """Refuse a function that can be seen to return nothing that could be scored, or used; nothing is run.

    Args:
        function: a program, or a predictor's own.
        what: names it.

    Raises:
        DiscoveryError: it yields, or it is declared to return something and has no ``return`` with a value.
    """
    called = _called(function)
    if called is None:
        return
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise DiscoveryError(f"{what} is a generator (it has `yield`), whose value cannot be scored: {_RUN_TO_ITS_END}")
    if may_return_none(function) is False and _returns_nothing(called):
        raise DiscoveryError(
            f"{what} is declared to return {_shown(_annotation(function))}, but no `return` in its body gives a value: "
            "is a `return` forgotten, as in `return lt.predict()`?"
        )


def check_prediction(prediction: Any, name: str, *, is_async: bool) -> None:
    """Refuse what a program returned where it is only a promise of a value.

    Raises:
        ConfigError: it is a generator or another iterator, a coroutine, or something else to be awaited.
    """
    if inspect.isawaitable(prediction):
        for close in ("close", "cancel"):
            if hasattr(prediction, close):
                getattr(prediction, close)()
                break
        remedy = "`return await ...`" if is_async else "make it `async def`, and await there"
        raise ConfigError(f"{name} returned a {type(prediction).__name__} that nobody awaits: {remedy}")
    if isinstance(prediction, Iterator | AsyncIterator):
        raise ConfigError(f"{name} returned a {type(prediction).__name__}, which only yields values: {_RUN_TO_ITS_END}")


def may_return_none(function: Callable[..., Any]) -> bool | None:
    """Say whether a function's annotation lets it return None; None where there is no annotation that says."""
    annotation = _annotation(function)
    if annotation is _EMPTY or isinstance(annotation, str | typing.TypeVar) or annotation in (Any, object):
        return None
    if annotation is None or annotation is type(None):
        return True
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Literal):
        return bool({None, type(None)}.intersection(typing.get_args(annotation)))
    return False


def _annotation(function: Any) -> Any:
    try:
        return inspect.signature(function, eval_str=True).return_annotation
    except (TypeError, ValueError):
        return _EMPTY
    except Exception:  # noqa: BLE001 - whatever the text of an annotation raises
        return _EMPTY


def _shown(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _called(function: Any) -> FunctionType | None:
    """Return the very function that is called, not what it wraps."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, MethodType):
            function = function.__func__
        elif isinstance(function, FunctionType):
            return function
        else:
            call = inspect.getattr_static(type(function), "__call__", None)
            return call if isinstance(call, FunctionType) and not hasattr(function, "luthier_predictor") else None


def _returns_nothing(function: FunctionType) -> bool:
    """Say whether all that a function's code returns is None."""
    steps = [step for step in dis.get_instructions(function) if step.opname not in ("CACHE", "NOP", "EXTENDED_ARG")]
    returned = []
    for before, step in zip([None, *steps], steps, strict=False):
        if step.opname == "RETURN_CONST":
            returned.append(step.argval is None)
        elif step.opname == "RETURN_VALUE":
            # A value may also come by a jump.
            plain = before is not None and before.opname == "LOAD_CONST" and not step.is_jump_target
            returned.append(plain and before is not None and before.argval is None)
    return bool(returned) and all(returned)
