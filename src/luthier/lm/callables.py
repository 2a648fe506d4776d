"""The user's own callables as language models."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import inspect
import re
from collections.abc import Callable
from types import CodeType, FunctionType, MethodType
from typing import Any

from luthier.canonical import canonical_json
from luthier.errors import CallTimeout, ConfigError, Unavailable, Unreachable
from luthier.lm.redact import redact
from luthier.lm.request import Completion, Request
from luthier.lm.user_code import in_daemon_thread, on_user_loop

_PLAIN = (str, bytes, int, float, bool, type(None))
_METHODS = ("__call__", "complete")
_SECRET = re.compile(r"key|token|secret|password", re.IGNORECASE)


class CallableCompleter:
    """Asks a callable where it cannot hold up the engine: a sync one in a daemon thread, an async one on a user loop.

    ``ConnectionError`` and ``TimeoutError`` count as infrastructure; what else the callable raises passes as it is.
    """

    def __init__(self, function: Callable[[Request], Any], *, name: str, timeout: float) -> None:
        self._function = function
        self._name = name
        self._timeout = timeout

    async def complete(self, request: Request) -> Completion:
        """Return what the callable answers, or raise an ``LMError``."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._answer(request)
        except Unavailable:
            raise
        except TimeoutError as error:
            raise CallTimeout(redact(f"{self._name} did not answer in {self._timeout:g} s.")) from error
        except ConnectionError as error:
            raise Unreachable(redact(f"{self._name}: {type(error).__name__}: {error}")) from error
        return as_completion(answer, self._name)

    async def _answer(self, request: Request) -> Any:
        if _is_async(self._function):
            return await on_user_loop(lambda: self._function(request))
        answer = await in_daemon_thread(lambda: self._function(request))
        return await on_user_loop(lambda: answer) if inspect.isawaitable(answer) else answer


def as_completion(answer: Any, name: str) -> Completion:
    """Return a callable's answer as a completion.

    Raises:
        ConfigError: it is neither a ``Completion`` nor text.
    """
    if isinstance(answer, Completion):
        return answer
    if isinstance(answer, str):
        return Completion(answer)
    raise ConfigError(f"{name} returned {type(answer).__name__}; an LM returns a Completion or a str.")


def callable_identity(model: object) -> str:
    """Return what tells a callable apart: its ``identity``, else its name and a hash of its code and settings.

    So two lambdas, one factory's two products, two partials or two instances do not share stored answers.
    """
    given = getattr(model, "identity", None)
    if isinstance(given, str):
        return f"callable:{given}"
    target = model if hasattr(model, "__qualname__") else type(model)
    name = f"{getattr(target, '__module__', '')}:{getattr(target, '__qualname__', '')}"
    digest = hashlib.blake2b(repr(_told(model, 3)).encode(), digest_size=8)
    return f"callable:{name}#{digest.hexdigest()}"


def _told(thing: Any, depth: int) -> object:
    """Return what tells a part of a callable apart: code, and values that its work does not change."""
    if isinstance(thing, _PLAIN):
        return thing
    if isinstance(thing, tuple):
        return [_told(item, depth) for item in thing]
    if isinstance(thing, CodeType):
        return [thing.co_code, thing.co_names, _told(thing.co_consts, depth)]
    named = [type(thing).__qualname__]
    if depth == 0:
        return named
    if isinstance(thing, functools.partial):
        given = [*thing.args, *thing.keywords, *thing.keywords.values()]
        return [_told(thing.func, depth - 1), [_json(part) or _told(part, depth - 1) for part in given]]
    if isinstance(thing, MethodType):
        return [_told(thing.__func__, depth - 1), _told(thing.__self__, depth - 1)]
    if isinstance(thing, FunctionType):
        values = (*_closure(thing), *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values())
        return [thing.__qualname__, _told(thing.__code__, depth), _told(values, depth - 1)]
    # Of an object its texts, such as a model's name: counters change while it works. A new key is no new model.
    texts = {
        name: value
        for name, value in getattr(thing, "__dict__", {}).items()
        if isinstance(value, str) and not _SECRET.search(name)
    }
    methods = [getattr(inspect.getattr_static(type(thing), name, None), "__code__", None) for name in _METHODS]
    return [named, sorted(texts.items()), [_told(code, depth) for code in methods]]


def _closure(function: FunctionType) -> list[Any]:
    values = []
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # a cell not yet filled
            values.append(cell.cell_contents)
    return values


def _json(value: Any) -> str | None:
    try:
        return canonical_json(value)
    except (TypeError, ValueError):
        return None


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(_call_method(function))


def _call_method(instance: object) -> object:
    return inspect.getattr_static(type(instance), "__call__", None)
