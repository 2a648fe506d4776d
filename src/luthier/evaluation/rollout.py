"""One run of a program on one example, and the four ways it can end."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.evaluation.stats import standard_error
from luthier.lm.request import Usage, total_usage
from luthier.program.answer_problems import count_problems
from luthier.program.candidate import Candidate
from luthier.program.trace import Trace
from luthier.types import Shown


class Outcome(enum.StrEnum):
    """The four kinds of outcome; never mixed."""

    SCORED = "scored"
    UNPARSEABLE = "unparseable"
    """The LM answered, not in the form asked: scored 0, counted apart."""
    ERROR = "error"
    """User code raised: scored 0, counted apart."""
    UNSCORED = "unscored"
    """Infrastructure failed: no score at all."""


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's judgement.

    Args:
        value: in [0, 1].
        feedback: what was wrong, in words, for proposers that read it: of the whole run, or by predictor's name.
        measures: further numbers by name.
    """

    value: float
    feedback: str | Mapping[str, str] = ""
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """A rollout to be made."""

    candidate: Candidate
    example: str
    """The row's id."""
    repeat: int = 0
    temperature: float | None = None
    """Overrides every predictor's temperature (the teacher's later rounds)."""
    bypass_cache: bool = False
    """Asked once more, at temperature 0, too."""
    trial: int | None = None
    """The trial it is made for."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout made."""

    job: Job
    outcome: Outcome
    score: Score | None
    """None only where the outcome is ``UNSCORED``."""
    prediction: Any
    """What the program returned; None where it did not."""
    trace: Trace
    error: str = ""
    """One line: what was raised."""
    traceback: str = ""
    seconds: float = 0.0
    blamed: str = ""
    """The predictor whose answer could not be read."""
    mixed: bool = False
    """Several LMs answered the program's predictors, so the bill is kept by LM, too."""
    refused: bool = False
    """It is unparseable since a prompt was refused: too long for the LM, or flagged."""

    @property
    def value(self) -> float:
        """The score's value.

        Raises:
            ValueError: the rollout is unscored.
        """
        if self.score is None:
            raise ValueError("an unscored rollout has no value")
        return self.score.value

    @property
    def usage(self) -> Usage:
        """Tokens and calls, as if every call had been paid."""
        return self.trace.usage


@dataclass(frozen=True, slots=True)
class Evaluation(Shown):
    """Rollouts of one candidate on some examples, with mean and standard error."""

    candidate: Candidate
    rollouts: tuple[Rollout, ...]

    def __repr__(self) -> str:
        return f"Evaluation(mean={self.mean:.4g}, stderr={self.stderr:.4g}, n={self.n}, unscored={self.unscored})"

    @property
    def scores(self) -> dict[str, float]:
        """Mean value by example id, over repeats; unscored rollouts left out."""
        by_example: dict[str, list[float]] = {}
        for rollout in self.rollouts:
            if rollout.score is not None:
                by_example.setdefault(rollout.job.example, []).append(rollout.score.value)
        return {example: sum(values) / len(values) for example, values in by_example.items()}

    @property
    def n(self) -> int:
        """How many examples have a score."""
        return len(self.scores)

    @property
    def mean(self) -> float:
        """Mean over examples; NaN where none was scored."""
        scores = list(self.scores.values())
        return sum(scores) / len(scores) if scores else float("nan")

    @property
    def stderr(self) -> float:
        """Standard error of the mean over examples; NaN below two."""
        scores = list(self.scores.values())
        stderr = standard_error(scores)
        return float("nan") if stderr is None else stderr

    @property
    def unscored(self) -> int:
        """How many rollouts infrastructure took."""
        return self.count(Outcome.UNSCORED)

    def count(self, outcome: Outcome) -> int:
        """How many rollouts ended this way."""
        return sum(rollout.outcome is outcome for rollout in self.rollouts)

    @property
    def badly(self) -> dict[str, dict[str, int]]:
        """How many answers came, but not as they should: by predictor, then cut off, refused, and so on."""
        return count_problems(call for rollout in self.rollouts for call in rollout.trace.calls)

    @property
    def unmetered(self) -> dict[str, int]:
        """How many calls luthier saw nothing of, by predictor: ``usage`` and budgets do not have them."""
        return dict(sum((Counter(rollout.trace.unmetered) for rollout in self.rollouts), Counter()))

    @property
    def usage(self) -> Usage:
        """Tokens and calls, as if every call had been paid."""
        return total_usage([rollout.usage for rollout in self.rollouts])

    @property
    def usage_by_lm(self) -> dict[str, Usage]:
        """The same by the LM's identity."""
        return Trace([call for rollout in self.rollouts for call in rollout.trace.calls]).usage_by_lm


def outcome_json(rollout: Rollout) -> dict[str, Any]:
    """Return what the journal keeps of a rollout: no texts of the user's data."""
    by_lm = rollout.trace.usage_by_lm if rollout.mixed else {}
    counted = count_problems(rollout.trace.calls)
    return {
        "example": rollout.job.example,
        "repeat": rollout.job.repeat,
        "outcome": rollout.outcome.value,
        "value": None if rollout.score is None else rollout.score.value,
        "measures": {} if rollout.score is None else dict(rollout.score.measures),
        "error": rollout.error,
        "blamed": rollout.blamed,
        "cost": cost_json(rollout.usage),
        "seconds": round(rollout.seconds, 4),
        **({"refused": True} if rollout.refused else {}),
        **({"badly": counted} if counted else {}),
        **({"lms": {lm: cost_json(usage) for lm, usage in by_lm.items()}} if by_lm else {}),
        **({"unmetered": rollout.trace.unmetered} if rollout.trace.unmetered else {}),
    }


def cost_json(usage: Usage) -> dict[str, int]:
    """Return a bill as the journal has it."""
    return {
        "lm_calls": usage.calls,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
    }


def by_outcome(rollouts: Sequence[Rollout]) -> dict[str, int]:
    """Count rollouts by outcome."""
    return {outcome.value: sum(r.outcome is outcome for r in rollouts) for outcome in Outcome}
