"""A support desk: tickets with known answers, and a server that knows them, if it is asked well."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.canonical import uniform_order

_COMPLAINTS = {
    "billing": [
        "I was charged twice for order {n}.",
        "The invoice {n} shows a wrong amount.",
        "Please refund order {n}.",
    ],
    "delivery": ["The parcel {n} never came.", "Order {n} arrived broken.", "Where is my package {n}?"],
    "account": [
        "I cannot log in as user {n}.",
        "Please delete my profile {n}.",
        "How do I change the name of user {n}?",
    ],
}


def tickets(n: int) -> list[dict[str, str]]:
    """Return n tickets with their queues."""
    kinds = [(queue, form) for queue, forms in _COMPLAINTS.items() for form in forms]
    return [{"ticket": kinds[i % 9][1].format(n=i), "queue": kinds[i % 9][0]} for i in range(n)]


def answer(body: Mapping[str, Any]) -> str:
    """Answer a chat request: half of the queues are right without demos, more with them, all when told to take care."""
    messages = body["messages"]
    system, asked = messages[0]["content"], messages[-1]["content"]
    if "[[ ## queue ## ]]" in system:  # DSPy's form
        return f"[[ ## reasoning ## ]]\nIt says so.\n\n[[ ## queue ## ]]\n{_well(messages)}\n\n[[ ## completed ## ]]"
    if "Reply with the queue" in system or str(asked).startswith("Ticket: "):  # luthier's form, a template's
        return _well(messages)
    if "Reply with the complaint" in system:
        return str(asked).split(": ", 1)[-1]
    if "urgency" in system:
        return "reasoning: money is at stake\n\nurgency: high"
    if "JSON" in system:
        return json.dumps({"subject": "Your ticket", "body": "We look into it."})
    if "Reply with the topic" in system:
        return "billing"
    if "instruction and nothing else" not in asked and "new instruction only" not in asked:
        return "A support desk sorts what its customers write."
    number = uniform_order("proposal", json.dumps(body, sort_keys=True)) % 997
    manner = "carefully" if number % 3 == 0 else "quickly"
    return f"Read the customer's words {manner}, then answer in the form asked (way {number})."


def _well(messages: Sequence[Mapping[str, Any]]) -> str:
    demos = sum(message["role"] == "assistant" for message in messages)
    care = "carefully" in str(messages[0]["content"])
    return _queue(str(messages[-1]["content"]), 1.0 if care else 0.5 + 0.08 * min(demos, 4))


def _queue(asked: str, share: float) -> str:
    words = {
        "billing": ("charged", "invoice", "refund"),
        "delivery": ("parcel", "arrived", "package"),
        "account": ("log in", "profile", "name"),
    }
    right = next((queue for queue, known in words.items() if any(word in asked for word in known)), "billing")
    if uniform_order("queue", asked) / 2**64 < share:
        return right
    return {"billing": "account", "account": "delivery", "delivery": "billing"}[right]
