"""A small world with known answers: a two-stage program, its data, and an LM that is a function of its request.

Each predictor is right on a fixed share of numbers, and the share grows with the instruction's care and with the
number of demos, so what a good optimizer must find is known.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import luthier as lt
from luthier.canonical import uniform_order
from luthier.lm.request import Request

CAREFUL = "carefully"
PREDICTORS = ("parity", "size")
OTHER = {"even": "odd", "odd": "even", "small": "large", "large": "small"}
"""The wrong answer in place of a right one."""


@lt.predictor(stop=["#parity"])
def parity(number: str) -> Literal["even", "odd"]:
    """Say whether the number is even."""
    return lt.predict()


@lt.predictor(stop=["#size"])
def size(number: str) -> Literal["small", "large"]:
    """Say whether the number is small."""
    return lt.predict()


def describe(number: str) -> str:
    """Describe a number in two words."""
    return f"{parity(number=number)} {size(number=number)}"


def rows(n: int) -> list[dict[str, Any]]:
    """Return n numbers with their descriptions; the parts are labels, too, so demos can be completed."""
    return [
        {"number": str(i), "parity": truth("parity", i), "size": truth("size", i), "answer": both(i)} for i in range(n)
    ]


def both(number: int) -> str:
    """Return the right description."""
    return f"{truth('parity', number)} {truth('size', number)}"


def truth(predictor: str, number: int) -> str:
    """Return a predictor's right answer."""
    if predictor == "parity":
        return "even" if number % 2 == 0 else "odd"
    return "large" if uniform_order("large", str(number)) % 2 else "small"


def answer(request: Request) -> str:
    """Answer a request: a predictor's or the proposer's."""
    asked = asked_for(request)
    if asked is None:
        return proposal("\n".join(message.text for message in request.messages), request.sample)
    return judged(asked, request)


def judged(asked: str, request: Request) -> str:
    """Answer as the predictor that was asked."""
    instruction = request.messages[0].text
    demos = sum(message.role == "assistant" for message in request.messages)
    number = int(re.findall(r"\d+", request.messages[-1].text)[-1])
    share = 0.55 + 0.15 * (CAREFUL in instruction) + 0.25 * min(demos, 6) / 6
    right = truth(asked, number)
    if uniform_order(f"{asked}/{request.sample}", str(number)) / 2**64 < share:
        return right
    return OTHER[right]


def asked_for(request: Request) -> str | None:
    """Return the predictor that asks, which its stop sequence tells over any wire; None for the proposer."""
    return next((stop[1:] for stop in request.stop if stop.startswith("#")), None)


def proposal(text: str, sample: int) -> str:
    """Write an instruction, a third of which ask for care, which helps; or a summary, if that is asked for."""
    if "one JSON object" in text:  # for all modules at once
        seen = uniform_order("seen", text)
        return json.dumps({name: proposal(f"better instruction {name} {seen}", sample) for name in PREDICTORS})
    if not any(marker in text for marker in ("proposed instruction", "better instruction")):
        return "Numbers, each with two words on what it is."
    draw = uniform_order("proposal", f"{text}/{sample}")
    manner = (CAREFUL, "quickly", "in one word")[draw % 3]
    return f"Look at the number {manner} and judge it (way {draw % 997})."
