"""Proposals for a whole program: one answer with an instruction for every predictor (MIPRO §4.5, F.4)."""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from luthier.lm.profile import Profile
from luthier.lm.request import Completion
from luthier.program.thoughts import unfinished_before_writing, written_after_thoughts
from luthier.propose.bootstrap import DemoSet
from luthier.propose.cleaning import clean
from luthier.propose.fields import demo_text, private_names, subjects_of
from luthier.propose.grounding import Grounding, GroundingSettings, program_code
from luthier.propose.guards import Fault, check
from luthier.propose.instructions import (
    ALL,
    InstructionPool,
    Proposal,
    Rejection,
    by_reason,
    demos_for,
    heat,
    most_tokens,
    warnings_of,
)
from luthier.propose.meta_prompts import Facts, MetaPrompt, whole_program_prompt
from luthier.propose.proposer import Proposer
from luthier.propose.tips import TIPS
from luthier.propose.training_text import TrainingText
from luthier.propose.wording import normalized

if TYPE_CHECKING:
    from luthier.evaluation.data import Row
    from luthier.program.program import Program

_SHOWN = 5
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


class ScoredProgram(NamedTuple):
    """The instructions of all predictors, and the score of a trial with them."""

    instructions: Mapping[str, str]
    score: float


async def propose_program(  # noqa: PLR0913 - one argument per ingredient
    proposer: Proposer,
    program: Program,
    grounding: Grounding,
    demo_sets: Sequence[DemoSet],
    rows: Sequence[Row],
    *,
    number: int,
    settings: GroundingSettings,
    seed: int,
    history: Sequence[ScoredProgram],
) -> InstructionPool:
    """Have one new instruction for every predictor, all from one answer.

    An answer of which some instruction is malformed is counted by reason and asked for again, ``settings.tries`` times
    at most; then the answer with the most sound instructions stands, and predictors without one get none.

    Args:
        proposer: who writes.
        program: whose predictors need instructions.
        grounding: facts to show.
        demo_sets: where task demos come from.
        rows: training rows, which no instruction may quote.
        number: tells the answers of one study apart; the demos shown are those of set ``number``.
        settings: what to show.
        seed: decides the tip.
        history: earlier programs with their scores.

    Raises:
        LMError: the proposer could not answer.
        BudgetExhausted: a call does not fit the budget.
    """
    subjects, rng = subjects_of(program), random.Random(f"{seed}/program/{number}")
    shown = {name: demos_for(name, number, demo_sets, settings) for name in subjects}
    demos_shown = [demo_text(demo) for demos, _ in shown.values() for demo in demos]
    training = TrainingText.of(rows, demos_shown, hidden=private_names(program))
    tried = format_programs(history) if settings.history else ""
    tip = rng.choice(sorted(settings.tips)) if settings.tips else "none"
    parts = [
        Facts(
            subject,
            dataset=grounding.dataset_summary or "" if settings.dataset_summary else "",
            code=program_code(program) if settings.program_summary and not settings.small else "",
            program=grounding.program_summary or "" if settings.program_summary else "",
            role=grounding.roles.get(name, "") if settings.roles else "",
            demos=shown[name][0],
            tip=TIPS[tip],
        )
        for name, subject in subjects.items()
    ]
    prompt = whole_program_prompt(parts, tried, rules=settings.rules)
    rejections, best = list[Rejection](), dict[str, str]()
    for attempt in range(settings.tries):
        answer = await proposer.complete(
            prompt.text,
            max_tokens=len(subjects) * most_tokens(settings),
            sample=number * settings.tries + attempt,
            temperature=heat(proposer, attempt),
        )
        sound, faults = _sound(answer, parts, prompt, tried, training, settings, history)
        rejections.extend(faults)
        best = max(best, sound, key=len)
        if not faults:
            break
    pool = {name: [Proposal(name, subject.original)] for name, subject in subjects.items()}
    for name, text in best.items():
        pool[name].append(Proposal(name, text, tip, shown[name][1]))
    warnings = warnings_of(rejections, {name: (len(own), 2) for name, own in pool.items()})
    instructions = {name: tuple(own) for name, own in pool.items()}
    return InstructionPool(instructions, by_reason(rejections), tuple(warnings), tuple(rejections))


