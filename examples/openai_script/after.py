"""Sort support tickets into queues and pull out what they are about, one ticket a line of standard input."""

from __future__ import annotations

import json
import sys
from typing import Any

from openai import OpenAI

import luthier as lt

client = lt.connect(OpenAI())

CLASSIFY = "You sort support tickets. Answer with one word: billing, delivery, or account."
EXTRACT = "Extract what the ticket is about."
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"reference": {"type": "string"}, "urgent": {"type": "boolean"}},
    "required": ["reference", "urgent"],
    "additionalProperties": False,
}


@lt.predictor(instruction=CLASSIFY)
def classify(ticket: str) -> str:
    """Return the queue of a ticket."""
    completion = client.chat.completions.create(
        model="gpt-4.1-mini",
        temperature=0,
        max_tokens=5,
        messages=[
            {"role": "system", "content": lt.prompt().instruction},
            *lt.prompt().demo_messages(),
            {"role": "user", "content": ticket},
        ],
    )
    return (completion.choices[0].message.content or "").strip().lower()


@lt.predictor(instruction=EXTRACT)
def extract(ticket: str) -> dict[str, Any]:
    """Return the order, invoice, or user a ticket names, and whether it is urgent."""
    completion = client.chat.completions.create(
        model="gpt-4.1-mini",
        temperature=0,
        messages=[
            {"role": "system", "content": lt.prompt().instruction},
            *lt.prompt().demo_messages(),
            {"role": "user", "content": ticket},
        ],
        response_format={"type": "json_schema", "json_schema": {"name": "ticket", "schema": SCHEMA, "strict": True}},
    )
    found: dict[str, Any] = json.loads(completion.choices[0].message.content or "{}")
    return found


def handle(ticket: str) -> dict[str, Any]:
    """Return all that is known about a ticket."""
    return {"queue": classify(ticket), **extract(ticket)}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(handle(line.strip())))
