"""From what a proposer answered to the instruction in it."""

from __future__ import annotations

import json
import re

from luthier.program.thoughts import without_thoughts

_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_WHAT = r"(?:instructions?|prompts?)"
_LABEL = re.compile(
    r"^[\s*#_>-]*(?:here(?:'s| is)\b[^:\n]{0,60}\b(?:instruction|prompt|version)\b[^:\n]{0,60}|"
    r"(?:sure|certainly|of course|okay)\b[^:\n]{0,100}|"
    rf"(?:(?:the|my|your|a|one)\s+)?(?:(?:new|proposed|improved|better|revised|final|rewritten|updated)[\s_]+)*{_WHAT})"
    r"[\s*_\"]*:[\s*_]*",
    re.IGNORECASE,
)
_OPENING = re.compile(r"^(?:sure|certainly|of course|okay)[!.,]*\s*\n+", re.IGNORECASE)
_AFTERWORD = re.compile(
    r"\n+\W*(?:(?:explanation|rationale|reasoning|why this works)\W*:|"
    r"this (?:new|improved|revised) (?:instruction|prompt)\b).*",
    re.DOTALL | re.IGNORECASE,
)
_MARKER = re.compile(r"\[\[\s*##.*?##\s*\]\]")
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "`": "`", "«": "»"}
_KEYS = ("proposed_instruction", "instruction", "new_instruction", "improved_instruction", "prompt")


def clean(reply: str) -> str:
    """Return the instruction in a reply: no thoughts, fences, labels, quotes, or afterword around it.

    >>> clean('Proposed Instruction: "Name the species."')
    'Name the species.'
    """
    text = _MARKER.sub("", without_thoughts(reply)).strip()
    text = _unfenced(text)
    text = _from_json(text)
    text = _AFTERWORD.sub("", text).strip()
    while (shorter := _peel(text)) != text:
        text = shorter
    return text


def _unfenced(text: str) -> str:
    blocks: list[str] = _FENCE.findall(text)
    if len(blocks) == 1:
        return blocks[0].strip()
    return text.strip("`").strip() if text.startswith("```") and not blocks else text


def _from_json(text: str) -> str:
    if not text.startswith("{"):
        return text
    try:
        data = json.loads(text)
    except ValueError:
        return text
    found = [data[key] for key in _KEYS if isinstance(data, dict) and isinstance(data.get(key), str)]
    return found[0].strip() if found else text


def _peel(text: str) -> str:
    text = _LABEL.sub("", _OPENING.sub("", text), count=1).strip()
    if text.count("**") == 1 and text.endswith("**"):
        # The label's own emphasis has gone with it.
        text = text[:-2].strip()
    for mark in ("**", "__"):
        if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(mark) and text.count(mark) == 2:
            text = text[len(mark) : -len(mark)].strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text
