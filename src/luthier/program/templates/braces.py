"""``str.format``: ``{name}`` is filled in; regions stand between ``<<tune:NAME>>`` and ``<<end>>``.

A mark that stands alone on its line takes the line with it; ``<<demos>>`` is where demos go. To have a mark in the
text itself, write ``<<!end>>``.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from luthier.errors import ConfigError
from luthier.program.render import demo_blocks
from luthier.program.templates.regions import DEMOS, NAME, Filler, Placeholders, Region, around_fields, core, once
from luthier.program.wording import Shown

_MARK = re.compile(rf"<<(tune:{NAME}|end|{DEMOS})>>")
_LINE = re.compile(
    rf"^[ \t]*<<(tune:{NAME}|end|{DEMOS})>>[ \t]*(?:\r\n|\r|\n)|<<(tune:{NAME}|end|{DEMOS})>>", re.MULTILINE
)
_ESCAPED = re.compile(rf"<<!(!*(?:tune:{NAME}|end|{DEMOS}))>>")
_LIKE_A_MARK = re.compile(rf"<<(!*(?:tune:{NAME}|end|{DEMOS}))>>")


class Nothing:
    """No placeholders: every character is meant."""

    def read(self, source: str) -> tuple[str, tuple[str, ...]]:
        """Return the source as it is."""
        return source, ()

    def write(self, text: str, fields: Sequence[str]) -> str:
        """Return the text as it is."""
        del fields
        return text

    def fill(self, source: str) -> Callable[[Mapping[str, Any]], str]:
        """Return what gives the source, whatever the inputs."""
        return lambda inputs: source


class Braces:
    """The placeholders of ``str.format``."""

    def read(self, source: str) -> tuple[str, tuple[str, ...]]:
        """Undo doubled braces; find the fields.

        Raises:
            ConfigError: the source is no format string.
        """
        text, fields, done = [], [], 0
        for piece in _pieces(source):
            text.append(source[done : piece.start].replace("{{", "{").replace("}}", "}"))
            fields.append(source[piece.start : piece.end])
            text.append(fields[-1])
            done = piece.end
        text.append(source[done:].replace("{{", "{").replace("}}", "}"))
        return "".join(text), tuple(fields)

    def write(self, text: str, fields: Sequence[str]) -> str:
        """Double the braces of all but the fields."""
        pieces = around_fields(text, fields)
        return "".join(
            piece if place % 2 else piece.replace("{", "{{").replace("}", "}}") for place, piece in enumerate(pieces)
        )

    def fill(self, source: str) -> Callable[[Mapping[str, Any]], str]:
        """Return ``source.format``."""

        def filled(inputs: Mapping[str, Any]) -> str:
            try:
                return source.format(**inputs)
            except (KeyError, IndexError) as error:
                raise ConfigError(
                    f"the template wants {error}, which is not among the inputs {sorted(inputs)}"
                ) from error

        return filled


class _Piece(NamedTuple):
    """Where a replacement field stands."""

    start: int
    end: int


def _pieces(source: str) -> Iterator[_Piece]:
    try:
        list(string.Formatter().parse(source))
    except ValueError as error:
        raise ConfigError(f"not a format string: {error}; write a brace of the text twice, {{{{ or }}}}") from error
    place = 0
    while (start := source.find("{", place)) >= 0:
        if source.startswith("{{", start):
            place = start + 2
            continue
        depth, end = 1, start + 1
        while depth and end < len(source):
            depth += {"{": 1, "}": -1}.get(source[end], 0)
            end += 1
        yield _Piece(start, end)
        place = end


class BracesFile:
    """A text file for ``str.format``, with marks."""

    def __init__(self, placeholders: Placeholders | None = None) -> None:
        self._placeholders = Braces() if placeholders is None else placeholders

    def regions(self, source: str) -> tuple[Region, ...]:
        """Return what stands between marks.

        Raises:
            ConfigError: a mark lacks its other half, or a name comes twice.
        """
        found, opened = list[Region](), None
        for mark in _MARK.finditer(source):
            word = mark[1]
            if word == "end":
                if opened is None:
                    raise ConfigError("<<end>> stands where no region is open")
                start, end = core(source, opened.end(), mark.start())
                text, fields = self._placeholders.read(source[start:end])
                found.append(Region(opened[1].removeprefix("tune:"), start, end, _unescaped(text), fields))
                opened = None
            elif opened is not None:
                raise ConfigError(f"<<{word}>> stands inside the region of <<{opened[1]}>>: end that one first")
            elif word != DEMOS:
                opened = mark
        if opened is not None:
            raise ConfigError(f"<<{opened[1]}>> has no <<end>>")
        once(region.name for region in found)
        return tuple(found)

    def takes_demos(self, source: str) -> bool:
        """Whether ``<<demos>>`` is there."""
        return any(mark[1] == DEMOS for mark in _MARK.finditer(source))

    def written(self, source: str, region: Region, text: str) -> str:
        """Return the text with braces doubled, and what looks like a mark marked as none."""
        del source
        return self._placeholders.write(_LIKE_A_MARK.sub(r"<<!\1>>", text), region.fields)

    def compiled(self, source: str) -> Filler:
        """Return the source without its marks, ready to be formatted."""
        pieces, slots, done = list[str](), list[int](), 0
        for mark in _LINE.finditer(source):
            pieces.append(_unescaped(source[done : mark.start()]))
            done = mark.end()
            if (mark[1] or mark[2]) == DEMOS:
                slots.append(len(pieces))
        pieces.append(_unescaped(source[done:]))
        joined = _joined(pieces, slots)
        return TextFiller([self._placeholders.fill(piece) for piece in joined])


def _joined(pieces: Sequence[str], slots: Sequence[int]) -> list[str]:
    bounds = [0, *slots, len(pieces)]
    return ["".join(pieces[begin:end]) for begin, end in itertools.pairwise(bounds)]


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"<<\1>>", text)


class TextFiller:
    """Pieces of text with the places for demos between them."""

    def __init__(self, pieces: Sequence[Callable[[Mapping[str, Any]], str]]) -> None:
        self._pieces = pieces

    def text(self, inputs: Mapping[str, Any], shown: Shown | None) -> str:
        """Return the text, demos as blocks of lines with a blank line after each."""
        return demos_text(shown).join(piece(inputs) for piece in self._pieces)

    def data(self, inputs: Mapping[str, Any]) -> Any:
        """Return the text."""
        return self.text(inputs, None)

    def messages(self, inputs: Mapping[str, Any], shown: Shown | None) -> list[dict[str, Any]]:
        """Return the text as one user's turn."""
        return [{"role": "user", "content": self.text(inputs, shown)}]


def demos_text(shown: Shown | None) -> str:
    """Return demos as blocks of lines, each with a blank line after it; nothing where there are none."""
    blocks = [] if shown is None else demo_blocks(shown.signature, shown.demos)
    return "".join(f"{block}\n\n" for block in blocks)
