"""Answers that came, but not as they should: counted by predictor, whether they could be read or not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from luthier.lm.request import Completion

if TYPE_CHECKING:
    from luthier.lm.lm import LM
    from luthier.program.signature import Signature
    from luthier.program.trace import Call

CUT = "cut off by the length limit"
REFUSED = "refused"
ANOTHER_MODEL = "from another model"
WRAPPED = "text around the JSON"


def badly(completion: Completion, signature: Signature, lm: LM) -> tuple[str, ...]:
    """Return what is wrong with an answer, by name; nothing where it is as it should be."""
    found = []
    if completion.finish_reason == "length":
        found.append(CUT)
    if completion.refusal is not None or completion.finish_reason == "content_filter":
        found.append(REFUSED)
    if not lm.is_local and is_another(completion.model, lm.name):
        found.append(ANOTHER_MODEL)
    if _is_wrapped(completion.text.strip(), signature):
        found.append(WRAPPED)
    return tuple(found)


def is_another(echoed: str, asked: str) -> bool:
    """Say whether a server answered with another model than the one asked for.

    Servers add dates and leave out providers: ``gpt-4.1-mini-2025-04-14`` is ``openai/gpt-4.1-mini``.
    """
    mine, theirs = (name.rsplit("/", 1)[-1].casefold() for name in (asked, echoed))
    return bool(theirs) and theirs not in mine and mine not in theirs


def count_badly(calls: Iterable[Call]) -> dict[str, dict[str, int]]:
    """Count bad answers by predictor and kind."""
    counts: dict[str, dict[str, int]] = {}
    for call in calls:
        for kind in call.badly:
            of_predictor = counts.setdefault(call.predictor, {})
            of_predictor[kind] = of_predictor.get(kind, 0) + 1
    return counts


def _is_wrapped(text: str, signature: Signature) -> bool:
    if all(field.type is str for field in signature.outputs):
        return False  # an object in a text is part of the text
    return '{"' in text and not (text.startswith(("{", "```")) and text.endswith(("}", "```")))
