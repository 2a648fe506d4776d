"""From what a proposer answered to the instruction in it."""

from __future__ import annotations

import json
import re

from luthier.program.thoughts import written_after_thoughts
from luthier.propose.meta_prompts import HEADINGS

_WHAT = r"(?:instructions?|prompts?)"
_KIND = r"(?:(?:new|proposed|improved|better|revised|final|rewritten|updated|optimi[sz]ed)[\s_]+)"
_GREETING = r"(?:sure|certainly|of course|okay|great|absolutely)"
_NAMED = (
    rf"(?:(?:the|my|your|a|one)\s+)?{_KIND}*{_WHAT}(?:\s+(?:for|of)\s+(?:the\s+)?[`'\"*]*[\w.-]+[`'\"*]*"
    rf"(?:\s+(?:call|component|module|predictor|stage|step))?)?"
)
_LABEL = re.compile(
    r"^[\s*#_>-]*(?:(?:here(?:'s|’s| is)|below is)\b[^:\n]{0,60}\b(?:instruction|prompt|version)\b[^:\n]{0,60}|"
    rf"here you (?:go|are)|{_GREETING}\b[^:\n]{{0,100}}|{_NAMED})[\s*_\"]*:[\s*_]*",
    re.IGNORECASE,
)
_TITLE = re.compile(
    rf"^(?:#+[^\S\n]*[^\n]*\b{_WHAT}\b[^\n]*|\*\*{_NAMED}\*\*|"
    rf"(?-i:[*#_\s]*(?:{'|'.join(map(re.escape, HEADINGS))})[^\n:]*:[*_]*))[^\S\n]*\n+(?=.*\S)",
    re.IGNORECASE,
)
"""A line of its own that names what follows; what goes on to say something is none."""
_OPENING = re.compile(rf"^{_GREETING}[!.,]*\s*\n+", re.IGNORECASE)
_AFTERWORD = re.compile(
    r"\n\s*\n[*_#> -]*(?:"
    r"(?:explanation|rationale|reasoning)[*_ ]*:\W*(?:this|it|i|my|by|these changes|"
    r"the (?:new|revised|improved|original|instruction|prompt))\b|"
    r"(?:why this works|why it works|rationale|key (?:changes|improvements)|changes made|what changed)[*_ ]*:|"
    r"(?:let me know|i hope (?:this|that)|feel free to (?:ask|adjust|modify))\b|"
    rf"this (?:new|improved|revised) {_WHAT}\b).*",
    re.DOTALL | re.IGNORECASE,
)
_CLOSING = re.compile(r"^\W*(?:let me know|i hope|feel free|explanation|rationale|why|this|it)\b[^\n]*$", re.IGNORECASE)
_MARKER = re.compile(r"\[\[\s*##.*?##\s*\]\]")
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "`": "`", "«": "»"}
_KEYS = ("proposed_instruction", "instruction", "new_instruction", "improved_instruction", "prompt")


def clean(reply: str) -> str:
    """Return the instruction in a reply: no thoughts, headings, labels, quotes, or afterword around it.

    What stands inside of it stays, examples in fences and sections with headings of their own among it.

    >>> clean('Proposed Instruction: "Name the species."')
    'Name the species.'
    """
    text = _MARKER.sub("", written_after_thoughts(reply)).strip()
    text = _unfenced(text)
    text = _from_json(text)
    text = _AFTERWORD.sub("", text).strip()
    while (shorter := _unfenced(_peel(text))) != text:
        text = shorter
    return text


def _unfenced(text: str) -> str:
    """Return what is in the fence around the whole text, if there is one: an example in a fence is not."""
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if line.lstrip().startswith("```")]
    if not fences:
        return text
    if len(fences) == 1:
        return text.strip("`").strip() if text.startswith("```") else text
    first, last = fences[0], fences[-1]
    before, after = "\n".join(lines[:first]).strip(), "\n".join(lines[last + 1 :]).strip()
    around = (not before or _is_label(before)) and (not after or _CLOSING.match(after) is not None)
    inner = [lines[number].strip() for number in fences[1:-1]]
    # What opens an inner block names its language; a bare fence closes one, so the blocks stand side by side.
    if not around or len(inner) % 2 or (inner and inner[0] == "```"):
        return text
    return "\n".join(lines[first + 1 : last]).strip()


def _is_label(text: str) -> bool:
    return _LABEL.sub("", f"{text.rstrip(':*')}:", count=1).strip() == "" or not _OPENING.sub("", f"{text}\n").strip()


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
    text = _TITLE.sub("", _OPENING.sub("", text), count=1).strip()
    text = _LABEL.sub("", text, count=1).strip()
    if text.count("**") == 1 and text.endswith("**"):
        # The label's own emphasis has gone with it.
        text = text[:-2].strip()
    for mark in ("**", "__"):
        if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(mark) and text.count(mark) == 2:
            text = text[len(mark) : -len(mark)].strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text
