"""The repository's own files, as the tests of this folder read them."""

from __future__ import annotations

import ast
import os
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
    return [path for folder in folders for path in _files(ROOT / folder) if path.suffix == ".py"]


def text_files() -> Iterator[Path]:
    """Return every text file a clone of the repository holds."""
    return (path for path in _files(ROOT) if path.suffix not in (".pyc", ".png", ".gguf", ".sqlite"))


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


def _files(folder: Path) -> list[Path]:
    """Return the files below a folder, sorted, without what is made here."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _made_here(name)]
        found += [Path(place, name) for name in names if not _made_here(name)]
    return sorted(found)


def _made_here(name: str) -> bool:
    return name in _MADE_HERE or name.startswith(".venv") or name.endswith((".egg-info", "_cache"))
