"""The DSPy program of ``dspy_people.py`` brought over: two lines are others, nothing else is."""

from __future__ import annotations

import os
from typing import Any

import dspy

from luthier.integrations.dspy import Luthier


class FindPeople(dspy.Signature):  # type: ignore[misc]
    """Find the words of a sentence that name people."""

    tokens: list[str] = dspy.InputField(desc="the words of a sentence")
    people: list[str] = dspy.OutputField(desc="those of them that name people, in order")


def sentences(first: int, last: int) -> list[Any]:
    """Return sentences and the people in them."""
    rows = []
    for number in range(first, last):
        people = [f"Ada{number}", f"Bo{number}"][: 1 + number % 2]
        tokens = ["On", "Monday", *people, "visited", f"Rome{number}", "and", "left"]
        rows.append(dspy.Example(tokens=tokens, people=people).with_inputs("tokens"))
    return rows


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    """Whether all people were found, and nobody else."""
    return list(example.people) == list(prediction.people)


def tune() -> Any:
    """Return the tuned program."""
    lm = dspy.LM(os.environ.get("MODEL", "openai/gpt-4.1-mini"), api_base=os.environ.get("API_BASE"), temperature=0.0)
    with dspy.context(lm=lm):
        optimizer = Luthier(metric=right, auto="light", max_bootstrapped_demos=4, max_labeled_demos=4)
        program = dspy.ChainOfThought(FindPeople)
        return optimizer.compile(program, trainset=sentences(0, 60), valset=sentences(60, 160))


if __name__ == "__main__":
    tune().save("people.json")
