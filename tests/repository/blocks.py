"""Code blocks of the documents."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.repository.sources import ROOT, shown

_FENCE = re.compile(
    r"(?:<!-- no-run: (?P<reason>[^\n]+?) -->\n+)?```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    code: str
    line: int
    """Of its first line of code."""
    no_run: str | None
    """Why it is not run; None where it is."""


def documents() -> list[Path]:
    """Return the Markdown files that people read."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(path: Path, language: str = "python") -> list[Block]:
    """Return a document's blocks of one language, in order."""
    text = path.read_text(encoding="utf-8")
    found = [
        Block(m["language"], m["code"], text.count("\n", 0, m.start("code")) + 1, m["reason"])
        for m in _FENCE.finditer(text)
    ]
    return [block for block in found if block.language == language]


def with_blocks(*, needing: bool = False) -> list[str]:
    """Return the documents that have Python to run: with luthier's own dependencies, or ``needing`` a framework."""
    runnable = [path for path in documents() if any(block.no_run is None for block in blocks(path))]
    return [shown(path) for path in runnable if bool(needs(path)) == needing]


def needs(path: Path) -> list[str]:
    """Return the packages without which a document's blocks cannot run: ``<!-- needs: dspy -->``."""
    return re.findall(r"^<!-- needs: ([\w ]+?) -->$", path.read_text(encoding="utf-8"), re.MULTILINE)
