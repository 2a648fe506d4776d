"""What the proposer is told: one set of meta-prompts for able models, a short one for those below 3B parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.program.candidate import Demo
from luthier.propose.fields import Subject, demo_text, value_text
from luthier.propose.tips import TIPS

_VALUE, _SMALL_VALUE = 600, 160
"""Characters of one value of a demo that are shown."""
_CODE, _SMALL_CODE = 12_000, 1_500
_SMALL_FACT = 300

_INTRODUCTION = (
    "A program solves a task with calls to a language model. Learn about the task from the facts below. "
    "Then write a new instruction for one of these calls, the module named below, with which the language model "
    "will do its part of the task better."
)
_CLOSING = (
    "Write the proposed instruction and nothing else: no title, no quotation marks, no explanation, "
    "and nothing copied from a single demo."
)
_WITH_RULES = (
    " The model will see the instruction and none of these facts: put into it every rule, form of the answer, and "
    "meaning of a label that they bear out."
)
_INTRODUCTION_ALL = (
    "A program solves a task with calls to a language model. Learn about the task from the facts below. Then write a "
    "new instruction for each of its modules, with which the program as a whole will do the task better."
)
_CLOSING_ALL = (
    "Answer with one JSON object and nothing else. Its keys are {names}; each value is that module's new instruction. "
    "Copy nothing from a single demo."
)
_RULES = (
    "Above all, name the rules by which the answers seem to follow from the inputs: what decides between labels, "
    "which exceptions there are, and which form answers have. "
)
_PROGRAMS = "PREVIOUS INSTRUCTIONS OF ALL MODULES (each set with the program's score, the best last)"
_SMALL_CLOSING = "Answer with the new instruction only."
_TITLES = {
    "dataset": "DATASET SUMMARY",
    "code": "PROGRAM CODE",
    "program": "PROGRAM DESCRIPTION",
    "module": "MODULE",
    "demos": "TASK DEMOS",
    "history": "PREVIOUS INSTRUCTIONS (each with its score, the best last)",
    "basic": "BASIC INSTRUCTION",
    "tip": "TIP",
}
HEADINGS = ("MODULES", *(title.partition(" (")[0] for title in _TITLES.values()))
"""Of the sections of a meta-prompt."""


_ALL_TIPS = "\n".join(TIPS.values())


@dataclass(frozen=True, slots=True)
class MetaPrompt:
    """A meta-prompt, and which of its words are ours: a proposal that repeats these is an echo."""

    text: str
    wording: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a meta-prompt is filled with; an empty field is left out (paper's Listing 1)."""

    subject: Subject
    dataset: str = ""
    code: str = ""
    program: str = ""
    role: str = ""
    demos: Sequence[Demo] = ()
    history: str = ""
    tip: str = ""


def instruction_prompt(facts: Facts, *, rules: bool) -> MetaPrompt:
    """Return the meta-prompt that asks for an instruction, fields in the order of the paper's Listing 1.

    Args:
        facts: what it is filled with.
        rules: ask for the rules that the facts bear out.
    """
    introduction = _INTRODUCTION + (_WITH_RULES if rules else "")
    demos = "\n\n".join(demo_text(demo, limit=_VALUE) for demo in facts.demos)
    module = f"{facts.subject.name}: {facts.subject.facts}"
    sections = {
        "dataset": facts.dataset,
        "code": cut(facts.code, _CODE),
        "program": facts.program,
        "module": f"{module}\n{facts.role}" if facts.role else module,
        "demos": demos,
        "history": facts.history,
        "basic": facts.subject.original or "(none)",
        "tip": facts.tip,
    }
    body = "\n\n".join(f"{_TITLES[name]}:\n{text}" for name, text in sections.items() if text)
    return MetaPrompt(f"{introduction}\n\n{body}\n\n{_CLOSING}", f"{introduction}\n{_ALL_TIPS}\n{_CLOSING}")


def small_instruction_prompt(facts: Facts) -> MetaPrompt:
    """Return the same for a small model: the task in a paragraph, a few demos a line each, one plain request."""
    request = " ".join(
        filter(None, ("Write a better instruction, in one to three sentences.", facts.tip, _SMALL_CLOSING))
    )
    demos = "\n".join(demo_text(demo, limit=_SMALL_VALUE, arrow=" -> ").replace("\n", ", ") for demo in facts.demos)
    about = " ".join(cut(text, _SMALL_FACT) for text in (facts.dataset, facts.role) if text)
    parts = [
        f"A language model follows this instruction:\n{facts.subject.original or '(none)'}",
        f"It {facts.subject.facts}",
        about,
        f"Examples:\n{demos}" if demos else "",
        f"Earlier instructions and their scores, the best last:\n{facts.history}" if facts.history else "",
        request,
    ]
    return MetaPrompt("\n\n".join(filter(None, parts)), f"A language model follows this instruction\n{request}")


