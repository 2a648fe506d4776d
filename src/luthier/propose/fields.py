"""Which values of a program may be shown, and how they are written for a proposer."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

from luthier.lm.images import without_images
from luthier.program.candidate import Demo
from luthier.program.signature import Field, Private, Signature
from luthier.program.text import Guard
from luthier.program.values import value_to_json

if TYPE_CHECKING:
    from luthier.evaluation.data import Row
    from luthier.program.predictor import Predictor
    from luthier.program.program import Program


@dataclass(frozen=True, slots=True)
class Subject:
    """What an instruction is written for: a component, as a proposer sees it."""

    name: str
    original: str
    facts: str
    """What it is and does, as the sentence "It …" goes on."""
    outputs: tuple[Field, ...] = ()
    known: str = ""
    """Words of the program's own that a proposal may use freely."""
    guard: Guard = field(default_factory=Guard)


def subject_of(signature: Signature) -> Subject:
    """Return a predictor as a proposer sees it."""
    gets = ", ".join(_named(field) for field in shown(signature.inputs)) or "nothing"
    gives = ", ".join(_named(field) for field in shown(signature.outputs))
    return Subject(
        signature.name,
        signature.instruction,
        f"is given {gets}, and must answer with {gives}.",
        signature.outputs,
        "\n".join(f"{field.name} {field.description}" for field in (*signature.inputs, *signature.outputs)),
    )


def subjects_of(program: Program) -> dict[str, Subject]:
    """Return all components of a program that have an instruction or a text, by name, sorted."""
    subjects = {
        p.name: _guarded(_with_tools(subject_of(p.signature), p), p.guard)
        for p in program.predictors
        if p.kind.takes_text
    }
    for text in program.texts:
        subject = Subject(text.name, text.text, text.facts or "is a part of a prompt.", known=text.facts)
        subjects[text.name] = _guarded(subject, text.guard)
    today = program.original.prompts
    return {name: replace(subject, original=today[name].instruction) for name, subject in sorted(subjects.items())}


def _with_tools(subject: Subject, predictor: Predictor[..., Any]) -> Subject:
    if not predictor.tools:
        return subject
    offered = "; ".join(
        f"{text.name.partition('.')[0]}: {text.text}" for t in predictor.tools for text in t.luthier_texts
    )
    return replace(subject, facts=f"{subject.facts} It may call tools instead: {offered}")


def signatures_of(program: Program) -> dict[str, Signature]:
    """Return the signatures of a program's predictors that take demos, by name, sorted."""
    predictors = sorted(program.predictors, key=lambda predictor: predictor.name)
    return {p.name: p.signature for p in predictors if p.kind.takes_demos}


def private_names(program: Program) -> frozenset[str]:
    """Return the names that are private anywhere in a program: fields of predictors and parameters of its own.

    A name private in one place is treated as private everywhere: a column cannot be a secret here and a demo there.
    """
    fields = {
        field.name
        for predictor in program.predictors
        for field in (*predictor.signature.inputs, *predictor.signature.outputs)
        if field.private
    }
    return frozenset(fields | {name for name, hint in _hints(program.function).items() if _is_private(hint)})


def shown(fields: tuple[Field, ...], hidden: frozenset[str] = frozenset()) -> tuple[Field, ...]:
    """Return the fields that may be shown."""
    return tuple(field for field in fields if not field.private and field.name not in hidden)


def value_text(value: Any, limit: int | None = None) -> str:
    """Return a value as one reads it, cut to ``limit`` characters."""
    plain = without_images(value if isinstance(value, str) else value_to_json(value))
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    return text if limit is None or len(text) <= limit else text[: max(0, limit - 1)].rstrip() + "…"


def named_text(values: Mapping[str, Any], *, limit: int | None = None, separator: str = "\n") -> str:
    """Return values as ``name: value`` lines."""
    return separator.join(f"{name}: {value_text(value, limit)}" for name, value in values.items())


def row_values(row: Row, hidden: frozenset[str]) -> dict[str, Any]:
    """Return what may be shown of a row: inputs and labels, private columns left out."""
    columns = {**row.inputs, **row.labels}
    return {name: value for name, value in columns.items() if name not in hidden}


def demo_text(demo: Demo, *, limit: int | None = None, arrow: str = "\n") -> str:
    """Return a demo as text: inputs, then reasoning and outputs."""
    parts = [named_text(demo.inputs, limit=limit)] if demo.inputs else []
    if demo.reasoning:
        parts.append(f"reasoning: {value_text(demo.reasoning, limit)}")
    parts.append(named_text(demo.outputs, limit=limit))
    return arrow.join(parts)


def _guarded(subject: Subject, guard: Guard) -> Subject:
    return replace(subject, facts="\n".join(filter(None, (subject.facts, guard.sentences))), guard=guard)


def _named(field: Field) -> str:
    notes = "; ".join(filter(None, (field.description, f"one of {', '.join(field.choices)}" if field.choices else "")))
    return f"{field.name} ({notes})" if notes else field.name


def _hints(function: Any) -> dict[str, Any]:
    target = function if inspect.isroutine(function) else getattr(type(function), "__call__", function)  # noqa: B004
    try:
        return get_type_hints(target, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        # An annotation that cannot be resolved here; what the predictors' own fields say still holds.
        return dict(getattr(target, "__annotations__", {}))


def _is_private(hint: Any) -> bool:
    if isinstance(hint, str):
        # Unresolved text: hiding one name too many is harmless, showing one is not.
        return "Private" in hint
    return get_origin(hint) is Annotated and any(
        mark is Private or isinstance(mark, Private) for mark in get_args(hint)[1:]
    )
