"""A ReAct agent: its LM calls tools until it can answer; the instruction and the tools' descriptions are tuned.

python examples/react.py
"""

from __future__ import annotations

import re
from typing import Annotated

import luthier as lt

PEOPLE = {"Oslo": 717_710, "Bergen": 291_940, "Trondheim": 214_565, "Stavanger": 149_048}
MOST_STEPS = 6


@lt.tool
def register(city: Annotated[str, "the city's name"]) -> int | str:
    """Look something up about a city."""
    return PEOPLE.get(city, "no such city")


@lt.tool
def add(numbers: list[int]) -> int:
    """Add whole numbers."""
    return sum(numbers)


TOOLS = {tool.name: tool for tool in (register, add)}


@lt.predictor(tools=TOOLS.values())
def step(question: str, history: list[lt.Message]) -> lt.Reply:
    """Answer the question with a number and nothing else. Call tools as you need them."""
    return lt.predict()


def agent(question: str) -> str:
    """Answer a question, tools in hand."""
    history: list[lt.Message] = []
    for _ in range(MOST_STEPS):
        reply = step(question=question, history=history)
        if not reply.tool_calls:
            return reply.text
        history.append(reply.message)
        history += [TOOLS[call.name].answer(call) for call in reply.tool_calls]
    return "gave up"


def toy_model(request: lt.Request) -> lt.Completion:
    """Stand for a language model: it looks people up if a tool's description speaks of people, else it guesses."""
    told = [turn.text for turn in request.messages if turn.role == "tool"]
    cities = re.findall("|".join(PEOPLE), request.messages[1].text)
    speaks_of_people = any("people" in tool.description for tool in request.tools)
    if not told and speaks_of_people:
        calls = [lt.ToolCall(f"call-{n}", "register", f'{{"city": "{city}"}}') for n, city in enumerate(cities)]
        return lt.Completion("", "tool_calls", tool_calls=tuple(calls))
    if len(told) == len(cities) > 1:
        call = lt.ToolCall("sum", "add", f'{{"numbers": [{", ".join(told)}]}}')
        return lt.Completion("", "tool_calls", tool_calls=(call,))
    return lt.Completion(told[-1] if told else "about a million")


def main() -> None:
    """Ask with the original description, and with one that says what the tool knows."""
    lm = lt.LM(toy_model)
    better = lt.Candidate({"register.description": lt.Prompt("Return how many people live in a city.")})
    for candidate in (None, better):
        print(lt.bind(agent, lm=lm, candidate=candidate)("How many people live in Oslo and Bergen together?"))


if __name__ == "__main__":
    main()
