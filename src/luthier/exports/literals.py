"""Values as Python source that people can read: long texts line by line, nothing that an eye would miss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_WIDE = 100


def literal(value: Any, indent: int = 0) -> str:
    """Return JSON as Python source whose value is the same; lines after the first are indented by ``indent`` more."""
    if isinstance(value, str):
        return _text(value, indent)
    if isinstance(value, Mapping):
        return block("{", (f"{literal(key)}: {literal(item, indent + 4)}" for key, item in value.items()), "}", indent)
    if isinstance(value, list):
        return block("[", (literal(item, indent + 4) for item in value), "]", indent)
    return repr(value)


def block(opening: str, items: Iterable[str], closing: str, indent: int = 0) -> str:
    """Return items between brackets, on one line where they fit."""
    listed = list(items)
    line = ", ".join(listed)
    if "\n" not in line and indent + len(line) <= _WIDE:
        comma = "," if (opening, closing) == ("(", ")") and len(listed) == 1 else ""
        return f"{opening}{line}{comma}{closing}"
    inner = " " * (indent + 4)
    # Broken over lines, a tuple of one has its comma already.
    last = closing.removeprefix(",")
    return f"{opening}\n" + "".join(f"{inner}{item},\n" for item in listed) + " " * indent + last


def _text(value: str, indent: int) -> str:
    pieces = [piece for line in value.splitlines(keepends=True) for piece in _cut(line)]
    # What has two sides is compared: a text must never become another one by being cut.
    assert "".join(pieces) == value
    if len(pieces) <= 1:
        return repr(value)
    inner = " " * (indent + 4)
    return "(\n" + "".join(f"{inner}{piece!r}\n" for piece in pieces) + " " * indent + ")"


def _cut(line: str) -> list[str]:
    pieces = []
    while len(line) > _WIDE:
        space = line.rfind(" ", 0, _WIDE) + 1
        end = space if space > _WIDE // 2 else _WIDE
        pieces.append(line[:end])
        line = line[end:]
    return [*pieces, line] if line else pieces
