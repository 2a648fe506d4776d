"""The same facts in five layouts: JSON, Markdown, DSPy's, GEPA's, and prose."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Render = Callable[[str, str, Sequence["Failure"]], str]


@dataclass(frozen=True)
class Failure:
    """What an optimizer knows of one call of a stage."""

    note: str
    said: str
    feedback: str


def as_json(instruction: str, field: str, failures: Sequence[Failure]) -> str:
    shown = [{"inputs": {"note": f.note}, "output": {field: f.said}, "feedback": f.feedback} for f in failures]
    return f"Here is a step and how it went: {json.dumps({'instruction': instruction, 'runs': shown})}\n\nImprove it."


def as_markdown(instruction: str, field: str, failures: Sequence[Failure]) -> str:
    rows = [f"## Run\n\n**note:** {f.note}\n\n**{field}:** {f.said}\n\n> {f.feedback}" for f in failures]
    return "\n\n".join([f"# Current prompt\n\n{instruction}", *rows, "Write a better prompt."])


def as_dspy(instruction: str, field: str, failures: Sequence[Failure]) -> str:
    shown = json.dumps(
        [{"Inputs": {"note": f.note}, "Generated Outputs": {field: f.said}, "Feedback": f.feedback} for f in failures]
    )
    return (
        f"[[ ## current_instruction ## ]]\n{instruction}\n\n[[ ## examples_with_feedback ## ]]\n{shown}\n\n"
        "Respond with the corresponding output fields, starting with the field `[[ ## new_instruction ## ]]`, and then "
        "ending with the marker for `[[ ## completed ## ]]`."
    )


def as_gepa(instruction: str, field: str, failures: Sequence[Failure]) -> str:
    rows = [
        f"# Example {number}\n## Inputs\n### note\n{f.note}\n\n## Generated Outputs\n### {field}\n{f.said}\n\n"
        f"## Feedback\n{f.feedback}\n\n"
        for number, f in enumerate(failures, 1)
    ]
    return (
        f"I provided an assistant with the following instructions:\n```\n{instruction}\n```\n\n"
        f"Examples:\n```\n{''.join(rows)}\n```\n\n"
        "Provide the new instructions within ``` blocks."
    )


def as_prose(instruction: str, field: str, failures: Sequence[Failure]) -> str:
    rows = [f"For {f.note}, the model said {f.said} as the {field}. The user remarked: {f.feedback}" for f in failures]
    return f"The model was told: {instruction}\n\n{' '.join(rows)}\n\nWhat should it be told instead?"


LAYOUTS: dict[str, Render] = {
    "json": as_json,
    "markdown": as_markdown,
    "dspy": as_dspy,
    "gepa": as_gepa,
    "prose": as_prose,
}
