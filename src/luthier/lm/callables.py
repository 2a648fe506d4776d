"""The user's own callables as language models."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import threading
from collections.abc import Awaitable, Callable
from types import CodeType
from typing import Any

from luthier.errors import CallTimeout, ConfigError, Unavailable, Unreachable
from luthier.lm.redact import redact
from luthier.lm.request import Completion, Request

_PLAIN = (str, bytes, int, float, bool, type(None))


class CallableCompleter:
    """Asks a callable; a sync one in a daemon thread of its own, so that it never holds up the engine.

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
            return await self._function(request)
        answer = await in_daemon_thread(lambda: self._function(request))
        return await answer if inspect.isawaitable(answer) else answer


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


def in_daemon_thread(function: Callable[[], Any]) -> Awaitable[Any]:
    """Run ``function`` in a daemon thread; the awaitable belongs to the running loop."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def finish(result: Any, error: BaseException | None) -> None:
        if future.done():
            return  # the caller has gone
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = function()
        except StopIteration as error:
            failure = RuntimeError(f"the callable raised {error!r}")  # a future cannot hold a StopIteration
        except BaseException as error:  # noqa: BLE001 - handed to the awaiting caller
            failure = error
        loop.call_soon_threadsafe(finish, result, failure)

    threading.Thread(target=run, name="luthier-callable", daemon=True).start()
    return future


def callable_identity(model: object) -> str:
    """Return what tells a callable apart: its ``identity``, else its name and a hash of its code and plain closure.

    So two lambdas, or one factory's two products, do not share stored answers.
    """
    given = getattr(model, "identity", None)
    if isinstance(given, str):
        return f"callable:{given}"
    target = model if hasattr(model, "__qualname__") else type(model)
    name = f"{getattr(target, '__module__', '')}:{getattr(target, '__qualname__', '')}"
    function = inspect.unwrap(model) if callable(model) else model
    code = getattr(function, "__code__", None) or getattr(_call_method(model), "__code__", None)
    digest = hashlib.blake2b(digest_size=8)
    if isinstance(code, CodeType):
        _feed(digest, code)
    for cell in getattr(function, "__closure__", None) or ():
        try:
            value = cell.cell_contents
        except ValueError:
            continue  # a cell not yet filled
        digest.update((repr(value) if isinstance(value, _PLAIN) else type(value).__qualname__).encode())
    for value in getattr(function, "__defaults__", None) or ():
        digest.update((repr(value) if isinstance(value, _PLAIN) else type(value).__qualname__).encode())
    return f"callable:{name}#{digest.hexdigest()}"


def _feed(digest: hashlib.blake2b, code: CodeType) -> None:
    digest.update(code.co_code)
    digest.update(repr(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _feed(digest, constant)
        elif isinstance(constant, _PLAIN):
            digest.update(repr(constant).encode())


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(_call_method(function))


def _call_method(instance: object) -> object:
    return inspect.getattr_static(type(instance), "__call__", None)
