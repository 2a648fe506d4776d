"""Prompts as a page to read or to paste."""

from __future__ import annotations

import json
from typing import Any

from luthier.exports.parts import Parts
from luthier.program.prompt import Prompt


def as_markdown(parts: Parts) -> str:
    """Return a section per predictor or text: its instruction, then its demonstrations."""
    return "\n".join(_section(name, prompt) for name, prompt in sorted(parts.candidate.prompts.items()))


def _section(name: str, prompt: Prompt) -> str:
    said = [f"## {name}\n", prompt.instruction.strip() + "\n"]
    for number, demo in enumerate(prompt.demos, start=1):
        said.append(f"### Demo {number}\n")
        reasoning = {} if demo.reasoning is None else {"reasoning": demo.reasoning}
        for field, value in {**demo.inputs, **reasoning, **demo.outputs}.items():
            said.append(f"**{field}**\n\n{_fenced(value)}\n")
    return "\n".join(said)


def _fenced(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"
