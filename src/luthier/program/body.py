"""Tells who makes a predictor's call: its own body, or luthier."""

from __future__ import annotations

import dis
import enum
from collections.abc import Callable
from types import CodeType
from typing import Any


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
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return "predict" in (*code.co_names, *code.co_freevars) or any(map(_names_predict, inner))
