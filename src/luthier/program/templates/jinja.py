"""Jinja: regions stand between ``{# tune: NAME #}`` and ``{# end #}``, which plain Jinja skips as comments.

``{# demos #}`` is where demos go. A region holds text and ``{{ … }}``; tags such as ``{% if %}`` stand around it.
Rendering is sandboxed. What is proposed is written so that Jinja gives it back letter for letter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from luthier.errors import ConfigError
from luthier.program.templates.braces import demos_text
from luthier.program.templates.regions import DEMOS, NAME, Filler, Region, around_fields, core, once
from luthier.program.wording import Shown

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

_MARK = re.compile(rf"\{{\#([-+]?)\s*(tune:\s*{NAME}|end|{DEMOS})\s*([-+]?)\#\}}")
_RAW = re.compile(r"\{%[-+]?\s*raw\s*[-+]?%\}")
_END_RAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
_INSIDE = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[\[({\])}]|%""", re.DOTALL)
_CONSTANT = re.compile(r"\{\{\s*(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")\s*\}\}", re.DOTALL)
_SLOT = "luthier_demos"


class _Piece(NamedTuple):
    """A part of a source: plain text, ``{{``, ``{%``, ``{#``, or all between raw tags."""

    opening: str
    start: int
    end: int


class JinjaText:
    """The placeholders of Jinja, ``{{ … }}``.

    Args:
        environment: renders.
        newline: how the file ends its lines.
    """

    def __init__(self, environment: SandboxedEnvironment, newline: str = "\n") -> None:
        self._environment = environment
        self._newline = newline

    def read(self, source: str) -> tuple[str, tuple[str, ...]]:
        """Undo constants such as ``{{ '{' }}``; find the other expressions.

        Raises:
            ConfigError: there is a tag or a comment in it.
        """
        text, fields = list[str](), list[str]()
        for piece in _pieces(source):
            written = source[piece.start : piece.end]
            if piece.opening == "{{" and (constant := _CONSTANT.fullmatch(written)) is not None:
                text.append(_constant(constant))
            elif piece.opening == "{{":
                text.append(written)
                fields.append(written)
            elif piece.opening:
                raise ConfigError(f"a region holds text and {{{{ … }}}} only: put {written!r} outside of it")
            else:
                text.append(re.sub(r"\r\n?", "\n", written))
        return "".join(text), tuple(fields)

    def write(self, text: str, fields: Sequence[str]) -> str:
        """Write what Jinja would interpret as constants, all but the fields."""
        pieces = around_fields(text, fields)
        return "".join(piece if place % 2 else self._written(piece) for place, piece in enumerate(pieces))

    def fill(self, source: str) -> Callable[[Mapping[str, Any]], str]:
        """Return the template's ``render``.

        Raises:
            ConfigError: the source is no Jinja template.
        """
        import jinja2

        try:
            template = self._environment.from_string(source)
        except jinja2.TemplateError as error:
            raise ConfigError(f"not a Jinja template: {error}") from error
        return lambda inputs: template.render(dict(inputs))

    def _written(self, text: str) -> str:
        # A brace at the end of a piece, or before what is written as a constant, may meet the brace of what follows.
        text = re.sub(r"\{(?=[{%#\r]|\Z)|\r", lambda found: f"{{{{ {found[0]!r} }}}}", text)
        return text.replace("\n", self._newline)


class JinjaFile:
    """A Jinja file with marks."""

    def __init__(self, folder: Path | None, options: Mapping[str, Any], filters: Mapping[str, Any]) -> None:
        self._environment = environment(folder, options, filters)

    def regions(self, source: str) -> tuple[Region, ...]:
        """Return what stands between marks.

        Raises:
            ConfigError: the source is no template, a mark lacks its other half, or a name comes twice.
        """
        text = self._text(source)
        text.fill(source)  # Jinja's own words on what is wrong come first
        found, opened = list[Region](), None
        for mark in _marks(source):
            word = mark[2]
            if word == "end":
                if opened is None:
                    raise ConfigError("{# end #} stands where no region is open")
                start, end = core(source, opened.end(), mark.start())
                said, fields = text.read(source[start:end])
                found.append(Region(re.sub(r"tune:\s*", "", opened[2]), start, end, said, fields))
                opened = None
            elif opened is not None:
                raise ConfigError(f"{mark[0]} stands inside the region of {opened[0]}: end that one first")
            elif word != DEMOS:
                opened = mark
        if opened is not None:
            raise ConfigError(f"{opened[0]} has no {{# end #}}")
        once(region.name for region in found)
        return tuple(found)

    def takes_demos(self, source: str) -> bool:
        """Whether ``{# demos #}`` is there."""
        return any(mark[2] == DEMOS for mark in _marks(source))

    def written(self, source: str, region: Region, text: str) -> str:
        """Return the text as Jinja source."""
        return self._text(source).write(text, region.fields)

    def compiled(self, source: str) -> Filler:
        """Return the template."""
        parts, done = [], 0
        for mark in _marks(source):
            if mark[2] == DEMOS:
                # A tag trims the blanks around it just as the comment does, by its signs and by the options.
                slot = f"{{%{mark[1]} if {_SLOT} %}}{{{{ {_SLOT} }}}}{{% endif {mark[3]}%}}"
                parts += [source[done : mark.start()], slot]
                done = mark.end()
        return _JinjaFiller(self._text(source).fill("".join([*parts, source[done:]])))

    def _text(self, source: str) -> JinjaText:
        return JinjaText(self._environment, "\r\n" if "\r\n" in source else "\n")