def format_programs(history: Iterable[ScoredProgram], top: int = _SHOWN) -> str:
    """Return the best programs by mean score, worst first, one a line; each set of instructions once."""
    scores: dict[str, list[float]] = {}
    for instructions, score in history:
        scores.setdefault(json.dumps(dict(sorted(instructions.items())), ensure_ascii=False), []).append(score)
    means = sorted(((sum(own) / len(own), text) for text, own in scores.items()), key=lambda item: (-item[0], item[1]))
    return "\n".join(f"{text} | score: {score:.3f}" for score, text in reversed(means[:top]))


def read_program(reply: str, names: Sequence[str]) -> dict[str, str]:
    """Return the instructions in a reply: a JSON object, else lines ``name: text``, else quoted strings in order.

    An object as Python writes it, or with a comma too many, is read as what it means.

    >>> read_program('{"a": "Do this.", "b": "Do that.",}', ["a", "b"])
    {'a': 'Do this.', 'b': 'Do that.'}
    """
    text = written_after_thoughts(reply)
    data = _object(text[text.find("{") : text.rfind("}") + 1])
    if isinstance(data, dict):
        return {name: data[name].strip() for name in names if isinstance(data.get(name), str)}
    found = {}
    for name in names:
        line = re.search(rf"^\W*{re.escape(name)}\W*:\s*(.+)$", text, re.MULTILINE)
        # A line that holds a whole object which cannot be read is no instruction.
        if line is not None and not any(re.search(rf"[\"']{re.escape(n)}[\"']\s*:", line[1]) for n in names):
            found[name] = clean(line[1].rstrip(", "))
    if found:
        return found
    quoted = [one for one in _STRING.findall(text) if one not in names]
    return dict(zip(names, quoted, strict=True)) if len(quoted) == len(names) else {}


def _object(text: str) -> object:
    for read in (json.loads, lambda text: json.loads(re.sub(r",\s*}$", "}", text)), ast.literal_eval):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            return read(text)
    return None


def _sound(
    answer: Completion,
    parts: Sequence[Facts],
    prompt: MetaPrompt,
    tried: str,
    training: TrainingText,
    settings: GroundingSettings,
    history: Sequence[ScoredProgram],
) -> tuple[dict[str, str], list[Rejection]]:
    """Return the instructions of an answer that nothing is wrong with, and the others with what is wrong with them."""
    if answer.finish_reason == "length" or unfinished_before_writing(answer.text):
        return {}, [Rejection.of(ALL, "", answer.text, Fault.CUT, training)]
    texts = read_program(answer.text, [facts.subject.name for facts in parts])
    sound: dict[str, str] = {}
    faults: list[Rejection] = []
    facts_shown = prompt.text.replace(tried, "") if tried else prompt.text
    for facts in parts:
        name = facts.subject.name
        text = clean(texts.get(name, ""))
        fault = check(
            text,
            subject=facts.subject,
            meta_prompt=prompt.wording,
            facts=facts_shown,
            training=training,
            limit=settings.max_characters,
            profile=settings.profile or Profile.ABLE,
            refuse_quotes=settings.refuse_quotes,
        )
        if fault is None or fault is Fault.DUPLICATE:  # a module may keep its instruction while others change
            sound[name] = text
        else:
            faults.append(Rejection.of(name, text, answer.text, fault, training))
    earlier = [{name: normalized(known) for name, known in program.instructions.items()} for program in history]
    if {name: normalized(text) for name, text in sound.items()} in earlier:
        return {}, [Rejection.of(ALL, "", answer.text, Fault.DUPLICATE, training)]
    return sound, faults
