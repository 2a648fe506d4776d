"""The forms that prompts can be taken elsewhere in, and ``lt.export``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from luthier.errors import ConfigError
from luthier.evaluation.sources import read_source
from luthier.exports.dspy_form import as_dspy
from luthier.exports.json_form import as_json
from luthier.exports.langchain_form import as_langchain
from luthier.exports.markdown_form import as_markdown
from luthier.exports.openai_form import as_openai
from luthier.exports.parts import Parts, Source, parts_of
from luthier.exports.promptfoo_form import as_promptfoo
from luthier.exports.python_form import as_python
from luthier.exports.verify import Checked, check

if TYPE_CHECKING:
    from luthier.program.lms import LMChoice

FORMS: Mapping[str, Callable[[Parts], str]] = {
    "json": as_json,
    "markdown": as_markdown,
    "openai": as_openai,
    "python": as_python,
    "langchain": as_langchain,
    "dspy": as_dspy,
    "promptfoo": as_promptfoo,
}
"""By name: from prompts to the text of a file."""
OF_ANY = ("dspy", "json", "markdown")
"""Forms that say what prompts hold, not which messages they become."""
WITHOUT_TEXTS = ("dspy", "promptfoo")
"""Forms that have no place for the texts of templates and tools."""


def export(
    source: Source,
    form: str,
    *,
    program: Callable[..., Any] | None = None,
    best: bool = False,
    lm: LMChoice | None = None,
    data: Any = None,
) -> str:
    """Return tuned prompts as the text of a file that works without luthier, after checking that it sends the same.

    Args:
        source: an ``lt.Candidate``, what ``lt.optimize`` returned, or the directory of a study or of saved prompts.
        form: "python", "openai", "langchain", "dspy", "promptfoo", "json", or "markdown" (docs/production.md).
        program: the program the prompts are for; without it types and descriptions of fields are not known, and
            messages are written as if all were text. A result knows its own.
        best: the best candidate found, whatever the verdict; else the recommended one.
        lm: who is to be asked, as in ``lt.optimize``: answers of several fields are JSON on servers with schemas.
            A study of servers knows its own.
        data: examples, in any form that ``lt.evaluate`` takes, to check with and to make promptfoo tests from.

    Raises:
        ConfigError: there is no such form, or the source holds no prompts.
        CandidateError: the prompts are for another program.
        DataError: the examples cannot be read.
    """
    rows = () if data is None else read_source(data, "data").rows
    return checked_export(parts_of(source, program=program, best=best, lm=lm), form, rows)[0]


def checked_export(parts: Parts, form: str, rows: Sequence[Mapping[str, Any]] = ()) -> tuple[str, Checked]:
    """Return a form's text, and what was compared.

    Raises:
        ConfigError: there is no such form.
        CandidateError: the text does not send what luthier sends.
    """
    text = unchecked_export(parts, form, rows)
    return text, check(text, form, parts, rows)


def unchecked_export(parts: Parts, form: str, rows: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return a form's text.

    Raises:
        ConfigError: there is no such form.
    """
    if form not in FORMS:
        raise ConfigError(f"{form!r} is no form of prompts: choose one of {', '.join(FORMS)}")
    if form in WITHOUT_TEXTS and not parts.parts:
        raise ConfigError(
            f"{parts.origin} holds only texts of templates or tools ({', '.join(parts.texts)}), for which "
            f"{form} has no place: write them into their template (luthier apply), or take another form"
        )
    beyond = [f"{part.name!r}: {part.beyond}" for part in parts.parts if part.beyond]
    if form not in OF_ANY and beyond:
        raise ConfigError(
            f"{form} cannot say what is sent for {'; '.join(beyond)}. Put the texts where they are written (luthier "
            f"apply) and bind the program, or take one of {', '.join(OF_ANY)}"
        )
    return as_promptfoo(parts, rows) if form == "promptfoo" else FORMS[form](parts)
