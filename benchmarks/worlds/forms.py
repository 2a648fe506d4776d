"""The form in which an answer is asked for, told from the request's structure: marks, JSON, a fence, names, or none.

A model looks at how it is asked, and answers alike. Nothing here knows a tool's wording: marks are whatever encloses a
field's name in a code span, keys are whatever is quoted in the sentence that asks for JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

_MARKED = re.compile(r"`([^\w`\n]{2,})(\w+)([^\w`\n]{2,})`")
_TAIL = 600
"""Characters at the end of a message in which it says how to answer."""
_KEY = re.compile(r"[\"`]([A-Za-z_][\w.]*)[\"`]")
_PLACE = re.compile(r'"(\w+)": "?\{\1\}')
_NAMED = re.compile(r"^(\w+): \S.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Form:
    """How to answer."""

    kind: Literal["plain", "marked", "object", "list", "fenced", "named"]
    fields: tuple[str, ...] = ()
    marks: tuple[str, str] = ("", "")
    closing: str = ""
    """A last mark that has no value."""
    structured: frozenset[str] = frozenset()
    """The fields that must be JSON objects."""

    def write(self, value: Callable[[str], str], items: Sequence[str], names: Sequence[str]) -> str:
        """Return the answer.

        Args:
            value: the text of a field; the field ``""`` is the whole answer.
            items: the answer as a list.
            names: the keys of a field that must be an object.
        """
        if self.kind == "marked":
            opening, end = self.marks
            parts = [f"{opening}{name}{end}\n{self._field(name, value, names)}" for name in self.fields]
            return "\n\n".join([*parts, f"{opening}{self.closing}{end}"] if self.closing else parts)
        if self.kind == "object":
            return json.dumps({name: value(name) for name in self.fields or ("answer",)})
        if self.kind == "list":
            objects = [dict.fromkeys(self.fields, item) for item in items]
            return json.dumps(objects if self.fields else list(items))
        if self.kind == "named":
            return "\n\n".join(f"{name}: {value(name)}" for name in self.fields)
        return f"```\n{value('')}\n```" if self.kind == "fenced" else value("")

    def _field(self, name: str, value: Callable[[str], str], names: Sequence[str]) -> str:
        return json.dumps({key: value(key) for key in names}) if name in self.structured else value(name)


def form_of(messages: Sequence[tuple[str, str]], after_case: str) -> Form:
    """Return the form that a request asks for.

    Args:
        messages: role and text of each message.
        after_case: the end of the last message, from its last case on; all of it where there is none.
    """
    system = "\n\n".join(text for role, text in messages[:-1] if role == "system")
    marked = _MARKED.findall(after_case[-4 * _TAIL :])
    if marked:
        return _marked(system, after_case, marked)
    if "```" in after_case[-_TAIL:].rpartition("\n\n")[2]:
        return Form("fenced")
    for text in (after_case[-_TAIL:], system[-_TAIL:]):
        if "JSON" in text:
            asked = text[text.rindex("JSON") :]
            fields = tuple(dict.fromkeys(_KEY.findall(asked) or _PLACE.findall(system)))
            return Form("list" if re.search(r"\b(array|list)\b", asked) else "object", fields)
    head, colon, template = system.rpartition(":\n\n")
    names = _NAMED.findall(template) if colon and head else []
    return Form("named", tuple(names)) if len(names) > 1 else Form("plain")


def _marked(system: str, asking: str, marked: Sequence[tuple[str, str, str]]) -> Form:
    opening, _, end = marked[0]
    names = list(dict.fromkeys(name for before, name, after in marked if (before, after) == (opening, end)))
    filled = [name for name in names if f"{opening}{name}{end}\n{{{name}}}" in system]
    bare = [name for name in names if name not in filled]
    structured = [name for name in filled if re.search(re.escape(f"{name}{end}`") + r"[^`]*?\b(dict|JSON)\b", asking)]
    if not filled:
        return Form("marked", tuple(names), (opening, end))
    return Form("marked", tuple(filled), (opening, end), bare[-1] if bare else "", frozenset(structured))
