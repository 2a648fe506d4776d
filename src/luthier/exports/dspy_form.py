"""The state of a DSPy program: what ``module.load(path)`` reads into a module with predictors of the same names.

The instruction and the demonstrations carry over whole. DSPy's adapter writes its own messages around them, so a DSPy
program does not send luthier's messages, and may score differently.
"""

from __future__ import annotations

import json
import re
from typing import Any

from luthier.exports.parts import Part, Parts
from luthier.program.prompt import Demo, DemoSource
from luthier.program.signature import REASONING, Field

_INNER = ".predict"
"""Where ``dspy.ChainOfThought`` keeps its one predictor."""


def as_dspy(parts: Parts) -> str:
    """Return the state by predictor; a module reads the names that it has, and no others."""
    state: dict[str, Any] = {name: _state(part) for part in parts.parts for name in state_names(part)}
    return json.dumps({**state, "metadata": {"dependency_versions": {}}}, ensure_ascii=False, indent=2) + "\n"


def state_names(part: Part) -> tuple[str, ...]:
    """Return the names DSPy may give the predictor: one that reasons is often inside a ``dspy.ChainOfThought``."""
    inner = (f"{part.name}{_INNER}",) if part.signature.reasoning and not part.name.endswith(_INNER) else ()
    return (part.name, *inner)


def _state(part: Part) -> dict[str, Any]:
    signature = part.signature
    outputs = (*((Field(REASONING, str),) if signature.reasoning else ()), *signature.outputs)
    return {
        "traces": [],
        "train": [],
        "demos": demos_of(part),
        "signature": {
            "instructions": part.prompt.instruction,
            "fields": [_field(field) for field in (*signature.inputs, *outputs)],
        },
        "lm": None,
    }


def demos_of(part: Part) -> list[dict[str, Any]]:
    """Return demonstrations as DSPy keeps them: inputs, reasoning, and outputs side by side."""
    return [_demo(part, demo) for demo in part.prompt.demos]


def _demo(part: Part, demo: Demo) -> dict[str, Any]:
    private = {field.name for field in (*part.signature.inputs, *part.signature.outputs) if field.private}
    made = demo.provenance is not None and demo.provenance.source is DemoSource.BOOTSTRAPPED
    reasoning = {} if demo.reasoning is None else {REASONING: demo.reasoning}
    values = {**demo.inputs, **reasoning, **demo.outputs}
    shown = {name: value for name, value in values.items() if name not in private}
    return {"augmented": True, **shown} if made else shown


def _field(field: Field) -> dict[str, str]:
    description = field.description or f"${{{field.name}}}"
    return {"prefix": f"{_title(field.name)}:", "description": description}


def _title(name: str) -> str:
    """Return a field's name in words, as DSPy does."""
    apart = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    apart = re.sub("([a-z0-9])([A-Z])", r"\1_\2", apart)
    apart = re.sub("([a-zA-Z])([0-9])", r"\1_\2", apart)
    apart = re.sub("([0-9])([a-zA-Z])", r"\1_\2", apart)
    return " ".join(word if word.isupper() else word.capitalize() for word in apart.split("_"))
