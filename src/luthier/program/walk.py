"""Finds the components that a function reaches, without running it."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

from luthier.program.component import Component
from luthier.program.mentions import in_slots, mentions
from luthier.program.predictor import BoundPredictor, Predictor
from luthier.program.text import Text

_OWN_PROGRAMS = ("luthier.demo", "luthier.cli")
"""The only modules of luthier that hold programs; the rest is machinery."""
_HOLDING_USERS = ("langchain_core", "langgraph")
"""Packages whose objects (chains, graphs) hold what users wrote, as lists and mappings do."""
_MAX_DEPTH = 4
"""How deep containers and instances are looked into."""


def find_components(function: Callable[..., Any]) -> list[Component]:
    """Return the predictors and texts reached through globals, closures, attributes, and called user functions."""
    walk = _Walk(function)
    walk.visit(function, 0)
    return [*walk.predictors, *walk.texts]


def texts_of(thing: Any) -> tuple[Text, ...]:
    """Return the texts that a thing is or holds; nothing of it is run to find out but what names them."""
    if isinstance(thing, Text):
        return (thing,)
    held = inspect.getattr_static(thing, "luthier_texts", None)
    return () if held is None else tuple(thing.luthier_texts)


def find_functions(function: Callable[..., Any]) -> list[FunctionType]:
    """Return the user functions reached, the function itself first, those of predictors included."""
    walk = _Walk(function)
    walk.visit(function, 0)
    return walk.functions


def unwrapped(function: Any) -> Any:
    """Return what stands behind partials, bound methods, and decorators that say what they wrap; predictors stay."""
    while not isinstance(function, Predictor | BoundPredictor):
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, MethodType):
            function = function.__func__
        elif isinstance(function, FunctionType) and "__wrapped__" in vars(function):
            function = vars(function)["__wrapped__"]
        else:
            break
    return function


def place_of(function: Callable[..., Any]) -> str:
    """Return ``file:line`` of a function."""
    code = getattr(function, "__code__", None)
    return "an unknown place" if code is None else f"{code.co_filename}:{code.co_firstlineno}"


class _Walk:
    def __init__(self, start: Any) -> None:
        self.predictors: list[Predictor[..., Any]] = []
        self.texts: list[Text] = []
        self.functions: list[FunctionType] = []
        self._seen: dict[int, Any] = {}  # holds what it has seen, so that no id is given out twice
        self._package = _package(getattr(unwrapped(start), "__module__", None) or type(start).__module__)

    def visit(self, thing: Any, depth: int, instance: Any = None) -> None:
        """Look at one thing that user code mentions; ``instance`` is what a function's ``self`` is."""
        if thing is None or isinstance(thing, str | bytes | int | float | ModuleType) or depth > _MAX_DEPTH:
            return
        if id(thing) in self._seen and instance is None:
            return
        self._seen[id(thing)] = thing
        if isinstance(thing, FunctionType | Predictor | BoundPredictor | MethodType):
            self._callable(thing, depth, instance)
        else:
            self._holder(thing, depth, instance)

    def _callable(self, thing: Any, depth: int, instance: Any) -> None:
        match thing:
            case BoundPredictor():
                self.visit(thing.predictor, depth)
                self.visit(thing.instance, depth)
            case Predictor():
                if thing not in self.predictors:
                    self.predictors.append(thing)
                    self.visit(thing.template, depth)
                    self.visit(thing.tools, depth)
                    self._function(thing.function, instance)
            case MethodType():
                self.visit(thing.__self__, depth)
                self.visit(thing.__func__, depth, thing.__self__)
            case _:
                self._function(thing, instance)

    def _holder(self, thing: Any, depth: int, instance: Any) -> None:
        self.texts.extend(text for text in texts_of(thing) if text not in self.texts)
        if inspect.getattr_static(thing, "luthier_predictor", None) is not None:
            self.visit(thing.luthier_predictor, depth)
        match thing:
            case functools.partial():
                for part in (thing.func, *thing.args, *thing.keywords.values()):
                    self.visit(part, depth)
            case staticmethod() | classmethod():
                self.visit(thing.__func__, depth, instance)
            case list() | tuple() | set() | frozenset():
                self._all(thing, depth)
            case dict():
                self._all(thing.values(), depth)
            case type():
                for kind in thing.__mro__:
                    if self._is_user(kind.__module__):
                        self._all(vars(kind).values(), depth)
            case _:
                self._instance(thing, depth)

    def _all(self, things: Any, depth: int) -> None:
        for thing in list(things)[:1000]:
            self.visit(thing, depth + 1)

    def _instance(self, thing: Any, depth: int) -> None:
        # What keeps or caches a function's results is no function itself.
        if isinstance(wrapped := inspect.getattr_static(thing, "__wrapped__", None), FunctionType):
            self.visit(wrapped, depth)
        if _package(type(thing).__module__) in _HOLDING_USERS:
            for part in list(getattr(thing, "__dict__", {}).values()):
                self.visit(part, depth)
        if not self._is_user(type(thing).__module__):
            return
        self._all([*getattr(thing, "__dict__", {}).values(), *in_slots(thing)], depth)
        call = inspect.getattr_static(type(thing), "__call__", None)
        if isinstance(call, FunctionType | Predictor):
            self.visit(call, depth, thing)

    def _function(self, function: FunctionType | Any, instance: Any) -> None:
        if function in self.functions and instance is None:
            return
        wrapped = vars(function).get("__wrapped__")
        if wrapped is not None:
            self.visit(wrapped, 0, instance)
        if not self._is_user(function.__module__) and not self._is_user(getattr(wrapped, "__module__", None)):
            return
        if function not in self.functions:
            self.functions.append(function)
        for mentioned in mentions(function, instance, self._is_user):
            self.visit(mentioned.thing, 0, mentioned.owner)
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self.visit(default, 0)

    def _is_user(self, module: str | None) -> bool:
        if module is None:
            return False
        if module == "luthier" or module.startswith("luthier."):
            return module.startswith(_OWN_PROGRAMS)
        top = _package(module)
        if top in (self._package, "__main__"):
            return True
        return top not in sys.stdlib_module_names and not _is_installed(top)


def _package(module: str) -> str:
    return module.partition(".")[0]


def _is_installed(package: str) -> bool:
    if package in sys.modules:
        file = getattr(sys.modules[package], "__file__", None)
    else:
        spec = importlib.util.find_spec(package)
        file = None if spec is None else spec.origin
    return file is not None and any(part in ("site-packages", "dist-packages") for part in Path(file).parts)
