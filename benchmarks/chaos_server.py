"""A misbehaving model on loopback in a process of its own: ``chaos_server.py SCENARIO SEED PORT``; prints its base URL.

It plays a model that is asked whether a number is even, and is right on a share of the numbers that its prompt fixes:
care in the instruction and demos raise it, so what the best prompt scores is known exactly. It understands luthier's,
DSPy's and gepa's ways of asking. At the end of its input it prints how many requests came, and which faults they met.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsIndex

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.lm.server import Body, Fault, OpenAIServer
from tests.studies.test_chaos import HIT, KINDS

CAREFUL = "carefully"
TIMEOUT = 3.0
"""What everybody's client is told to wait for an answer; stalls last twice as long."""
QUOTA = Fault(429, {"error": {"message": "You exceeded your current quota.", "code": "insufficient_quota"}})
HEALTHY, OUTAGE = 150, 20.0
"""Requests before trouble begins, and seconds it lasts where it ends by itself."""
_WANTED = re.compile("(proposed|better|new) instruction|proposed_instruction", re.IGNORECASE)
"""What all of the tools say when they want an instruction, and none when they want a summary."""
_FIELD = re.compile(r"`(?:\[\[ ## )?(\w+)(?: ## \]\])?`")
_NUMBER = re.compile(r"\bn(\d+)\b")


def share(instruction: str, demos: int) -> float:
    """Return on which share of the numbers a prompt makes the model right."""
    return 0.5 + 0.35 * (CAREFUL in instruction) + 0.1 * min(demos, 4) / 4


def is_right(number: int, share_of_all: float) -> bool:
    """Say whether the model is right on a number: on the same ones whatever the prompt, and more with a better one."""
    return _draw(f"number {number}") % 1000 < 1000 * share_of_all


def true_score(instruction: str, demos: int) -> float:
    """Return what a prompt scores on a thousand numbers that no search has seen."""
    return sum(is_right(number, share(instruction, demos)) for number in range(5000, 6000)) / 1000


def answer(body: Body) -> str:
    """Answer as the model, in the form that whoever asks expects."""
    messages = [str(message["content"]) for message in body["messages"]]
    last, _, form = messages[-1].partition("Respond with ")
    fields = [name for name in _FIELD.findall(form) if name != "completed"]
    if body.get("stop") == ["#kind"] or "kind" in fields or re.fullmatch(r"n\d+", last.strip()):
        number = int(_NUMBER.findall(last)[-1])
        demos = sum(message["role"] == "assistant" for message in body["messages"])
        right = is_right(number, share(messages[0], demos))
        said = "even" if (number % 2 == 0) == right else "odd"
    elif not _WANTED.search(last + form):
        said = "Numbers, each with one word for what it is."
    else:
        draw = _draw(json.dumps([messages, body.get("temperature")]))
        said = f"Look at the number {(CAREFUL, CAREFUL, 'calmly')[draw % 3]} and say what it is (way {draw % 997})."
        said = f"```\n{said}\n```" if "```" in last and not fields else said  # as gepa wants it
    if not fields:
        return said
    if "[[ ##" not in form:
        return json.dumps(dict.fromkeys(fields, said))  # as DSPy asks where the marks did not work
    marked = [f"[[ ## {name} ## ]]\n{said}" for name in fields]
    return "\n\n".join([*marked, "[[ ## completed ## ]]"])


class Plan(list[Fault | None]):
    """What happens to the next request, by scenario: an endless list."""

    def __init__(self, scenario: str, seed: int) -> None:
        super().__init__([None])
        self._scenario = scenario
        self._rng = random.Random(f"{scenario}/{seed}")
        self._requests = 0
        self._began = 0.0

    def pop(self, index: SupportsIndex = -1) -> Fault | None:
        """Return the next fault, or None where the request is answered."""
        self._requests += 1
        if self._scenario == "chaos":
            return self._any() if self._rng.random() < HIT else None
        if self._requests <= HEALTHY or self._scenario == "clean":
            return None
        self._began = self._began or time.monotonic()
        if self._scenario == "quota":
            return QUOTA
        return Fault(reset=True) if time.monotonic() - self._began < OUTAGE else None

    def _any(self) -> Fault:
        fault = self._rng.choices(KINDS, [weight for _, weight, _ in KINDS])[0][2]
        return replace(fault, hang=2 * TIMEOUT * (fault.hang > 0), drip=2 * TIMEOUT * (fault.drip > 0))


def main() -> None:
    """Serve until the input ends."""
    scenario, seed, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    server = OpenAIServer(answer, port=port)
    server.faults = Plan(scenario, seed)
    with server:
        print(server.url, flush=True)
        sys.stdin.read()
        said: dict[str, Any] = {"requests": len(server.requests), "faults": Counter(map(_name, server.met))}
        print(json.dumps(said), flush=True)


def _name(fault: Fault) -> str:
    for name in ("unbilled", "hang", "drip", "away", "reset", "drop", "cut"):
        if getattr(fault, name):
            return name
    return str(fault.status) if fault.status != 200 else "malformed"


def _draw(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


if __name__ == "__main__":
    main()
