"""The repository's own files, as the tests of this folder read them."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "luthier"

_MADE_HERE = {".git", "__pycache__", "runs", "build", "dist", "node_modules", ".hypothesis"}


def python_files(*folders: str) -> list[Path]:
    """Return the Python files below the folders named, sorted."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py") if _ours(path))


def text_files() -> Iterator[Path]:
    """Yield every text file a clone of the repository holds."""
    for path in sorted(ROOT.rglob("*")):
        if path.is_file() and _ours(path) and not path.name.endswith((".pyc", ".png", ".gguf", ".sqlite")):
            yield path


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def pyproject() -> dict[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def shown(path: Path) -> str:
    """Return a path as one writes it from the repository's root."""
    return path.relative_to(ROOT).as_posix()


def _ours(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return not any(
        part in _MADE_HERE or part.startswith(".venv") or part.endswith((".egg-info", "_cache")) for part in parts
    )
