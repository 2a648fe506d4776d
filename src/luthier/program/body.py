"""Tells who makes a predictor's call: its own body, or luthier."""

from __future__ import annotations

import dis
import enum
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

_SHOW_DEMOS = ("demos", "demo_messages", "messages", "text")


class Body(enum.Enum):
    """What the body of a predictor does."""

    EMPTY = "empty"
    """A docstring, ``...``, or ``pass``: luthier makes the call."""
    PREDICT = "predict"
    """It asks ``lt.predict()``: luthier makes the call where it says so."""
    OWN = "own"
    """It makes its own call."""


def body_of(function: Callable[..., Any]) -> Body:
    """Return what a function's body does, from its bytecode, so that no source file is needed."""
    code = function.__code__
    if _steps(code) in (_steps(_nothing.__code__), _steps(_nothing_async.__code__)):
        return Body.EMPTY
    return Body.PREDICT if _names_predict(code) else Body.OWN


def reads_demos(function: Callable[..., Any]) -> bool:
    """Say whether a body that makes its own call may show demos: not where all it reads of its prompt is the text."""
    names = set(_names(function.__code__))
    return "instruction" not in names or not names.isdisjoint(_SHOW_DEMOS)


# Compiled by the same interpreter as the function in question, so any version's bytecode is known.
def _nothing() -> None: ...


async def _nothing_async() -> None: ...


def _steps(code: CodeType) -> list[tuple[str, Any]]:
    # A closure variable that a class brings along changes nothing about an empty body, but moves jump targets.
    # Only constants are compared by value: `return 1` is not empty.
    return [
        (step.opname, step.argval if "CONST" in step.opname else None)
        for step in dis.get_instructions(code)
        if step.opname not in ("RESUME", "NOP", "COPY_FREE_VARS", "MAKE_CELL")
    ]


def _names_predict(code: CodeType) -> bool:
    return "predict" in _names(code)


def _names(code: CodeType) -> Iterator[str]:
    yield from (*code.co_names, *code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
