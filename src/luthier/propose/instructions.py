"""Instruction proposals: the original, and what the proposer makes of it (MIPRO §3.1, §4.3)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from luthier.lm.images import Image, hashes_in
from luthier.lm.profile import Profile
from luthier.lm.request import Completion, Message, TextPart
from luthier.program.candidate import Demo
from luthier.program.thoughts import unfinished_before_writing
from luthier.propose.bootstrap import DemoSet
from luthier.propose.cleaning import clean
from luthier.propose.fields import Subject, demo_text, private_names, subjects_of
from luthier.propose.grounding import Grounding, GroundingSettings, program_code
from luthier.propose.guards import Fault, check, key_of, quotable
from luthier.propose.history import format_history
from luthier.propose.meta_prompts import Facts, MetaPrompt, instruction_prompt, small_instruction_prompt
from luthier.propose.proposer import Proposer, side_by_side
from luthier.propose.tips import TIPS
from luthier.propose.training_text import TrainingText

if TYPE_CHECKING:
    from luthier.evaluation.data import Row
    from luthier.program.program import Program

_TOKENS, _SMALL_TOKENS = 4000, 160
_HEAT_STEP, _MOST_HEAT = 0.15, 1.0
ALL = "(all)"
"""Stands for the predictors of an answer for all of them that was rejected as a whole."""
_WITHHELD = "(not shown: it holds a private value)"


@dataclass(frozen=True, slots=True)
class Proposal:
    """An instruction for a predictor, and what it was made with."""

    predictor: str
    text: str
    tip: str = "none"
    """Key of the tip it was written under."""
    demo_set: int | None = None
    """Index of the demo set it was grounded on; None where no demo was shown."""
    quotes: bool = False
    """Whether it quotes a training row."""

    def to_json(self) -> dict[str, Any]:
        """Return the proposal as JSON."""
        quotes = {"quotes": True} if self.quotes else {}
        return {"predictor": self.predictor, "text": self.text, "tip": self.tip, "demo_set": self.demo_set, **quotes}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Proposal:
        """Read a proposal back."""
        return Proposal(data["predictor"], data["text"], data["tip"], data["demo_set"], data.get("quotes", False))


@dataclass(frozen=True, slots=True)
class Rejection:
    """An answer that did not become an instruction."""

    predictor: str
    text: str
    """What was written, as far as it may be shown."""
    reason: str

    @staticmethod
    def of(predictor: str, text: str, answer: str, fault: Fault, training: TrainingText) -> Rejection:
        """Return a rejection that shows the instruction, or the whole answer where no instruction was in it.

        Private values of training rows are not shown, whatever the proposal was rejected for.
        """
        shown = text or answer.strip()
        withheld = fault is Fault.PRIVATE or training.holds_private(shown)
        return Rejection(predictor, _WITHHELD if withheld else shown, fault.value)


@dataclass(frozen=True, slots=True)
class InstructionPool:
    """The instructions to choose from."""

    predictors: Mapping[str, tuple[Proposal, ...]]
    """By predictor; the original is the first."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """How many answers were rejected, by reason."""
    warnings: tuple[str, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    """Each answer that was rejected."""

    def to_json(self) -> dict[str, Any]:
        """Return the pool as JSON."""
        return {
            "predictors": {name: [one.to_json() for one in proposals] for name, proposals in self.predictors.items()},
            "rejected": dict(self.rejected),
            "warnings": list(self.warnings),
            "rejections": [asdict(one) for one in self.rejections],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> InstructionPool:
        """Read a pool back."""
        predictors = {name: tuple(Proposal.from_json(one) for one in own) for name, own in data["predictors"].items()}
        rejections = tuple(Rejection(**one) for one in data.get("rejections", ()))
        return InstructionPool(predictors, dict(data["rejected"]), tuple(data.get("warnings", ())), rejections)


async def propose_instructions(  # noqa: PLR0913 - one argument per ingredient
    proposer: Proposer,
    program: Program,
    grounding: Grounding,
    demo_sets: Sequence[DemoSet],
    rows: Sequence[Row],
    *,
    wanted: Mapping[str, Sequence[int]],
    settings: GroundingSettings,
    seed: int,
    held: Mapping[str, Sequence[str]] | None = None,
) -> InstructionPool:
    """Have different instructions for predictors, the original first; instruction j is grounded on demo set j.

    A malformed answer is counted by reason and asked for again, ``settings.tries`` times at most; a predictor that
    still has fewer goes on with fewer, and a warning says so. What a slot (predictor, j) is shown depends on
    ``seed``, predictor, j, and try alone, so concurrency changes nothing.

    Args:
        proposer: who writes.
        program: whose predictors need instructions.
        grounding: facts to show.
        demo_sets: where task demos come from.
        rows: training rows, which no instruction may quote.
        wanted: by predictor, the numbers j of the instructions to be written; the original is number 0.
        settings: what to show.
        seed: decides the tips.
        held: by predictor, instructions there are besides the original, which are not to come again.

    Raises:
        LMError: the proposer could not answer.
        BudgetExhausted: a call does not fit the budget.
    """
    subjects = subjects_of(program)
    slots = [
        _Slot(subject, j, random.Random(f"{seed}/{name}/{j}"), *demos_for(name, j, demo_sets, settings))
        for name, subject in subjects.items()
        for j in wanted.get(name, ())
    ]
    code = program_code(program) if settings.program_summary and not settings.small and slots else ""
    training = TrainingText.of(
        rows, [demo_text(demo) for slot in slots for demo in slot.demos], hidden=private_names(program)
    )
    written = {name: {0: Proposal(name, subject.original)} for name, subject in subjects.items()}
    known = {name: {_key(text, settings) for text in (held or {}).get(name, ())} for name in subjects}
    rejections: list[Rejection] = []
    for attempt in range(settings.tries):
        for slot in slots:
            slot.prepare(grounding, code, settings)
        answers = await side_by_side([_answer(proposer, slot, settings, attempt) for slot in slots])
        waiting = []
        for slot, answer in zip(slots, answers, strict=True):
            text = clean(answer.text)
            fault = _fault(text, answer, slot, known[slot.name], training, settings)
            if fault is None:
                quotes = training.quoted(text, allowed=quotable(slot.subject))
                written[slot.name][slot.j] = Proposal(slot.name, text, slot.tip, slot.demo_set, quotes)
                known[slot.name].add(_key(text, settings))
            else:
                rejections.append(Rejection.of(slot.name, text, answer.text, fault, training))
                waiting.append(slot)
        slots = waiting
    numbers = {name: (len(own), 1 + len(wanted.get(name, ()))) for name, own in written.items()}
    warnings = warnings_of(rejections, numbers)
    pool = {name: tuple(own[j] for j in sorted(own)) for name, own in written.items()}
    return InstructionPool(pool, by_reason(rejections), tuple(warnings), tuple(rejections))


def by_reason(rejections: Sequence[Rejection]) -> dict[str, int]:
    """Return how many answers were rejected for each reason."""
    return dict(sorted(Counter(one.reason for one in rejections).items()))


def warnings_of(rejections: Sequence[Rejection], numbers: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return a warning for each predictor that lacks instructions, or of whose proposals more than half were rejected.

    Args:
        rejections: of all predictors.
        numbers: by predictor, how many instructions there are, the original included, and how many were wanted.
    """
    warnings = []
    for name, (count, wished) in numbers.items():
        reasons = Counter(one.reason for one in rejections if one.predictor in (name, ALL))
        rejected, total = reasons.total(), reasons.total() + count - 1
        if count < wished or rejected > total / 2:
            counts = ", ".join(f"{reason}: {number}" for reason, number in reasons.most_common())
            why = f"{rejected} of {total} proposals were rejected ({counts})"
            warnings.append(f"{name!r} has {count} of {wished} instructions; {why}")
    return warnings


