"""HTML and SVG elements as values; every text is escaped unless it is markup already."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias

from luthier.report.figures import showable

_VOID = frozenset({"meta", "br", "circle", "line", "rect"})


class Markup(str):
    """Text that is HTML already: only ``el`` and ``join`` make it."""

    __slots__ = ()


Child: TypeAlias = "str | Markup | Iterable[Child] | None"


def escape(text: object) -> Markup:
    """Return a text as HTML, safe between tags and inside quoted attributes."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(showable(text), quote=True))


def el(tag: str, *children: Child, **attributes: object) -> Markup:
    """Return an element; ``class_`` is the class, ``_`` in other names becomes ``-``, None leaves one out."""
    named = ((_attribute(name), value) for name, value in attributes.items() if value is not None)
    head = "".join(f' {name}="{escape(str(value))}"' for name, value in named)
    if tag in _VOID and not children:
        return Markup(f"<{tag}{head}/>")
    return Markup(f"<{tag}{head}>{join(children)}</{tag}>")


def join(children: Iterable[Child]) -> Markup:
    """Return children one after the other."""
    return Markup("".join(_flat(children)))


def _flat(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, str):
            yield escape(child)
        else:
            yield from _flat(child)


def _attribute(name: str) -> str:
    if name in ("viewBox", "preserveAspectRatio"):
        return name
    return name.rstrip("_").replace("_", "-")
