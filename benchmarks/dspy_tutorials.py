"""Programs in the shape of DSPy's tutorials, and an LM on loopback for which the best program is known.

Four of them: a classifier (``ChainOfThought`` into a ``Literal``), a search in hops over a small corpus, an agent
(``ReAct`` with two tools), and an extractor (a typed signature with a list for output). The LM is a function of the
request: each predictor is right on a fixed share of its inputs, and the share grows with the instruction's care and
with the number of demos, so what a good optimizer must find is known. Needs DSPy.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import dspy

from luthier.canonical import uniform_order

CARE = "carefully"
_BASE, _CARE_HELPS, _DEMOS_HELP, _ENOUGH_DEMOS = 0.45, 0.15, 0.3, 4
_ROWS = 310
_TOPICS = ("card_arrival", "exchange_rate", "lost_phone", "pin_blocked", "top_up_failed", "wrong_amount")
_WORDS = {
    "card_arrival": "the card that has not arrived",
    "exchange_rate": "the rate for foreign money",
    "lost_phone": "a phone that was lost",
    "pin_blocked": "a number that was entered wrongly",
    "top_up_failed": "money that was added in vain",
    "wrong_amount": "too much that was taken",
}
Topic = Literal["card_arrival", "exchange_rate", "lost_phone", "pin_blocked", "top_up_failed", "wrong_amount"]


@dataclass(frozen=True)
class Tutorial:
    """A program, its data in four parts, and its metric."""

    name: str
    program: Callable[[], Any]
    train: list[Any]
    val: list[Any]
    test: list[Any]
    held: list[Any]
    """Nobody reads these but who compares tools."""
    metric: Callable[..., Any]


class SortMessage(dspy.Signature):  # type: ignore[misc]
    """Sort a message to a bank by its topic."""

    text: str = dspy.InputField()
    label: Topic = dspy.OutputField()


class FindPeople(dspy.Signature):  # type: ignore[misc]
    """Find the words of a sentence that name people."""

    tokens: list[str] = dspy.InputField(desc="the words of a sentence")
    people: list[str] = dspy.OutputField(desc="those of them that name people, in order")


class Hops(dspy.Module):  # type: ignore[misc]
    """Search twice, and keep the titles of what supports the claim."""

    def __init__(self, hops: int = 2, k: int = 3) -> None:
        super().__init__()
        self.hops, self.k = hops, k
        self.write_query = dspy.ChainOfThought("claim, notes -> query")
        self.take_notes = dspy.ChainOfThought("claim, notes, context -> new_notes: list[str], titles: list[str]")

    def forward(self, claim: str) -> Any:
        """Find the titles that a claim rests on."""
        notes: list[str] = []
        titles: list[str] = []
        for _ in range(self.hops):
            query = self.write_query(claim=claim, notes=notes).query
            found = self.take_notes(claim=claim, notes=notes, context=search(query, self.k))
            notes += found.new_notes
            titles += found.titles
        return dspy.Prediction(notes=notes, titles=sorted(set(titles)))


def search(query: str, k: int = 3) -> list[str]:
    """Return the k passages that share most words with a query."""
    words = set(re.findall(r"\w+", query.lower()))
    ranked = sorted(CORPUS, key=lambda text: (-len(words & set(re.findall(r"\w+", text.lower()))), text))
    return ranked[:k]


def search_titles(query: str) -> list[str]:
    """Return the titles of the passages that fit a query."""
    return [text.split(" | ")[0] for text in search(query)]


def read(title: str) -> str:
    """Return the passage of a title."""
    return next((text for text in CORPUS if text.startswith(f"{title} | ")), "There is none.")


def same_label(example: Any, prediction: Any, trace: Any = None) -> bool:
    """Whether the label is right."""
    return bool(example.label == prediction.label)


def same_people(example: Any, prediction: Any, trace: Any = None) -> bool:
    """Whether the people are right, in order."""
    return list(example.people) == list(prediction.people)


def recall(example: Any, prediction: Any, trace: Any = None) -> Any:
    """Which share of the titles was found; all of them are asked for while bootstrapping, as the tutorial does."""
    found = sum(title in prediction.titles for title in example.titles) / len(example.titles)
    return found if trace is None else found == 1.0


def tutorials() -> dict[str, Tutorial]:
    """Return the tutorials by name."""
    made = (
        ("classification", lambda: dspy.ChainOfThought(SortMessage), _messages, same_label),
        ("hops", Hops, _claims, recall),
        (
            "agent",
            lambda: dspy.ReAct("claim -> titles: list[str]", tools=[search_titles, read], max_iters=4),
            _claims,
            recall,
        ),
        ("extraction", lambda: dspy.ChainOfThought(FindPeople), _sentences, same_people),
    )
    return {name: Tutorial(name, program, *_cut(data()), metric) for name, program, data, metric in made}


def _cut(examples: list[Any]) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    return examples[:50], examples[50:110], examples[110:170], examples[170:]


def _messages() -> list[Any]:
    rows = []
    for number in range(_ROWS):
        topic = _TOPICS[number % len(_TOPICS)]
        text = f"Message {number}: I write about {_WORDS[topic]}, please help."
        rows.append(dspy.Example(text=text, label=topic).with_inputs("text"))
    return rows


def _claims() -> list[Any]:
    rows = []
    for number in range(_ROWS):
        titles = [f"Film{number}", f"Maker{number}"]
        claim = f"Film{number} was directed by a person born in Town{number}."
        rows.append(dspy.Example(claim=claim, titles=titles).with_inputs("claim"))
    return rows


def _sentences() -> list[Any]:
    rows = []
    for number in range(_ROWS):
        people = [f"Ada{number}", f"Bo{number}"][: 1 + number % 2]
        tokens = ["On", "Monday", *people, "visited", f"Rome{number}", "and", "left"]
        rows.append(dspy.Example(tokens=tokens, people=people).with_inputs("tokens"))
    return rows


CORPUS = [
    passage
    for number in range(_ROWS)
    for passage in (
        f"Film{number} | Film{number} was directed by Maker{number}.",
        f"Maker{number} | Maker{number} was born in Town{number}.",
    )
]


class ScriptedLM:
    """Answers requests as an OpenAI-compatible server does: programs in the form asked, proposers with instructions.

    The same request to a proposer gets another answer every time, as at temperature 1.
    """

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()

    def __call__(self, body: Mapping[str, Any]) -> str:
        """Return the text of the answer."""
        messages = body["messages"]
        system = messages[0]["content"]
        outputs = re.findall(
            r"^\d+\. `(\w+)`", system.partition("Your output fields are:")[2].partition("All interactions")[0], re.M
        )
        if not outputs:
            return self._instruction(body)
        inputs = _sections(messages[-1]["content"])
        values = self._values(body, outputs, inputs, system, demos=(len(messages) - 2) // 2)
        return (
            "\n\n".join(f"[[ ## {name} ## ]]\n{_shown(values[name])}" for name in outputs) + "\n\n[[ ## completed ## ]]"
        )

    def _values(
        self, body: Mapping[str, Any], outputs: list[str], inputs: Mapping[str, str], system: str, *, demos: int
    ) -> dict[str, Any]:
        asked = next(
            (name for name in ("label", "people", "query", "new_notes", "next_tool_name", "titles") if name in outputs),
            None,
        )
        if asked is None:  # MIPROv2's proposer asks for summaries and instructions with signatures of its own
            text = (
                self._instruction(body) if "proposed_instruction" in outputs else "Short texts with one right answer."
            )
            return dict.fromkeys(outputs, text)
        instruction = system.partition("your objective is:")[2]
        right = _is_right(asked, inputs, care=CARE in instruction, demos=demos)
        return {"reasoning": f"The task is plain: {asked}.", **_ANSWERS[asked](inputs, right)}

    def _instruction(self, body: Mapping[str, Any]) -> str:
        told = json.dumps(body, sort_keys=True)
        self._asked[told] += 1
        draw = uniform_order(f"proposal/{self._asked[told]}", told)
        manner = (CARE, "quickly", "in the form asked")[draw % 3]
        # No colon in it: DSPy's proposer takes off what stands before one.
        return f"Read what is given {manner}, think of rule {draw % 9973}, then answer as asked."


def _is_right(asked: str, inputs: Mapping[str, str], *, care: bool, demos: int) -> bool:
    share = _BASE + _CARE_HELPS * care + _DEMOS_HELP * min(demos, _ENOUGH_DEMOS) / _ENOUGH_DEMOS
    if asked in ("next_tool_name", "titles", "query"):
        share += 0.1
    told = json.dumps({name: value for name, value in inputs.items() if name not in ("notes", "context", "trajectory")})
    return uniform_order(asked, told) / 2**64 < share


def _label(inputs: Mapping[str, str], right: bool) -> dict[str, Any]:
    place = next(i for i, topic in enumerate(_TOPICS) if _WORDS[topic] in inputs["text"])
    return {"label": _TOPICS[place if right else (place + 1) % len(_TOPICS)]}


def _people(inputs: Mapping[str, str], right: bool) -> dict[str, Any]:
    tokens = json.loads(inputs["tokens"])
    people = [token for token in tokens if re.fullmatch(r"(Ada|Bo)\d+", token)]
    return {"people": people if right else ["Monday", *people]}


def _query(inputs: Mapping[str, str], right: bool) -> dict[str, Any]:
    known = re.findall(r"Maker\d+", inputs["notes"])
    film = re.findall(r"Film\d+", inputs["claim"])[0]
    return {"query": (known[0] if known else film) if right else "director town born"}


def _notes(inputs: Mapping[str, str], right: bool) -> dict[str, Any]:
    film = re.findall(r"Film\d+", inputs["claim"])[0]
    seen = f"{film} {inputs['notes']}"
    facts = re.findall(r"(\w+) \| ([^|]*?\.)", inputs["context"])
    kept = [(title, fact) for title, fact in facts if re.search(rf"\b{title}\b", seen)] if right else []
    return {"new_notes": [fact for _, fact in kept], "titles": [title for title, _ in kept]}


def _tool(inputs: Mapping[str, str], right: bool) -> dict[str, Any]:
    film = re.findall(r"Film\d+", inputs["claim"])[0]
    maker = re.findall(r"Maker\d+", inputs.get("trajectory", ""))
    if not right or "tool_name_1" in inputs.get("trajectory", ""):
        name, arguments = "finish", {}
    elif maker:
        name, arguments = "search_titles", {"query": maker[0]}
    else:
        name, arguments = "read", {"title": film}
    return {"next_thought": f"Now {name}.", "next_tool_name": name, "next_tool_args": arguments}


def _titles(inputs: Mapping[str, str], right: bool) -> dict[str, Any]:
    film = re.findall(r"Film\d+", inputs["claim"])[0]
    maker = re.findall(r"Maker\d+", inputs.get("trajectory", ""))
    return {"titles": [film, *maker[:1]] if right else []}


_ANSWERS: dict[str, Callable[[Mapping[str, str], bool], dict[str, Any]]] = {
    "label": _label,
    "people": _people,
    "query": _query,
    "new_notes": _notes,
    "next_tool_name": _tool,
    "titles": _titles,
}


def _sections(content: str) -> dict[str, str]:
    """Return the fields of a user's turn as DSPy's ChatAdapter writes them."""
    told = content.partition("\n\nRespond with the corresponding output fields")[0]
    parts = re.split(r"^\[\[ ## (\w+) ## \]\]\n", told, flags=re.M)
    return {name: value.strip() for name, value in zip(parts[1::2], parts[2::2], strict=True)}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
