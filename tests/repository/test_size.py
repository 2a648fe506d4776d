"""A budget for the reader's head: small files, small functions, no error swallowed, everything typed."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from luthier.optimizers.registry import OPTIMIZERS
from tests.repository.sources import PACKAGE, python_files, shown, tree

FILE_LINES = 400
FUNCTION_LINES = 80
CORE_LINES = 13_400
"""Of code: no blank lines, comments, or docstrings, without optimizers' own files (docs/adr/0010, …, 0021, 0023)."""
NOT_CORE = ("tasks", "report", "cli", "bench", "adapters", "deploy", "weigh")

_NO_CODE = {
    tokenize.ENCODING,
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
_REASONED = re.compile(r"# noqa: BLE001 - \S+")


def test_no_file_is_longer_than_400_lines() -> None:
    long = {
        shown(path): n
        for path in python_files("src", "tests", "benchmarks", "examples")
        if (n := _lines(path)) > FILE_LINES
    }
    assert not long, f"split these files: {long}"


def test_no_function_is_longer_than_80_lines() -> None:
    long = {
        f"{shown(path)}:{function.lineno} {function.name}": n
        for path in python_files("src", "tests", "benchmarks", "examples")
        for function in _functions(path)
        if (n := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES
    }
    assert not long, f"split these functions: {long}"


def test_the_core_stays_under_its_ceiling() -> None:
    recipes = {f"{type(make()).__module__.replace('.', '/')}.py" for make in OPTIMIZERS.values()}
    core = [
        path
        for path in python_files("src/luthier")
        if path.relative_to(PACKAGE).parts[0] not in NOT_CORE
        and path.relative_to(PACKAGE.parent).as_posix() not in recipes
    ]
    code = sum(_code_lines(path) for path in core)
    assert code < CORE_LINES, f"the core has {code} lines of code; take something away (docs/adr/0010)"


def test_a_blind_except_stands_only_at_a_named_boundary() -> None:
    unnamed = [
        f"{shown(path)}:{handler.lineno}"
        for path in python_files("src")
        for handler in _blind_handlers(path)
        if not _REASONED.search(path.read_text(encoding="utf-8").splitlines()[handler.lineno - 1])
    ]
    assert not unnamed, f"name the boundary (`# noqa: BLE001 - <reason>`), or catch what is meant: {unnamed}"


def test_every_parameter_and_result_is_typed() -> None:
    untyped = [
        f"{shown(path)}:{function.lineno} {function.name}"
        for path in python_files("src", "benchmarks", "examples")
        for function in _functions(path)
        if function.returns is None or any(argument.annotation is None for argument in _arguments(function))
    ]
    assert not untyped, f"annotate: {untyped}"


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _code_lines(path: Path) -> int:
    lines: set[int] = set()
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type not in _NO_CODE:
                lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    a = function.args
    named = [*a.posonlyargs, *a.args, *a.kwonlyargs, *(extra for extra in (a.vararg, a.kwarg) if extra is not None)]
    return [argument for argument in named if argument.arg not in ("self", "cls")]


def _blind_handlers(path: Path) -> Iterator[ast.ExceptHandler]:
    """Handlers of everything that do not pass it on."""
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.ExceptHandler) or any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        if any(
            kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException"))
            for kind in caught
        ):
            yield node
