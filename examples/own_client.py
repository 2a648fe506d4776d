"""Your own client stays: the predictor's body makes the call and asks luthier only for the current prompt.

python examples/own_client.py
"""

from __future__ import annotations

import re

import luthier as lt


def my_client(messages: list[dict[str, str]]) -> str:
    """Stand for your HTTP call: a toy model that adds, if told to be exact."""
    numbers = [int(number) for number in re.findall(r"\d+", messages[-1]["content"])]
    return str(sum(numbers)) if "exact" in messages[0]["content"] else "about a hundred"


@lt.predictor
def total(question: str) -> str:
    """Add the numbers."""
    return my_client(lt.prompt().messages())


def program(question: str) -> str:
    """Answer one question."""
    return total(question=question)


def main() -> None:
    """Run the program with its original prompt, and with another one."""
    lm = lt.LM(lambda request: "never asked")  # luthier makes no call here, so any LM will do
    original = lt.Candidate({"total": lt.Prompt("Add the numbers.")})
    for candidate in (original, original.with_instruction("total", "Add the numbers; be exact.")):
        print(lt.bind(program, lm=lm, candidate=candidate)("What is 17 and 25?"))


if __name__ == "__main__":
    main()
