"""``lt.Template``: a prompt of one's own, in a file or a string, whose marked regions are tuned."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from luthier.canonical import content_hash
from luthier.errors import ConfigError
from luthier.program.call import pending_call
from luthier.program.component import check_fit
from luthier.program.prompt import Kind
from luthier.program.templates.braces import Braces, BracesFile, Nothing
from luthier.program.templates.jinja import JinjaFile, JinjaText, environment
from luthier.program.templates.regions import Filler, Form, Placeholders, Region, spliced
from luthier.program.templates.yaml import YamlFile
from luthier.program.text import Guard, Text
from luthier.program.wording import Shown

if TYPE_CHECKING:
    from luthier.lm.request import Message
    from luthier.program.candidate import Candidate

Syntax = Literal["format", "jinja", "yaml", "yaml+jinja", "yaml+none"]

_BY_ENDING: dict[str, Syntax] = {".j2": "jinja", ".jinja": "jinja", ".jinja2": "jinja", ".yaml": "yaml", ".yml": "yaml"}
_AROUND = 1500
"""Characters of the fixed text on either side of a region that the proposer is shown."""


class Template:
    """A prompt template whose marked regions are tuned; all else of it is fixed to the byte.

    Args:
        source: the template.
        name: by which its regions are named, as in ``NAME.region``.
        syntax: ``format`` (``{name}``), ``jinja``, ``yaml`` (strings filled in as ``format``), ``yaml+jinja``, or
            ``yaml+none``.
        guards: by region, what a proposed text must keep to; placeholders of the original are always kept.
        jinja: options of Jinja's environment, e.g. ``{"trim_blocks": True}``.
        filters: filters of Jinja's environment.
        path: the file it comes from.

    Raises:
        ConfigError: the source or a mark is malformed, there is no mark, or a library is missing.
    """

    def __init__(
        self,
        source: str,
        *,
        name: str,
        syntax: Syntax = "format",
        guards: Mapping[str, Guard] | None = None,
        jinja: Mapping[str, Any] | None = None,
        filters: Mapping[str, Callable[..., Any]] | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        self._made_of = (source, name, syntax, guards, jinja, filters, path)
        self.name = name
        self.source = source
        """What stands in the file, or was given."""
        self.path = None if path is None else Path(path)
        """The file it comes from, if any."""
        self.syntax = syntax
        folder = None if self.path is None else self.path.parent
        place = f"template {name!r}" if self.path is None else str(self.path)
        try:
            self._form = _form(syntax, source, folder, jinja or {}, filters or {})
            self.regions: Mapping[str, Region] = {region.name: region for region in self._form.regions(source)}
            """By name, each with its span in ``source``."""
            self.takes_demos = self._form.takes_demos(source)
            """Whether it says where demos go."""
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from error
        if unknown := sorted(set(guards or {}) - set(self.regions)):
            raise ConfigError(
                f"{place}: guards name {unknown[0]!r}; its regions are {', '.join(self.regions) or 'none'}"
            )
        fixed = spliced(source, dict.fromkeys(self.regions.values(), ""))
        self.identity = content_hash([syntax, fixed])
        """Identifies what of it is fixed."""
        self.length = len(source)
        """Characters."""
        self.luthier_texts = tuple(
            self._text(region, (guards or {}).get(region.name), place) for region in self.regions.values()
        )
        """Its regions as components."""
        # A study has a few dozen candidates in flight, and each is rendered for many examples.
        self._filler = functools.lru_cache(maxsize=64)(lambda texts: self._form.compiled(self._with(dict(texts))))

    @staticmethod
    def load(
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        syntax: Syntax | None = None,
        guards: Mapping[str, Guard] | None = None,
        jinja: Mapping[str, Any] | None = None,
        filters: Mapping[str, Callable[..., Any]] | None = None,
    ) -> Template:
        """Read a template from a file.

        Args:
            path: the file, in UTF-8.
            name: the file's name without its endings where left out.
            syntax: by the file's ending where left out: ``.j2``, ``.jinja``, ``.yaml``, ``.yml``; others ``format``.
            guards: as of the class, like the others.
            jinja: options of Jinja's environment.
            filters: filters of Jinja's environment.

        Raises:
            ConfigError: the file cannot be read or used.
        """
        file = Path(path)
        try:
            source = file.read_bytes().decode()
        except OSError as error:
            raise ConfigError(f"cannot read the template {file}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"the template {file} is not UTF-8: {error}") from error
        return Template(
            source,
            name=file.name.partition(".")[0] if name is None else name,
            syntax=_BY_ENDING.get(file.suffix.lower(), "format") if syntax is None else syntax,
            guards=guards,
            jinja=jinja,
            filters=filters,
            path=file,
        )

    def render(self, **inputs: Any) -> str:
        """Return the template filled in, with the current candidate's texts in its regions.

        Raises:
            ConfigError: an input is missing, or the file holds data that is no text and no chat.
        """
        return self.written(inputs, self._shown())

    def messages(self, **inputs: Any) -> list[Any]:
        """Return chat messages as OpenAI-compatible clients take them; a text is one user's turn.

        Each is a mapping with ``role`` and ``content``; every client has a type of its own for it.

        Raises:
            ConfigError: as ``render``.
        """
        return self._current().messages(inputs, self._shown())

    def data(self, **inputs: Any) -> Any:
        """Return the data of a YAML file with its strings filled in; a text where the template is one.

        Raises:
            ConfigError: an input is missing.
        """
        return self._current().data(inputs)

    def apply(self, candidate: Candidate) -> str:
        """Return the source with a candidate's texts in its regions; every byte outside of them stays.

        Raises:
            CandidateError: a text was made for other placeholders.
        """
        changes = {}
        for text in self.luthier_texts:
            if text.name in candidate.prompts:
                check_fit(candidate, text)
                changes[text.name] = candidate.prompts[text.name].instruction
        return self._with(changes)

    def turns(self, inputs: Mapping[str, Any], shown: Shown | None) -> tuple[Message, ...]:
        """Return the chat form, for a predictor that luthier calls."""
        from luthier.lm.request import Message

        return tuple(Message(one["role"], one["content"]) for one in self._current().messages(inputs, shown))

    def written(self, inputs: Mapping[str, Any], shown: Shown | None) -> str:
        """Return the form of one text, for a predictor that luthier calls."""
        return self._current().text(inputs, shown)

    def __reduce__(self) -> tuple[Any, ...]:
        # Programs travel to the workers of a cluster, with the templates they mention.
        return _made_again, self._made_of

    def __repr__(self) -> str:
        return f"<template {self.name}: {', '.join(self.regions) or 'no region'}>"

    def _current(self) -> Filler:
        return self._filler(tuple((text.name, text.current()) for text in self.luthier_texts))

    def _with(self, texts: Mapping[str, str]) -> str:
        changes = {}
        for region in self.regions.values():
            text = texts.get(f"{self.name}.{region.name}", region.text).strip()
            if text != region.text:
                changes[region] = self._form.written(self.source, region, text)
        return spliced(self.source, changes)

    def _shown(self) -> Shown | None:
        """Return the demos of the predictor in whose body this is, if the template is its."""
        call = pending_call.get()
        if call is None or call.predictor.template is not self:
            return None
        return Shown(call.predictor.signature, call.prompt.demos)

    def _text(self, region: Region, guard: Guard | None, place: str) -> Text:
        guard = guard or Guard()
        before, after = self.source[: region.start][-_AROUND:], self.source[region.end :][:_AROUND]
        facts = (
            f"is the part `{region.name}` of a prompt template. All else of the template is fixed; here it is, "
            f"with [THIS PART] where the part stands:\n{before}[THIS PART]{after}"
        )
        return Text(
            f"{self.name}.{region.name}",
            Kind.REGION,
            region.text,
            facts=facts,
            takes=tuple(dict.fromkeys(region.fields)),
            guard=Guard(guard.max_tokens, _both(region.fields, guard.must_contain), guard.forbid),
            around=self.identity,
            place=place,
        )


def _made_again(source: str, name: str, syntax: Syntax, guards: Any, jinja: Any, filters: Any, path: Any) -> Template:
    return Template(source, name=name, syntax=syntax, guards=guards, jinja=jinja, filters=filters, path=path)


def _both(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*first, *second]))


def _form(
    syntax: Syntax, source: str, folder: Path | None, jinja: Mapping[str, Any], filters: Mapping[str, Any]
) -> Form:
    if syntax == "format":
        return BracesFile()
    if syntax == "jinja":
        return JinjaFile(folder, jinja, filters)
    inner: Placeholders
    if syntax == "yaml":
        inner = Braces()
    elif syntax == "yaml+jinja":
        inner = JinjaText(environment(folder, jinja, filters))
    elif syntax == "yaml+none":
        inner = Nothing()
    else:
        raise ConfigError(f"syntax={syntax!r}: must be format, jinja, yaml, yaml+jinja, or yaml+none")
    return YamlFile(inner)
