"""Writes ``docs/events.md`` from the events: ``python -m luthier.study.events_reference > docs/events.md``."""

from __future__ import annotations

import ast
import inspect
import itertools
from collections.abc import Iterator

from luthier.study import events
from luthier.study.events import EVENTS, Field, FullEvaluation, Outcome, Record, fields_of

_INTRODUCTION = """\
# Events

Written by `python -m luthier.study.events_reference`; a test compares it with `luthier/study/events.py`.

`journal.jsonl` holds one JSON object a line. Every event has

| field | type | |
|---|---|---|
| `v` | integer | Version of the schema: 1. |
| `seq` | integer | Number of the event in this journal, from 0. |
| `event` | string | Its name. |
| `time` | string | When it was written, ISO 8601, UTC. |
| `sum` | string | Last in the line: a checksum of the line without it. Readers and listeners do not get it. |

and the fields of its kind, below. An *optional* field is written only where it says something. Events are only ever
appended; a torn last line is what a killed process leaves, and is ignored. A reader should skip events and fields it
does not know. A change that could mislead a reader raises `v`; readers for released versions stay.

`optimize(..., on_event=f)` calls `f` with every event as it is written, and with *transient* ones, which carry
`"transient": true` and are not in the journal.

Scores lie in [0, 1]. Examples are named by the ids of the `split` event, which are hashes of the inputs; the journal
holds none of your rows except in demonstrations.

## In the order of a study

An optimizer writes only the events of the steps it has: Bootstrap Random Search, for instance, has no `grounding` and
no `proposals`.
"""
_RECORDS: dict[type[Record], str] = {Outcome: "## Outcomes", FullEvaluation: "## Trials of `starts` and `closing`"}
_TYPES = {
    "Mapping": "object",
    "Json": "object",
    "Sequence": "array",
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "Any": "any",
}


def reference() -> str:
    """Return the reference of the journal's events as Markdown."""
    classes = {node.name: node for node in ast.parse(inspect.getsource(events)).body if isinstance(node, ast.ClassDef)}
    titles: dict[type[Record], str] = {event: f"### `{event.kind}`" for event in EVENTS}
    lines = [_INTRODUCTION]
    for kind, title in {**titles, **_RECORDS}.items():
        lines += [f"{title}\n", *_section(kind, classes)]
    return "\n".join(lines)


def _section(kind: type[Record], classes: dict[str, ast.ClassDef]) -> Iterator[str]:
    yield f"{_sentence(kind.__doc__ or '')}\n"
    yield "| field | type | |\n|---|---|---|"
    said = {name: text for base in reversed(kind.__mro__) for name, text in _field_docs(classes.get(base.__name__))}
    for one in fields_of(kind):
        yield f"| `{one.key}` | {_type(one)} | {said[one.name]} |"
    yield ""


def _field_docs(node: ast.ClassDef | None) -> Iterator[tuple[str, str]]:
    """Return a class's fields with the strings that follow them."""
    body = [] if node is None else node.body
    for one, after in itertools.pairwise(body):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and isinstance(after, ast.Expr):
            yield one.target.id, _sentence(str(ast.literal_eval(after.value)))


def _type(one: Field) -> str:
    text = one.annotation.removesuffix(" | None")
    null = ", or null" if text != one.annotation and one.is_required else ""
    optional = "" if one.is_required else ", optional"
    return f"{_TYPES[text.partition('[')[0]]}{null}{optional}"


def _sentence(text: str) -> str:
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


if __name__ == "__main__":
    import sys

    sys.stdout.write(reference())
