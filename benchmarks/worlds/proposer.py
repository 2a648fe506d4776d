"""The scripted proposer: it infers rules from whatever it is shown, and writes them in the form it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.worlds.forms import form_of
from benchmarks.worlds.reading import CASE, Reading, read
from benchmarks.worlds.task_lm import Draw, Messages
from benchmarks.worlds.world import Rule, Stage, World, other_answer

FROM_REASON, FROM_CORRECTION, FROM_EXAMPLE = 0.95, 0.35, 0.08
"""How often a rule is inferred from a reason, from a wrong answer beside the right one, from a right answer alone."""
KEEPS, KEEPS_LEAST = 0.95, 0.4
"""How often a rule of an instruction that it is given is kept, at ability 1 and 0."""
NEW = 3
"""New rules in one answer, at ability 1."""
INVENTS, INVENTS_MOST = 0.1, 0.4
"""How often an answer has an invented rule, at ability 1 and 0."""
_GUIDANCE = (
    "Look at every item and at the amount before you decide.",
    "Take the note literally and decide by what is in it.",
    "Weigh the items one by one, then answer.",
    "Answer briefly, and only after having read the whole note.",
    "The order of the items does not matter.",
)
_PADDING = (
    "Whenever you are given a note like this one to deal with, whatever else may be listed in it and in whichever "
    "order it comes, please check whether"
)


@dataclass(frozen=True, slots=True)
class Belief:
    """A rule as the proposer believes it."""

    rule: Rule
    answer: str


def propose(world: World, messages: Messages, draw: Draw, ability: float) -> str:
    """Answer any request of an optimizer: each text of the answer says what was inferred.

    Args:
        world: the world.
        messages: the request.
        draw: chance, as a function of the request.
        ability: from 0 (a 0.5B model) to 1.
    """
    text = "\n".join(content for _, content in messages)
    reading = read(world, text)
    beliefs = inferred(world, reading, draw, ability)
    matches = list(CASE.finditer(messages[-1][1]))
    form = form_of(messages, messages[-1][1][matches[-1].end() :] if matches else messages[-1][1])
    every = {stage.name: stage for stage in world.stages}
    subject = subject_of(world, text, reading)

    def value(name: str) -> str:
        stage = next((stage for key, stage in every.items() if key in name.lower()), subject)
        return written(world, stage, beliefs, reading, draw)

    items = [sentence(world, belief) for belief in beliefs] or [_GUIDANCE[0]]
    return form.write(value, items, [name for name in every if name in text.lower()])


def inferred(world: World, reading: Reading, draw: Draw, ability: float) -> list[Belief]:
    """Return the rules that the proposer believes after reading: those it was given, and a few new ones."""
    beliefs: dict[Rule, Belief] = {}
    keeps = KEEPS_LEAST + (KEEPS - KEEPS_LEAST) * ability
    for statement in reading.statements:
        if not statement.reason and draw(f"keep {key(statement.rule)} {statement.answer}") < keeps:
            beliefs[statement.rule] = Belief(statement.rule, statement.answer)
    given = {statement.rule for statement in reading.statements if not statement.reason}
    new: list[tuple[float, Belief]] = []
    for index, (rule, answer, chance) in enumerate(evidence(reading)):
        if rule in given or draw(f"infer {index} {key(rule)}") >= chance * ability:
            continue
        if draw(f"wrong {index} {key(rule)}") < world.kind.wrong_inferences:
            answer = other_answer(world.stage(rule.stage), rule, str(draw(f"which {index}")))
        new.append((draw(f"order {index}"), Belief(rule, answer)))
    for _, belief in sorted(new, key=lambda pair: pair[0]):
        if sum(rule not in given for rule in beliefs) >= round(NEW * ability):
            break
        beliefs.setdefault(belief.rule, belief)
    if draw("invent") < INVENTS + (INVENTS_MOST - INVENTS) * (1 - ability):
        stages = {case.stage.name: case.stage for case in reading.cases} or {s.name: s for s in world.stages}
        rules = [rule for stage in stages.values() for rule in stage.rules if rule not in beliefs]
        if rules:
            rule = rules[int(draw("invented") * len(rules))]
            beliefs[rule] = Belief(rule, other_answer(world.stage(rule.stage), rule, str(draw("invented answer"))))
    return list(beliefs.values())


def evidence(reading: Reading) -> list[tuple[Rule, str, float]]:
    """Return what a text shows: rule, answer, and how often an able reader infers the rule from it."""
    found = [(s.rule, s.answer, FROM_REASON) for s in reading.statements if s.reason]
    for case in reading.cases:
        others = set(case.stage.labels) - {rule.answer for rule in case.rules}
        for rule in case.rules:
            if rule.answer in case.after:
                found.append((rule, rule.answer, FROM_CORRECTION if others & case.after else FROM_EXAMPLE))
    return found


def subject_of(world: World, text: str, reading: Reading) -> Stage | None:
    """Return the stage that the request is about: the only one it shows, else the one whose instruction comes last."""
    shown = {case.stage for case in reading.cases}
    if len(shown) == 1:
        return shown.pop()
    lowered = " ".join(text.lower().split())
    openings = {stage: lowered.rfind(_opening(stage).lower()) for stage in world.stages}
    best = max(openings, key=lambda stage: openings[stage])
    return best if openings[best] >= 0 else None


def written(world: World, stage: Stage | None, beliefs: Sequence[Belief], reading: Reading, draw: Draw) -> str:
    """Return an instruction for a stage, or for None what is known of them all."""
    lines = [sentence(world, belief) for belief in beliefs if stage is None or belief.rule.stage == stage.name]
    stages = world.stages if stage is None else (stage,)
    lines += [f"Write the {s.name} in {s.form}." for s in stages if s.name in reading.forms]
    guidance = _GUIDANCE[int(draw("guidance") * len(_GUIDANCE))]
    if stage is None:
        return "\n".join(["The notes list items and an amount.", guidance, *lines])
    rules = ["Rules:", *(f"- {line}" for line in lines)] if lines else []
    return "\n".join([f"{stage.instruction} {guidance}", *rules])


def sentence(world: World, belief: Belief) -> str:
    """Return a rule as a sentence."""
    stage = belief.rule.stage
    if world.kind.words:
        return f"{_PADDING} {belief.rule.condition}, and if that is so then the {stage} has to be {belief.answer}."
    return f"If {belief.rule.condition}, the {stage} is {belief.answer}."


def key(rule: Rule) -> str:
    """Return a rule's name."""
    return f"{rule.stage}/{rule.number}"


def _opening(stage: Stage) -> str:
    return stage.instruction.partition(",")[0].partition(":")[0].rstrip(".")
