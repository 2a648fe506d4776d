"""Answers that came, but not as they should: counted by predictor, whether they could be read or not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from luthier.lm.request import Completion
from luthier.program.thoughts import thought_until_cut

if TYPE_CHECKING:
    from luthier.lm.lm import LM
    from luthier.program.signature import Signature
    from luthier.program.trace import Call

CUT = "cut off by the length limit"
CUT_THINKING = "cut off by the length limit while reasoning"
REFUSED = "refused"
ANOTHER_MODEL = "from another model"
WRAPPED = "text around the JSON"
_ENDING = re.compile(r"(:.*|[\w.-]*\.gguf|[-@](latest|preview|v?\d[\d.-]*))*")


def problems_of(completion: Completion, signature: Signature, lm: LM) -> tuple[str, ...]:
    """Return what is wrong with an answer, by name; nothing where it is as it should be."""
    found = []
    if completion.finish_reason == "length":
        found.append(CUT_THINKING if thought_until_cut(completion) else CUT)
    if completion.refusal is not None or completion.finish_reason == "content_filter":
        found.append(REFUSED)
    if not lm.is_local and is_another(completion.model, lm.name):
        found.append(ANOTHER_MODEL)
    if _is_wrapped(completion.text.strip(), signature):
        found.append(WRAPPED)
    return tuple(found)


def is_another(echoed: str, asked: str) -> bool:
    """Say whether a server answered with another model than the one asked for.

    Servers add dates, tags and file endings, and leave out providers: ``gpt-4.1-mini-2025-04-14`` is
    ``openai/gpt-4.1-mini``, but ``gpt-4.1-mini`` is not ``gpt-4.1``.
    """
    short, long = sorted((name.rsplit("/", 1)[-1].casefold() for name in (asked, echoed)), key=len)
    return bool(echoed) and not (long.startswith(short) and _ENDING.fullmatch(long[len(short) :]))


def count_problems(calls: Iterable[Call]) -> dict[str, dict[str, int]]:
    """Count bad answers by predictor and kind."""
    counts: dict[str, Counter[str]] = {}
    for call in calls:
        if call.badly:
            counts.setdefault(call.predictor, Counter()).update(call.badly)
    return {predictor: dict(of_predictor) for predictor, of_predictor in counts.items()}


def _is_wrapped(text: str, signature: Signature) -> bool:
    if all(field.type is str for field in signature.outputs):
        return False  # an object in a text is part of the text
    return '{"' in text and not (text.startswith(("{", "```")) and text.endswith(("}", "```")))
