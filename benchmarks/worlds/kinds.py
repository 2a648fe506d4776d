"""The kinds of worlds: what differs between them, as numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Feedback = Literal["reasons", "answers", "none"]
"""What the metric says of a failure: why, or what would have been right, or nothing but the score."""
Answer = Literal["label", "labels", "number", "text"]
Null = Literal["", "nothing helps", "original is best", "metric ignores output"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of world. Probabilities and their changes are in [0, 1]."""

    about: str
    answers: tuple[Answer, ...] = ("label", "label")
    """What each stage answers, in the order of the stages."""
    feedback: Feedback = "reasons"
    wrong_reasons: float = 0.0
    """Share of the rows whose reason names a wrong answer."""
    wrong_inferences: float = 0.0
    """How often an inference of the proposer comes out wrong."""
    obeys: float = 0.95
    """How often the task LM follows a rule that its instruction states."""
    burden: float = 0.004
    """What each rule beyond ``free`` takes from that."""
    free: int = 5
    misfire: float = 0.02
    """What a wrong rule takes from every other rule."""
    teaches: float = 0.6
    """How often one demonstration of a rule is enough."""
    words: int = 0
    """Length of a rule as the proposer writes it; 0: as short as it can."""
    formats: bool = False
    """Whether each stage's answer has a form of its own, too."""
    graded: bool = False
    """The score is the mean of the stages' scores, not their product."""
    blind: bool = False
    """The program returns a code word that hides what its stages said, and stages have no labels."""
    idle: int = -1
    """The stage, from 0, whose answer the metric does not look at; -1: none."""
    loop: int = 1
    """How often the first stage is called in a run."""
    null: Null = ""


_BASE = Kind("Feedback says why an answer is wrong.")

KINDS: dict[str, Kind] = {
    "reasons": _BASE,
    "answers": replace(_BASE, about="Feedback says the right answer only.", feedback="answers"),
    "scores": replace(_BASE, about="The metric returns a score only; stages' labels are columns.", feedback="none"),
    "wrong-reasons": replace(_BASE, about="One reason in five is wrong.", wrong_reasons=0.2),
    "harsh": replace(
        _BASE,
        about="Four inferences in ten are wrong and misfire; obedience falls with each rule beyond five.",
        wrong_inferences=0.4,
        obeys=0.8,
        burden=0.02,
        misfire=0.05,
    ),
    "long": replace(_BASE, about="A rule takes 25 words or more.", words=25),
    "demos-only": replace(_BASE, about="Only demonstrations teach; instructions are not followed.", obeys=0.2),
    "blind": replace(
        _BASE, about="The final answer hides what the stages said; no labels of stages.", feedback="none", blind=True
    ),
    "blind-4": replace(_BASE, about="The same with four stages.", feedback="none", blind=True, answers=("label",) * 4),
    "stages-4": replace(_BASE, about="Four stages.", answers=("label",) * 4),
    "stages-8": replace(_BASE, about="Eight stages.", answers=("label",) * 8),
    "idle-stage": replace(
        _BASE, about="Three stages, of which the second does not matter.", answers=("label",) * 3, idle=1
    ),
    "loop": replace(_BASE, about="The first of two stages is called three times in a run.", loop=3),
    "mixed": replace(
        _BASE,
        about="Several labels, a number, and graded text, in forms of their own; the score is the stages' mean.",
        answers=("labels", "number", "text"),
        formats=True,
        graded=True,
    ),
    "null-nothing": replace(_BASE, about="Nothing helps, nothing harms.", null="nothing helps"),
    "null-best": replace(_BASE, about="The original prompt is the best there is.", null="original is best"),
    "null-metric": replace(_BASE, about="The metric ignores the output.", null="metric ignores output"),
}
"""Every kind by name."""

TUNING_KINDS = ("reasons", "answers", "scores", "wrong-reasons", "harsh")
"""The kinds on whose seeds 0 to 9 constants of optimizers may be chosen; results are told from seeds 10 on."""
