"""Rollouts of the teacher on training rows, and which of them passed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from luthier.canonical import uniform_order
from luthier.errors import StudyPaused
from luthier.evaluation.rollout import Job, Outcome, Rollout
from luthier.program.candidate import Candidate
from luthier.program.trace import Call
from luthier.types import Role

if TYPE_CHECKING:
    from luthier.evaluation.data import Row
    from luthier.evaluation.evaluator import Evaluator
    from luthier.program.lms import LMs


@dataclass(slots=True)
class Harvest:
    """What the teacher's rollouts have given so far."""

    strata: Mapping[str, str]
    """Each row's class."""
    first: dict[str, Rollout] = field(default_factory=dict)
    """By example: the first rollout that infrastructure let through."""
    passed: dict[str, Rollout] = field(default_factory=dict)
    """By example: the first rollout that passed."""
    attempts: Counter[str] = field(default_factory=Counter)
    """Rollouts, by class."""
    unscored: int = 0
    """Rollouts that infrastructure took, twice."""
    calls: list[Call] = field(default_factory=list)
    """All that the teacher's predictors were asked and answered."""

    def passes(self) -> dict[str, int]:
        """Return accepted rollouts by class; a class without one is there with 0."""
        counts = dict.fromkeys(sorted(set(self.strata.values())), 0)
        for example in self.passed:
            counts[self.strata[example]] += 1
        return counts

    def warnings(self) -> tuple[str, ...]:
        """Return what the user should know: classes without a pass, rollouts lost."""
        said = []
        for name, count in self.passes().items():
            tried = self.attempts[name]
            if count == 0 and tried:
                whose = f" with label {name!r}" if name else ""
                said.append(f"no passing trace{whose} in {tried} rollouts of the teacher")
        if self.unscored:
            said.append(f"{self.unscored} rollouts of the teacher went unscored: infrastructure failed")
        return tuple(said)


@dataclass(frozen=True, slots=True)
class Teaching:
    """How rollouts of the teacher are made and judged."""

    evaluator: Evaluator
    teacher: LMs
    candidate_for: Callable[[str], Candidate]
    """The teacher's prompts for an example: none of its own demos may be of that very example."""
    threshold: float | None

    async def roll_out(
        self, rows: Sequence[Row], harvest: Harvest, *, repeat: int = 0, temperature: float | None = None
    ) -> list[Rollout]:
        """Roll the teacher out on some rows, once each; add what came of it to the harvest.

        Raises:
            StudyPaused: infrastructure took every single rollout.
        """
        jobs = [Job(self.candidate_for(row.id), row.id, repeat, temperature) for row in rows]
        rollouts = await self._scored_if_possible(jobs)
        for rollout in rollouts:
            example = rollout.job.example
            if rollout.outcome is Outcome.UNSCORED:
                harvest.unscored += 1
                continue
            harvest.attempts[harvest.strata[example]] += 1
            harvest.first.setdefault(example, rollout)
            harvest.calls += rollout.trace.calls
            if self.passes(rollout):
                harvest.passed.setdefault(example, rollout)
        if rollouts and all(rollout.outcome is Outcome.UNSCORED for rollout in rollouts):
            raise StudyPaused(f"bootstrapping: none of {len(rollouts)} rollouts could be scored: {rollouts[0].error}")
        return rollouts

    def passes(self, rollout: Rollout) -> bool:
        """Whether a rollout is good enough to be shown (lambda, MIPRO §3.1); with no threshold only a full score is."""
        if rollout.outcome is not Outcome.SCORED:
            return False
        return rollout.value >= (1.0 if self.threshold is None else self.threshold)

    async def _scored_if_possible(self, jobs: Sequence[Job]) -> list[Rollout]:
        rollouts = await self.evaluator.rollouts(jobs, lm=self.teacher, role=Role.TEACHER)
        lost = [n for n, rollout in enumerate(rollouts) if rollout.outcome is Outcome.UNSCORED]
        if lost:
            again = await self.evaluator.rollouts([jobs[n] for n in lost], lm=self.teacher, role=Role.TEACHER)
            for n, rollout in zip(lost, again, strict=True):
                rollouts[n] = rollout
        return rollouts


def class_by_class(rows: Iterable[Row], seed: int) -> list[Row]:
    """Return rows shuffled, the classes taking turns, so that every beginning of the list is balanced."""
    classes: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: uniform_order(seed, row.id)):
        classes.setdefault(row.stratum, []).append(row)
    turns = [(nth, uniform_order(seed, name), row) for name, own in classes.items() for nth, row in enumerate(own)]
    return [row for _, _, row in sorted(turns, key=lambda turn: turn[:2])]


def without_example(candidate: Candidate, example: str) -> Candidate:
    """Return the candidate without demos taken from that example: the teacher must not see its answer."""
    for name, prompt in candidate.prompts.items():
        kept = [d for d in prompt.demos if d.provenance is None or d.provenance.example != example]
        if len(kept) < len(prompt.demos):
            candidate = candidate.with_demos(name, kept)
    return candidate