class _JinjaFiller:
    """A Jinja template ready to be rendered."""

    def __init__(self, render: Callable[[Mapping[str, Any]], str]) -> None:
        self._render = render

    def text(self, inputs: Mapping[str, Any], shown: Shown | None) -> str:
        """Return the text, demos as blocks of lines."""
        return self._render({**inputs, _SLOT: demos_text(shown)})

    def data(self, inputs: Mapping[str, Any]) -> Any:
        """Return the text."""
        return self.text(inputs, None)

    def messages(self, inputs: Mapping[str, Any], shown: Shown | None) -> list[dict[str, Any]]:
        """Return the text as one user's turn."""
        return [{"role": "user", "content": self.text(inputs, shown)}]


def environment(folder: Path | None, options: Mapping[str, Any], filters: Mapping[str, Any]) -> SandboxedEnvironment:
    """Return a sandboxed environment; what the file includes is looked for beside it.

    Raises:
        ConfigError: Jinja is not installed, or an option would change what a mark or a placeholder looks like.
    """
    try:
        import jinja2
        from jinja2.sandbox import SandboxedEnvironment
    except ImportError as error:
        raise ConfigError("Jinja templates need jinja2: pip install 'luthier[templates]'") from error
    if changed := sorted(name for name in options if name.endswith(("_string", "_prefix"))):
        raise ConfigError(f"{changed[0]}: marks and placeholders have Jinja's own delimiters")
    loader = None if folder is None else jinja2.FileSystemLoader(folder)
    made = SandboxedEnvironment(**{"loader": loader, **options})
    made.filters.update(filters)
    return made


def _marks(source: str) -> Iterator[re.Match[str]]:
    for piece in _pieces(source):
        if piece.opening == "{#" and (mark := _MARK.fullmatch(source, piece.start, piece.end)) is not None:
            yield mark


def _pieces(source: str) -> Iterator[_Piece]:
    """Take a source apart as Jinja's lexer does; what follows an opening without an end is plain."""
    place = 0
    while place < len(source):
        opening = re.compile(r"\{\{|\{%|\{\#").search(source, place)
        if opening is None:
            break
        end = _end(source, opening)
        if end is None:
            break
        if opening.start() > place:
            yield _Piece("", place, opening.start())
        yield _Piece(opening[0], opening.start(), end)
        place = end
    if place < len(source):
        yield _Piece("", place, len(source))


def _end(source: str, opening: re.Match[str]) -> int | None:
    if opening[0] == "{#":
        end = source.find("#}", opening.end())
        return None if end < 0 else end + 2
    if opening[0] == "{%" and (raw := _RAW.match(source, opening.start())) is not None:
        closing = _END_RAW.search(source, raw.end())
        return None if closing is None else closing.end()
    closing_text = "}}" if opening[0] == "{{" else "%}"
    depth, place = 0, opening.end()
    while (token := _INSIDE.search(source, place)) is not None:
        if depth == 0 and source.startswith(closing_text, token.start()):
            return token.start() + 2
        if token[0] in "[({":
            depth += 1
        elif token[0] in "])}":
            depth -= 1
        place = token.end()
    return None


def _constant(found: re.Match[str]) -> str:
    inner = found[1] if found[1] is not None else found[2]
    # As Jinja's own lexer reads it.
    return inner.encode("ascii", "backslashreplace").decode("unicode-escape")
