"""The LM behind the LangGraph example: a function of the request, with a best program that is known.

Each stage is right on a share of its inputs that grows with care in the instruction and with demos.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from luthier.canonical import uniform_order

CARE = "carefully"


def rows(first: int, last: int) -> list[dict[str, str]]:
    """Return questions and answers; the odd ones must be rewritten before anything is found."""
    return [
        {
            "question": f"Who made Film{n}?" if n % 2 == 0 else f"Who made the film of number {n}?",
            "answer": f"Maker{n}",
        }
        for n in range(first, last)
    ]


def exact(example: Any, prediction: str) -> bool:
    """Whether the answer is right to the letter."""
    return bool(example["answer"] == prediction)


class Films:
    """Answers as an OpenAI-compatible server does."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()

    def __call__(self, body: Mapping[str, Any]) -> str:
        """Return the text of the answer."""
        messages = body["messages"]
        asked = str(messages[-1]["content"])
        demos = sum(message["role"] == "assistant" for message in messages)
        if asked.startswith("Passage: "):
            return self._grade(messages, asked, demos)
        number = re.search(r"\d+", asked)
        if asked.startswith("Rewrite: ") and number is not None:
            right = _right("rewrite", messages, asked, demos)
            return f"Film{number[0]} directed" if right else "a film with a number"
        if asked.startswith("Question: ") and number is not None:
            told = f"Film{number[0]} was directed by Maker{number[0]}" in str(messages[0]["content"])
            right = told and _right("answer", messages, asked, demos)
            return f"Maker{number[0]}" if right else f"It was Maker{number[0]}."
        return self._instruction(messages)

    def _grade(self, messages: list[Any], asked: str, demos: int) -> str:
        passage, _, question = asked.partition("\n\nQuestion: ")
        numbers = [re.findall(r"\d+", part)[:1] for part in (passage, question)]
        helps = numbers[0] == numbers[1]
        right = _right("grade", messages, asked, demos)
        return json.dumps({"relevant": "yes" if helps == right else "no"})

    def _instruction(self, messages: list[Any]) -> str:
        told = json.dumps(messages)
        self._asked[told] += 1
        draw = uniform_order(f"{self._asked[told]}", told)
        manner = (CARE, "quickly", "in the form that is wanted")[draw % 3]
        placeholder = " Here is what was found: {passages}" if "{passages}" in told else ""
        return f"Do this work {manner}, by rule {draw % 9973}, and say only what was asked for.{placeholder}"


def _right(stage: str, messages: list[Any], asked: str, demos: int) -> bool:
    share = 0.6 + 0.15 * (CARE in str(messages[0]["content"])) + 0.25 * min(demos, 4) / 4
    return uniform_order(stage, asked) / 2**64 < share
