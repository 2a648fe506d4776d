"""Regions: the marked parts of a template's source, and what every form of template can do with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from luthier.errors import ConfigError
from luthier.program.wording import Shown

NAME = r"[A-Za-z_][\w.-]*"
"""What a region may be called."""
DEMOS = "demos"
"""The mark of the place where demos go."""


@dataclass(frozen=True, slots=True)
class Region:
    """One marked part of a source, without the blanks at its edges, which belong to what is fixed."""

    name: str
    start: int
    """Where it begins in the source."""
    end: int
    text: str
    """What it says: the source with its escapes undone."""
    fields: tuple[str, ...] = ()
    """The placeholders in it, as they are written."""


class Form(Protocol):
    """One form of template."""

    def regions(self, source: str) -> tuple[Region, ...]:
        """Return the marked regions, in order.

        Raises:
            ConfigError: the source or a mark is malformed.
        """
        ...

    def takes_demos(self, source: str) -> bool:
        """Whether the source says where demos go."""
        ...

    def written(self, source: str, region: Region, text: str) -> str:
        """Return how a region's place in the source is written where it says ``text``."""
        ...

    def compiled(self, source: str) -> Filler:
        """Return what fills the source in."""
        ...


class Filler(Protocol):
    """A source ready to be filled in."""

    def text(self, inputs: Mapping[str, Any], shown: Shown | None) -> str:
        """Return it as one text."""
        ...

    def data(self, inputs: Mapping[str, Any]) -> Any:
        """Return it as the data that its file holds."""
        ...

    def messages(self, inputs: Mapping[str, Any], shown: Shown | None) -> list[dict[str, Any]]:
        """Return it as chat messages, demos as turns."""
        ...


class Placeholders(Protocol):
    """How places to be filled in are written: ``{name}``, or ``{{ name }}``, or not at all."""

    def read(self, source: str) -> tuple[str, tuple[str, ...]]:
        """Return what a piece of source says, and the placeholders in it."""
        ...

    def write(self, text: str, fields: Sequence[str]) -> str:
        """Return the source of a text in which only these placeholders are to be filled in."""
        ...

    def fill(self, source: str) -> Callable[[Mapping[str, Any]], str]:
        """Return what fills a piece of source in."""
        ...


def core(source: str, start: int, end: int) -> tuple[int, int]:
    """Return the part of a span without the blanks at its edges; all blank: the end of it."""
    inner = source[start:end]
    if not inner.strip():
        return end, end
    return start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())


def spliced(source: str, changes: Mapping[Region, str]) -> str:
    """Return a source with regions rewritten; every other byte stays."""
    parts, done = [], 0
    for region in sorted(changes, key=lambda region: region.start):
        parts += [source[done : region.start], changes[region]]
        done = region.end
    return "".join([*parts, source[done:]])


def once(names: Iterable[str]) -> None:
    """Refuse two regions of one name.

    Raises:
        ConfigError: there are.
    """
    seen = set[str]()
    for name in names:
        if name in seen:
            raise ConfigError(f"two regions are called {name!r}: give each its own name")
        seen.add(name)


def around_fields(text: str, fields: Sequence[str]) -> list[str]:
    """Split a text at its placeholders: plain pieces at even places, placeholders at odd ones."""
    if not fields:
        return [text]
    longest_first = sorted(set(fields), key=len, reverse=True)
    return re.split(f"({'|'.join(map(re.escape, longest_first))})", text)