@dataclass(slots=True)
class _Slot:
    """A proposal that is wanted: the j-th of a predictor."""

    subject: Subject
    j: int
    rng: random.Random
    demos: tuple[Demo, ...]
    demo_set: int | None
    tip: str = "none"
    history: str = ""
    prompt: MetaPrompt = field(default_factory=lambda: MetaPrompt("", ""))

    @property
    def name(self) -> str:
        return self.subject.name

    def prepare(self, grounding: Grounding, code: str, settings: GroundingSettings) -> None:
        """Draw a tip and write the meta-prompt of the next try."""
        self.tip = self.rng.choice(sorted(settings.tips)) if settings.tips else "none"
        self.history = format_history(grounding.history.get(self.name, ())) if settings.history else ""
        facts = Facts(
            self.subject,
            dataset=grounding.dataset_summary or "" if settings.dataset_summary else "",
            code=code,
            program=grounding.program_summary or "" if settings.program_summary else "",
            role=grounding.roles.get(self.name, "") if settings.roles else "",
            demos=self.demos,
            history=self.history,
            tip=TIPS[self.tip],
        )
        self.prompt = (
            small_instruction_prompt(facts) if settings.small else instruction_prompt(facts, rules=settings.rules)
        )


def demos_for(
    name: str, j: int, demo_sets: Sequence[DemoSet], settings: GroundingSettings
) -> tuple[tuple[Demo, ...], int | None]:
    """Return a few demos of set j, or of the next set that has any, and that set's index."""
    if not settings.demos:
        return (), None
    for step in range(len(demo_sets)):
        index = (j + step) % len(demo_sets)
        demos = demo_sets[index].demos.get(name, ())
        if demos:
            return _varied(demos, settings.demos_shown), index
    return (), None


