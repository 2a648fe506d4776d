"""``lt.recorded``: results of paid or slow functions, such as retrieval, kept in the study's store."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from luthier.canonical import canonical_json, content_hash
from luthier.errors import ConfigError, StoreError, StudyPaused
from luthier.lm.keep import Keep
from luthier.program.context import Run, current_run
from luthier.program.inspect_signature import takes_instance
from luthier.program.source import code_hash

P = ParamSpec("P")
R = TypeVar("R")

_VERSION = 1


@overload
def recorded(fn: Callable[P, R], /, *, key: str | None = None, pure: bool = True) -> Recorded[P, R]: ...


@overload
def recorded(*, key: str | None = None, pure: bool = True) -> Callable[[Callable[P, R]], Recorded[P, R]]: ...


def recorded(fn: Callable[..., Any] | None = None, /, *, key: str | None = None, pure: bool = True) -> Any:
    """Keep a function's results in the store of whatever study or evaluation calls it; elsewhere it is just called.

    A result is committed before the program sees it, identical calls in flight share one, and an interrupted study
    that runs again asks for none a second time. Results and arguments must be JSON; a result comes back as JSON has
    it, tuples as lists. What the function raises is raised, and not kept. Sync and async functions alike.

    Args:
        fn: the function; left out where the decorator has arguments.
        key: identifies the function; its module, name, and code where left out. Change it when results may have
            changed for reasons that the code does not show, such as a new index.
        pure: whether the arguments alone decide the result; else it is kept by example and repeat, too, and by the
            number among such calls of the rollout.

    Raises:
        ConfigError: the function has no code to be known by, and no key is given.
    """
    if fn is None:
        return lambda function: Recorded(function, key=key, pure=pure)
    return Recorded(fn, key=key, pure=pure)


class Recorded(Generic[P, R]):
    """A function whose results are kept. Called like the function it was made from, and typed like it."""

    def __init__(self, function: Callable[P, R], *, key: str | None = None, pure: bool = True) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._key = key
        self._pure = pure
        self._is_async = inspect.iscoroutinefunction(function)
        self._parameters = inspect.signature(function)
        self._on_instance = isinstance(function, FunctionType) and takes_instance(function)
        plain = isinstance(function, FunctionType) and not self._on_instance
        if key is None and not plain:
            raise ConfigError(
                f"lt.recorded({function!r}): what an instance holds cannot be seen in the code; give it a key=... that "
                "says what its results depend on"
            )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the kept result, or the function's.

        Raises:
            ConfigError: in a study, an argument or the result is no JSON.
        """
        run = current_run()
        if run is None or run.ambient:
            return self._function(*args, **kwargs)
        key = self._key_of(run, args, kwargs)
        if self._is_async:
            return cast(R, self._acall(run, key, args, kwargs))
        with _ending(run):
            return cast(R, run.gateway.beside(Keep).get(key, lambda: self._plain(self._function(*args, **kwargs))))

    @overload
    def __get__(self, instance: None, owner: type) -> Recorded[P, R]: ...

    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Callable[..., R]: ...

    def __get__(self, instance: object | None, owner: type | None = None) -> Any:
        """Bind it to the instance that it is a method of."""
        return self if instance is None or not self._on_instance else MethodType(self, instance)

    async def _acall(self, run: Run, key: str, args: Any, kwargs: Any) -> Any:
        async def compute() -> Any:
            return self._plain(await cast("Coroutine[Any, Any, Any]", self._function(*args, **kwargs)))

        with _ending(run):
            return await run.gateway.beside(Keep).aget(key, compute)

    @functools.cached_property
    def _identity(self) -> str:
        if self._key is not None:
            return self._key
        return f"{self._function.__module__}:{self._name} {code_hash(self._function)}"

    def _key_of(self, run: Run, args: Any, kwargs: Any) -> str:
        bound = self._parameters.bind(*args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        if self._on_instance:
            del given[next(iter(self._parameters.parameters))]
        what = [_VERSION, self._identity, self._arguments(given)]
        if self._pure:
            return content_hash(what)
        return content_hash([*what, run.example, run.repeat, run.count_same(canonical_json(what))])

    def _arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        for name, value in given.items():
            try:
                canonical_json(value)
            except (TypeError, ValueError) as error:
                raise ConfigError(
                    f"{self._name}: the argument {name} is no JSON ({error}), so its results cannot be kept by it"
                ) from error
        return dict(given)

    def _plain(self, value: Any) -> Any:
        try:
            return json.loads(canonical_json(value))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{self._name} returned what is no JSON ({error}), so it cannot be kept: return text, numbers, lists, "
                "and mappings"
            ) from error

    @property
    def _name(self) -> str:
        return getattr(self._function, "__qualname__", repr(self._function))


@contextmanager
def _ending(run: Run) -> Iterator[None]:
    """Let a rollout that was stopped here have no score, even if its program goes on without the result.

    What the function itself raises is the program's to handle.
    """
    try:
        yield
    except (StudyPaused, StoreError):
        with run.asking():
            raise
