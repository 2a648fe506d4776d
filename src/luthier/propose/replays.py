"""Replays: what one rule brings, measured by running mistakes again with that rule alone.

A replay is the same job with one prompt changed: what lies before that predictor comes from the store, so a check
costs the calls from it on; and one call where the predictor has a metric of its own and can be called alone.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from luthier.evaluation.evaluator import Evaluator, scored_rollouts
from luthier.evaluation.metrics import Metric
from luthier.evaluation.rollout import Job, Rollout
from luthier.program.program import find_program
from luthier.propose.lessons import Lesson, Reading, readings, relevance, term_weights, with_lessons
from luthier.propose.teaching import without_example

if TYPE_CHECKING:
    from luthier.program.candidate import Candidate
    from luthier.program.signature import Signature

STEPS = (3, 3, 4)
"""Mistakes that a rule is tried on, step by step, while it is open whether it helps."""
CONTROLS = 16
"""Mistakes that are run again with a rule that says nothing, and half as many right answers."""
GUARDED = 1
"""Right answers on which a rule is tried, as it might break them."""
HOLDS, LIKELY, DROPS = 0.9, 0.75, 0.1
"""How probable it must be that a rule brings more than running again: to be tried no more, written down, kept open."""
SAYS_NOTHING = "Work with care."
CLEARLY = 0.25
"""What a graded score must change by to count."""
_DRAWS = 2000
_PLAIN = (str, int, float, bool, type(None))


@dataclass(slots=True)
class Replays:
    """How replays are run and judged.

    Attributes:
        evaluator: runs the program.
        candidate: the prompts that rules are added to.
        metrics: by predictor, its own metric.
        recorded: the runs that lessons come from.
        most: what replays may cost, in program runs.
        seed: of the draws.
        runs: what replays cost so far, in program runs: calls by those of one run.
    """

    evaluator: Evaluator
    candidate: Candidate
    metrics: Mapping[str, Metric]
    recorded: Sequence[Rollout]
    most: int
    seed: int
    runs: float = 0.0

    async def judged(self, signature: Signature) -> dict[str, float] | None:
        """Return what a predictor's own metric gives each recorded answer; None where it has none.

        Its answers come from the store: no call is paid twice.
        """
        name = signature.name
        if name not in self.metrics:
            return None
        found = [
            one
            for one in readings(self.recorded, self.evaluator.rows, signature, frozenset())
            if self._can_be_called_alone(name, one)
        ]
        if not found:
            return None
        prompts = {one.example: without_example(self.candidate, one.example) for one in found}
        jobs = [Job(_only(prompts[one.example], name), one.example) for one in found]
        rollouts = await scored_rollouts(self._stage(name, found), jobs)
        return {rollout.job.example: rollout.value for rollout in rollouts}

    async def verify(self, stated: Sequence[Lesson], found: Mapping[str, Sequence[Reading]]) -> list[Lesson]:
        """Return the lessons with what replays showed of each; those that bring nothing are dropped.

        Selected mistakes get better by themselves when they are run again. So each predictor's are run with a rule that
        says nothing, too, and a lesson counts by what it mends beyond that (paired by example in expectation).

        Args:
            stated: lessons.
            found: by predictor, what it did in the runs that the lessons came from.
        """
        tracks = [_Track(lesson, self._mistakes(lesson, found), self._guarded(lesson, found)) for lesson in stated]
        tracks = [track for track in tracks if track.lesson.verdict == "stated"]
        if not tracks:
            return list(stated)
        control = await self._control(found, {track.lesson.predictor for track in tracks})
        for step, size in enumerate(STEPS):
            asked = [
                [*track.mistakes[sum(STEPS[:step]) :][:size], *(track.guarded if step == 0 else ())]
                for track in tracks
                if track.is_open(control)
            ]
            tried = [track for track in tracks if track.is_open(control)]
            turns = [
                (t, some[n])
                for n in range(size + GUARDED)
                for t, some in zip(tried, asked, strict=True)
                if n < len(some)
            ]
            work = turns[: max(0, int(self.most - self.runs))]
            outcomes = await self._outcomes([(track.lesson, one) for track, one in work])
            for (track, one), value in zip(work, outcomes, strict=True):
                track.note(one, value)
        judged = {id(track.lesson): track.judged(control) for track in tracks}
        return [judged.get(id(lesson), lesson) for lesson in stated]

    async def _control(self, found: Mapping[str, Sequence[Reading]], names: Collection[str]) -> Control:
        """Run mistakes and right answers again, with a rule that says nothing: some change by themselves."""
        work, most = [], min(CONTROLS, int(self.most / 4)) // len(names)
        for name in sorted(names):
            wrong, right = ([one for one in found[name] if one.passed is passed] for passed in (False, True))
            picked = [*wrong[: max(1, most)], *right[: most // 2]]
            work += [(Lesson(name, SAYS_NOTHING, ()), one) for one in picked]
        outcomes = await self._outcomes(work)
        mended = [value for (_, one), value in zip(work, outcomes, strict=True) if not one.passed]
        kept = [value for (_, one), value in zip(work, outcomes, strict=True) if one.passed]
        return Control(sum(mended), len(mended), len(kept) - sum(kept), len(kept), self.seed)

    def _mistakes(self, lesson: Lesson, found: Mapping[str, Sequence[Reading]]) -> list[Reading]:
        """Return the mistakes to try a lesson on: those it came from, then those it speaks of most."""
        own = [one for one in found[lesson.predictor] if not one.passed]
        weights = term_weights(found[lesson.predictor])
        place = {example: n for n, example in enumerate(lesson.examples)}
        speaks = {one.example: relevance(lesson.rule, one, weights) for one in own}
        most = max((speaks[one] for one in place if one in speaks), default=0.0)
        others = [one for one in own if one.example not in place and speaks[one.example] > 0.5 * most > 0.0]
        failing = [
            {one.example for one in other if not one.passed}
            for name, other in found.items()
            if name != lesson.predictor
        ]

        def place_of(one: Reading) -> tuple[int, float]:
            # Where another predictor failed, too, the run stays wrong whatever this one says.
            return sum(one.example in elsewhere for elsewhere in failing), -speaks[one.example]

        named = sorted((one for one in own if one.example in place), key=place_of)
        return [*named, *sorted(others, key=place_of)][: sum(STEPS)]

    def _guarded(self, lesson: Lesson, found: Mapping[str, Sequence[Reading]]) -> list[Reading]:
        weights = term_weights(found[lesson.predictor])
        right = [one for one in found[lesson.predictor] if one.passed]
        return sorted(right, key=lambda one: -relevance(lesson.rule, one, weights))[:GUARDED]

    async def _outcomes(self, work: Sequence[tuple[Lesson, Reading]]) -> list[bool]:
        """Return whether each example comes out right with each lesson added."""
        values: dict[int, bool] = {}
        whole: list[tuple[int, Job]] = []
        alone: dict[str, list[tuple[int, Job, Reading]]] = {}
        for n, (lesson, one) in enumerate(work):
            name = lesson.predictor
            instruction = with_lessons(self.candidate.prompts[name].instruction, [lesson])
            base = without_example(self.candidate, one.example)
            job = Job(base.with_instruction(name, instruction), one.example)
            if name in self.metrics and self._can_be_called_alone(name, one):
                alone.setdefault(name, []).append((n, job, one))
            else:
                whole.append((n, job))
        rollouts = await scored_rollouts(self.evaluator, [job for _, job in whole])
        for (n, _), rollout in zip(whole, rollouts, strict=True):
            values[n] = _mended(rollout, work[n][1], work[n][0].predictor)
            self.runs += self._calls_from(work[n][0].predictor, rollout) / self._calls_per_run
        for name, jobs in alone.items():
            stage = self._stage(name, [one for _, _, one in jobs])
            only = [replace(job, candidate=_only(job.candidate, name)) for _, job, _ in jobs]
            for (n, _, one), rollout in zip(jobs, await scored_rollouts(stage, only), strict=True):
                values[n] = _mended(rollout, one, name)
                self.runs += 1 / self._calls_per_run
        return [values[n] for n in range(len(work))]

    @property
    def _calls_per_run(self) -> float:
        return max(1.0, sum(len(one.trace.calls) for one in self.recorded) / max(1, len(self.recorded)))

    def _calls_from(self, name: str, rollout: Rollout) -> int:
        """Return how many calls a replay makes again: those from the first of the changed predictor on."""
        called = [call.predictor for call in rollout.trace.calls]
        return len(called) - called.index(name) if name in called else len(called)

    def _can_be_called_alone(self, name: str, one: Reading) -> bool:
        """Whether a predictor can be called by itself on recorded inputs.

        It is called by luthier, without tools, once in the run, and its inputs are plain values, all of them known.
        """
        predictor = self.evaluator.program.predictor(name)
        if predictor.makes_own_call or predictor.tools or len(one.inputs) != 1:
            return False
        known = one.inputs[0]
        return all(isinstance(known.get(field.name, ...), _PLAIN) for field in predictor.signature.inputs)

    def _stage(self, name: str, found: Sequence[Reading]) -> Evaluator:
        """Return an evaluator of one predictor alone, on the inputs that it was given in recorded runs."""
        of = self.evaluator
        rows = {one.example: replace(of.rows[one.example], inputs=dict(one.inputs[0])) for one in found}
        stage = Evaluator(
            find_program(of.program.predictor(name)),
            self.metrics[name],
            rows,
            of.lms,
            of.gateway,
            concurrency=of.concurrency,
        )
        stage.executor, stage.proven, stage.closed = of.executor, True, True
        return stage


@dataclass(slots=True)
class _Track:
    """A lesson on its way through the steps."""

    lesson: Lesson
    mistakes: list[Reading]
    guarded: list[Reading]
    fixed: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def note(self, one: Reading, right: bool) -> None:
        if one.passed:
            self.broken += [] if right else [one.example]
            return
        self.tried.append(one.example)
        self.fixed += [one.example] if right else []

    def is_open(self, control: Control) -> bool:
        return not self.tried or DROPS <= self.chance(control) < HOLDS

    def chance(self, control: Control) -> float:
        """Return the probability that the lesson mends more than running again does.

        What it breaks beyond what breaks by itself undoes a fix.
        """
        undone = max(0, round(len(self.broken) - control.break_rate * len(self.guarded)))
        return control.beaten_by(max(0, len(self.fixed) - undone), len(self.tried))

    def judged(self, control: Control) -> Lesson:
        chance = self.chance(control)
        held = bool(self.tried) and chance >= LIKELY
        # In a loop one rule seldom mends all calls of a run: that it fixed no run says little.
        once = all(len(one.inputs) == 1 for one in self.mistakes)
        dropped = not held and (chance < DROPS or (bool(self.tried) and once and not self.fixed))
        return replace(
            self.lesson,
            verdict="held" if held else "dropped" if dropped else "open",
            why="it brought nothing where it was tried" if dropped else "",
            fixed=tuple(self.fixed),
            tried=len(self.tried),
            broken=tuple(self.broken),
            chance=round(chance, 3),
        )


@dataclass(frozen=True, slots=True)
class Control:
    """What happened where a rule that says nothing was added: mistakes that were mended, right answers that broke."""

    mended: int
    wrong: int
    broke: int
    right: int
    seed: int

    @property
    def break_rate(self) -> float:
        """How often a right answer breaks by itself; never 0, as few were tried."""
        return (self.broke + 0.5) / (self.right + 1)

    def beaten_by(self, fixed: int, tried: int) -> float:
        """Return the probability that a lesson mends more than this does (two shares, uniform priors, by draws)."""
        return better_than(fixed, tried, self.mended, self.wrong, self.seed)


def better_than(fixed: int, tried: int, mended: int, of: int, seed: int) -> float:
    """Return P(p > q) for two shares of successes with uniform priors, by draws.

    >>> better_than(3, 3, 1, 10, 0) > 0.9
    True
    """
    rng = random.Random(f"{seed}/{fixed}/{tried}/{mended}/{of}")
    wins = sum(
        rng.betavariate(1 + fixed, 1 + tried - fixed) > rng.betavariate(1 + mended, 1 + of - mended)
        for _ in range(_DRAWS)
    )
    return wins / _DRAWS


def _mended(rollout: Rollout, one: Reading, name: str) -> bool:
    """Whether a predictor's part is right where it was wrong, or still right; for graded metrics, clearly better."""
    if rollout.value >= 1.0:
        return True
    feedback = rollout.score.feedback if rollout.score is not None else ""
    if isinstance(feedback, Mapping) and feedback:
        return not feedback.get(name)
    return rollout.value >= one.value + (-CLEARLY if one.passed else CLEARLY)


def _only(candidate: Candidate, name: str) -> Candidate:
    return type(candidate)(
        {name: candidate.prompts[name]}, {k: v for k, v in candidate.fingerprints.items() if k == name}
    )