def _varied(demos: Sequence[Demo], count: int) -> tuple[Demo, ...]:
    """Return the first demos, those whose outputs have not been shown yet before the others."""
    new: list[Demo] = []
    again: list[Demo] = []
    for demo in demos:
        (again if any(demo.outputs == earlier.outputs for earlier in new) else new).append(demo)
    return tuple([*new, *again][:count])


async def _answer(proposer: Proposer, slot: _Slot, settings: GroundingSettings, attempt: int) -> Completion:
    return await proposer.complete(
        _asked(slot, settings),
        max_tokens=most_tokens(settings),
        sample=slot.j * settings.tries + attempt,
        temperature=heat(proposer, attempt),
    )


def _asked(slot: _Slot, settings: GroundingSettings) -> str | list[Message]:
    """Return the meta-prompt; with the images of its demos only where that is allowed."""
    hashes = dict.fromkeys(one for demo in slot.demos for one in hashes_in(demo.inputs)) if settings.images else {}
    if not hashes:
        return slot.prompt.text
    images = [Image.of({"image": sha256}).part for sha256 in hashes]
    return [Message("user", (TextPart(slot.prompt.text), *images))]


def heat(proposer: Proposer, attempt: int) -> float:
    """Return the temperature of a try: hotter each time, up to 1: what was wrong once is likely to come again."""
    return max(proposer.temperature, min(_MOST_HEAT, proposer.temperature + _HEAT_STEP * attempt))


def most_tokens(settings: GroundingSettings) -> int:
    """Return how long an answer with one instruction may be."""
    return settings.max_tokens or (_SMALL_TOKENS if settings.small else _TOKENS)


def _fault(
    text: str,
    answer: Completion,
    slot: _Slot,
    known: Collection[str],
    training: TrainingText,
    settings: GroundingSettings,
) -> Fault | None:
    fault = check(
        text,
        subject=slot.subject,
        meta_prompt=slot.prompt.wording,
        # An earlier instruction may be built upon; what it must not be is the same.
        facts=slot.prompt.text.replace(slot.history, "") if slot.history else slot.prompt.text,
        training=training,
        finish_reason="length" if unfinished_before_writing(answer.text) else answer.finish_reason,
        limit=settings.max_characters,
        profile=settings.profile or Profile.ABLE,
        refuse_quotes=settings.refuse_quotes,
    )
    if fault is None and _key(text, settings) in known:
        return Fault.DUPLICATE
    return fault


def _key(text: str, settings: GroundingSettings) -> str:
    return key_of(text, settings.profile or Profile.ABLE)
