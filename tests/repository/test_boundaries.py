"""No error is swallowed but at a boundary that says why."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.repository.sources import python_files, shown, tree

_REASONED = re.compile(r"# noqa: BLE001 - \S+")


def test_a_blind_except_stands_only_at_a_named_boundary() -> None:
    unnamed = [
        f"{shown(path)}:{handler.lineno}"
        for path in python_files("src")
        for handler in _blind_handlers(path)
        if not _REASONED.search(path.read_text(encoding="utf-8").splitlines()[handler.lineno - 1])
    ]
    assert not unnamed, f"name the boundary (`# noqa: BLE001 - <reason>`), or catch what is meant: {unnamed}"


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
