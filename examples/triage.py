"""Two stages on any OpenAI-compatible server: say what a customer wants, then choose a queue.

    python examples/triage.py tickets.jsonl http://localhost:8000/v1 my-model

Each line of the file: {"ticket": "I was charged twice.", "queue": "billing"}
"""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import luthier as lt

Queue = Literal["billing", "delivery", "account"]


@lt.predictor
def complaint(ticket: Annotated[str, "a customer's message"]) -> str:
    """Say in one sentence what the customer wants."""
    return lt.predict()


@lt.predictor(max_tokens=20)
def queue(complaint: str) -> Queue:
    """Choose the queue that should handle this."""
    return lt.predict()


def triage(ticket: str) -> Queue:
    """Route a ticket."""
    return queue(complaint=complaint(ticket=ticket))


def main(data: str, base_url: str, model: str) -> None:
    """Tune, say what was gained, and save the better prompts."""
    lm = lt.LM(model, base_url=base_url, max_tokens=200)
    result = lt.optimize(
        triage, data, lt.exact_match("queue"), lm=lm, budget=lt.Budget(lm_calls=3000), study_dir="runs/triage"
    )
    print(result.verdict.sentence)
    result.candidate.save("prompts")


if __name__ == "__main__":
    main(*sys.argv[1:4])
