"""The scripted task LM, and the teacher: they follow each rule with the probability that the world gives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.worlds.forms import form_of
from benchmarks.worlds.reading import CASE, case_in, knowledge
from benchmarks.worlds.world import TEACHER_KNOWS, Knowledge, Rule, Stage, World, other_answer, share

TEACHER_FOLLOWS = 0.9
"""How often the teacher follows a rule that it knows."""
Messages = Sequence[tuple[str, str]]
"""Role and text of each message."""
Draw = Callable[[str], float]
"""A number in [0, 1) for each purpose, the same whenever the same request comes for the same time."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a stage: what it is about, and what its prompt tells."""

    stage: Stage
    rules: tuple[Rule, ...]
    prompt: Knowledge
    messages: Messages
    after_case: str


def call_of(world: World, messages: Messages) -> Call | None:
    """Return what a request calls for; None if its last message has no case."""
    last = messages[-1][1]
    matches = list(CASE.finditer(last))
    found = case_in(world, matches[-1]) if matches else None
    if found is None:
        return None
    stage, rules = found
    before = [text for role, text in messages[:-1] if role == "system"]
    turns = [(role, text) for role, text in messages[:-1] if role != "system"]
    demos = tuple(
        (asked, said) for (role, asked), (other, said) in pairwise(turns) if (role, other) == ("user", "assistant")
    )
    instruction = "\n".join([*before, last[: matches[-1].start()]])
    return Call(stage, rules, knowledge(world, stage, instruction, demos), messages, last[matches[-1].end() :])


def answer(world: World, call: Call, draw: Draw, *, teacher: bool = False) -> str:
    """Answer as the task LM would, or the teacher, in the form asked for."""
    pieces = []
    wanted = {rule.answer for rule in call.rules}
    for rule in call.rules:
        chance = world.chance(call.stage, rule, call.prompt)
        if teacher and share(f"{world.name}/{world.seed}/teacher/{rule.stage}/{rule.number}") < TEACHER_KNOWS:
            chance = max(chance, TEACHER_FOLLOWS)
        follows = draw(f"rule {rule.number}") < chance
        pieces.append(rule.answer if follows else other_answer(call.stage, rule, str(draw("other")), wanted))
    formed = draw("form") < world.formed(call.stage, call.prompt)
    return in_form(call, call.stage.written(pieces) if formed else _unformed(call.stage, pieces))


def in_form(call: Call, said: str) -> str:
    """Return an answer in the form that the request asks for."""
    form = form_of(call.messages, call.after_case)
    own = call.stage.name if call.stage.name in form.fields else next(iter(form.fields[-1:]), "")
    return form.write(lambda name: said if name in (own, "") else "I looked at the note.", [said], [own])


def _unformed(stage: Stage, pieces: Sequence[str]) -> str:
    said = stage.written(pieces)
    return said.lower() if stage.form == "capitals" else said.strip("<>")
