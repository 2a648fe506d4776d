"""Your own client stays: connected, its calls are metered and stored while a study runs, and as they were elsewhere.

python examples/own_client.py http://localhost:8000/v1 my-model
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from openai import OpenAI

import luthier as lt

ROWS = [
    {"question": f"What is {a} and {b}?", "answer": str(a + b)}
    for a, b in ((17, 25), (3, 4), (40, 2), (8, 13), (21, 9))
]


def program_with(client: OpenAI, model: str) -> Callable[[str], str]:
    """Return a program whose one call the client makes."""

    @lt.predictor
    def total(question: str) -> str:
        """Add the numbers. Reply with their sum and nothing else."""
        reply = client.chat.completions.create(
            model=model, messages=lt.prompt().messages(), temperature=0, max_tokens=20
        )
        return (reply.choices[0].message.content or "").strip()

    def program(question: str) -> str:
        return total(question=question)

    return program


def main(base_url: str, model: str) -> None:
    """Ask once as before, then score two prompts on a few examples and say what that used."""
    client = lt.connect(OpenAI(base_url=base_url, api_key="none"))
    program = program_with(client, model)
    print(program("What is 17 and 25?"))  # outside of any study: the client as it was

    lm = lt.LM(model, client=client)
    for instruction in ("Add the numbers. Reply with their sum and nothing else.", "Add the numbers; be exact."):
        candidate = lt.Candidate({"total": lt.Prompt(instruction)})
        evaluation = lt.evaluate(program, ROWS, lt.exact_match("answer"), lm=lm, candidate=candidate)
        print(f"{instruction!r}: {evaluation.mean:.0%} right, {evaluation.usage.tokens} tokens")


if __name__ == "__main__":
    main(*sys.argv[1:])