def whole_program_prompt(parts: Sequence[Facts], history: str, *, rules: bool) -> MetaPrompt:
    """Return the request for new instructions of all modules at once (MIPRO §4.5, F.4).

    Args:
        parts: one for each module; what is said of data and program is taken from the first.
        history: earlier sets of instructions with the scores of the whole program.
        rules: ask for the rules that the facts bear out.
    """
    introduction = _INTRODUCTION_ALL + (_WITH_RULES if rules else "")
    modules = []
    for facts in parts:
        demos = "\n".join(demo_text(demo, limit=_SMALL_VALUE, arrow=" -> ") for demo in facts.demos)
        module = f"{facts.subject.name}: {facts.subject.facts}\n{facts.role}".strip()
        basic = facts.subject.original or "(none)"
        modules.append(f"{module}\nBasic instruction: {basic}" + (f"\nDemos:\n{demos}" if demos else ""))
    first = parts[0]
    sections = {
        "dataset": first.dataset,
        "code": cut(first.code, _CODE),
        "program": first.program,
        "modules": "\n\n".join(modules),
        "history": history,
        "tip": first.tip,
    }
    titles = {**_TITLES, "modules": "MODULES", "history": _PROGRAMS}
    body = "\n\n".join(f"{titles[name]}:\n{text}" for name, text in sections.items() if text)
    closing = _CLOSING_ALL.format(names=", ".join(f'"{facts.subject.name}"' for facts in parts))
    return MetaPrompt(f"{introduction}\n\n{body}\n\n{closing}", f"{introduction}\n{_ALL_TIPS}\n{closing}")


def observe_prompt(rows: str, so_far: str, *, rules: bool) -> str:
    """Return the request for observations on a batch of rows (MIPRO App. C).

    Args:
        rows: the batch.
        so_far: earlier observations.
        rules: ask for the rules behind the answers, too.
    """
    wish = _RULES if rules else ""
    if not so_far:
        return (
            "Here are examples from a dataset.\n\n"
            f"{rows}\n\n"
            "Write observations on what holds for most or all of them: topics, content, syntax, length, and which task "
            f"the data may serve. {wish}Be creative, and be brief."
        )
    return (
        "Here are more examples from a dataset, and the observations made on it so far.\n\n"
        f"OBSERVATIONS:\n{so_far}\n\nEXAMPLES:\n{rows}\n\n"
        f"Write further observations on what holds for most or all examples. {wish}If there is nothing to add, "
        "answer with the single word COMPLETE."
    )


def condense_prompt(observations: str, *, rules: bool) -> str:
    """Return the request to condense observations (MIPRO App. C); with ``rules`` none of them may get lost."""
    how = (
        "Condense them to a summary: what the data is, in two to three sentences, then every rule, exception, form of "
        "the answer, and meaning of a label that they hold, each once. Answer with the summary."
        if rules
        else "Condense them to a summary of two to three sentences with the key points only. Answer with the summary."
    )
    return f"Here are observations on a dataset.\n\n{observations}\n\n{how}"


def small_dataset_prompt(rows: str) -> str:
    """Return the one request on the data that a small model gets."""
    return (
        f"Here are examples from a dataset:\n\n{rows}\n\nIn two short sentences: what is this data, and what is asked?"
    )


def program_prompt(code: str, run: str, *, small: bool) -> str:
    """Return the request to say what a program does, and how (MIPRO App. C)."""
    if small:
        return f"{cut(code, _SMALL_CODE)}\n\nIn one or two short sentences: what does this program do?"
    example = f"\n\nAN EXAMPLE OF THE PROGRAM IN USE:\n{run}" if run else ""
    return (
        "Here is the source code of a program whose steps are calls to a language model.\n\n"
        f"PROGRAM CODE:\n{cut(code, _CODE)}{example}\n\n"
        "Say which task the program seems built for, and how it seems to work, in a few sentences."
    )


def role_prompt(subject: Subject, code: str, program: str, *, small: bool) -> str:
    """Return the request to say which part one component plays."""
    task = f"{subject.name}: it {subject.facts}\nIts instruction: {subject.original or '(none)'}"
    if small:
        return f"One step of a program is called {task}\n\nIn one short sentence: what does this step do?"
    about = f"PROGRAM CODE:\n{cut(code, _CODE)}\n\n" if code else ""
    about += f"PROGRAM DESCRIPTION:\n{program}\n\n" if program else ""
    return f"{about}MODULE:\n{task}\n\nSay in one or two sentences which role this module plays in the program."


def cut(text: str, limit: int) -> str:
    """Return a text of at most ``limit`` characters, cut after a sentence where one ends in its second half."""
    if len(text) <= limit:
        return text
    head = text[:limit]
    end = max(head.rfind(mark) for mark in (". ", ".\n", "! ", "? ", "\n"))
    return head[: end + 1].rstrip() if end >= limit // 2 else value_text(text, limit)
