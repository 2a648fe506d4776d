"""The source of a program, for proposers to read, and its hash, for manifests to compare."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable
from types import CodeType, FunctionType
from typing import Any

from luthier.canonical import content_hash
from luthier.program.walk import find_functions, unwrapped


def source_of(function: Callable[..., Any], more: Iterable[Callable[..., Any]] = ()) -> str:
    """Return the source of a function, of every user function it reaches, and of ``more``, each once."""
    texts: dict[str, None] = {}
    functions: list[Callable[..., Any]] = [*find_functions(function), *more]
    for reached in functions:
        source = _source(reached)
        if source is not None:
            texts.setdefault(source.rstrip("\n"))
    return "\n\n\n".join(texts)


def code_hash(function: Callable[..., Any]) -> str:
    """Return a hash of what a function and the user functions it reaches do: layout, comments, and docstrings aside."""
    reached = find_functions(function)
    if not reached and isinstance(inner := unwrapped(function), FunctionType):
        reached = [inner]
    if not reached:
        return content_hash(repr(type(function)))
    parts = sorted({_normalized(one) for one in reached})
    return content_hash(parts)


def _source(function: Callable[..., Any]) -> str | None:
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):  # typed at a prompt, or built at run time
        return None


def _normalized(function: FunctionType) -> str:
    source = _source(function)
    try:
        tree = ast.parse(source) if source is not None else None
    except SyntaxError:  # a lambda in the middle of an expression
        tree = None
    if tree is None:
        return repr(_code_parts(function.__code__))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and ast.get_docstring(node) is not None
        ):
            # A predictor's docstring is its instruction, which manifests hold apart.
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _code_parts(code: CodeType) -> list[Any]:
    constants = [_code_parts(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), constants]
