"""Reflect: lessons from failures, each verified by replay, and demonstrations that teach; then a race of few."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from luthier.errors import ConfigError
from luthier.evaluation.evaluator import scored_rollouts
from luthier.evaluation.rollout import Job
from luthier.evaluation.splits import blocks
from luthier.lm.profile import Profile
from luthier.program.candidate import Candidate, DemoSource
from luthier.propose.bootstrap import BootstrapSettings
from luthier.propose.demo_sets import DemoSet
from luthier.propose.fields import private_names, signatures_of, subjects_of
from luthier.propose.instructions import Proposal
from luthier.propose.lessons import Lesson, readings, state_lessons, with_lessons
from luthier.propose.replays import Replays
from luthier.propose.teaching import class_by_class, without_example
from luthier.propose.training_text import TrainingText
from luthier.runner.candidates import Choices
from luthier.runner.facts import Facts, SearchPlan
from luthier.runner.sizes import LABELED_DEMOS, check_counts, demo_sizes
from luthier.runner.steps import Steps
from luthier.search.arrivals import Listed
from luthier.search.halving import SuccessiveHalving, plan_rungs
from luthier.search.schedule import FullSchedule
from luthier.search.space import Point
from luthier.search.trial import Strategy, Trial
from luthier.study.events import LessonsEvent

REQUESTS = 5
"""Requests for lessons of one predictor in one round at most."""
GROWING_ROUNDS = 12
"""Rounds of bootstrapping at most where no predictor has labels."""
RACE = 36
"""Program runs that a further round must leave to the race."""


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Settings with every number decided; runs are program runs."""

    collected: int
    """Training rows that the original is run on, for lessons and demonstrations."""
    rounds: int
    """Rounds of lessons."""
    again: int
    """Training rows that each further round runs the best candidate on."""
    checks: int
    """What the replays of the first round may cost."""
    checks_again: int
    """What those of each further round may cost."""


@dataclass(frozen=True, slots=True)
class Reflect:
    """Reflect: lessons from failures, each verified by replay, and demonstrations that teach; then a race of few.

    The steps, in order::

        runs      ← original on training rows
        demo sets ← few and many, from failures first (corrective), labels, passes
        where no predictor's right answer is known: bootstrap in rounds, each showing what passed before
        repeat, each time with what was learned so far:
            mistakes ← by predictor: its own metric, feedback that names it, else the run
            lessons  ← proposer(mistakes in batches, a few right answers)        rules, not rewritings
            verify   ← replay each lesson alone on mistakes it speaks of, against a rule that says nothing
        candidates ← verified lessons; open ones too; demonstrations alone; both
        race them on common blocks of validation rows; credit each part; score the best in full
        return the best of those scored in full, the original among them

    Args:
        rounds: rounds of lessons; None: as many as the budget has room for, three at most.
        demos: K, the most demonstrations of a prompt.
        closing: candidates that are scored on all validation rows at the end.
        frozen: variables left as they are, e.g. ``"answer.demos"``.
    """

    rounds: int | None = None
    demos: int = LABELED_DEMOS
    closing: int | None = None
    frozen: tuple[str, ...] = ()

    label: ClassVar[str] = "reflect"
    uses_predictor_metrics: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_counts(self, "rounds", "demos", "closing")
        if isinstance(self.frozen, str):
            raise ConfigError(f"frozen={self.frozen!r}: must be a tuple of names, ({self.frozen!r},)")

    @property
    def name(self) -> str:
        """The name it is asked for by."""
        return self.label

    @property
    def scores_on_train(self) -> bool:
        """Candidates are compared on validation rows."""
        return False

    def shape(self, facts: Facts) -> _Numbers:
        """Decide every number."""
        runs = facts.evaluations
        return _Numbers(
            collected=max(1, min(facts.n_train, max(20, round(0.3 * runs)))),
            rounds=self.rounds or (1 if runs < 200 else 2 if runs < 400 else 3),
            again=min(facts.n_train, max(10, round(0.08 * runs))),
            checks=max(10, round(0.3 * runs)),
            checks_again=max(10, round(0.08 * runs)),
        )

    def plan(self, facts: Facts) -> SearchPlan:
        """Return what the search will do at most."""
        shape, closing = self.shape(facts), self._closing(facts)
        collected = shape.collected if facts.labelled else self._growing(facts)
        race = max(0, facts.evaluations - collected - closing * facts.n_val)
        rungs = plan_rungs(race, facts.n_val, closing)
        return SearchPlan(
            trials=sum(rung.points for rung in rungs) + closing,
            bootstrap_rollouts=collected,
            proposer_calls=shape.rounds * REQUESTS * facts.n_predictors,
            search_rollouts=race,
            closing_rollouts=closing * facts.n_val,
            closing=closing,
            largest_demo_set=min(self.demos, facts.largest_demo_set),
        )

    async def run(self, steps: Steps) -> Sequence[Trial]:
        """Learn, then race."""
        facts, shape = steps.facts, self.shape(steps.facts)
        collected = await steps.bootstrap(self.bootstrap_settings(facts))
        teaching = max(collected.sets, key=lambda made: sum(map(len, made.demos.values())), default=None)
        lessons: list[Lesson] = []
        closing = self._closing(facts)
        left = float(facts.evaluations - sum(collected.attempts.values()) - closing * facts.n_val)
        for number in range(1, shape.rounds + 1):
            needed = shape.again + shape.checks_again if number > 1 else 0 if facts.labelled else shape.checks
            if needed and left < needed + RACE:
                break
            base = steps.original if number == 1 else self._with(steps.original, _held(lessons), teaching)
            learn = functools.partial(self._learn, steps, base, number, tuple(lessons))
            event = await steps.learned(number, learn)
            new = [Lesson.from_json(one) for one in event.lessons]
            lessons += new
            left -= event.runs
            if not any(lesson.verdict == "held" for lesson in new):
                break
        instructions = {name: self._instructions(name, text, lessons) for name, text in steps.instructions.items()}
        choices = await steps.space(instructions=instructions, demo_sets=collected.sets, frozen=self.frozen)
        points = self._points(steps, choices, lessons, collected.sets)
        strategy = self._race(steps, points, max(0, int(left)), closing)
        return await steps.loop(choices, strategy, batch=1 if facts.sequential else max(1, len(points)))

    def _race(self, steps: Steps, points: tuple[Point, ...], budget: int, closing: int) -> Strategy:
        """Return the race: halving on common blocks; where it has no room, the most promising points in full."""
        if not plan_rungs(budget, len(steps.scoring), closing):
            return FullSchedule(Listed(points), examples=steps.scoring_ids, trials=closing)
        return SuccessiveHalving(
            Listed(points),
            examples=steps.scoring_ids,
            blocks=blocks(steps.scoring, max(1, len(steps.scoring) // 4), steps.seed),
            budget=budget,
            closing=closing,
        )

    def bootstrap_settings(self, facts: Facts) -> BootstrapSettings:
        """Return how demo sets are collected: failures first in most, as passes show what the LM can do already."""
        most, shape = min(self.demos, facts.largest_demo_set), self.shape(facts)
        if most < 1:
            return BootstrapSettings(sizes=(0,), rounds=1, max_rollouts=shape.collected)
        if facts.task is Profile.SMALL:
            return BootstrapSettings(sizes=demo_sizes(5, most), rounds=1, max_rollouts=shape.collected)
        half = max(1, most // 2)
        if not facts.labelled:
            return BootstrapSettings(
                sizes=(0, most, most, half, half),
                first=(
                    DemoSource.RETRIED,
                    DemoSource.RETRIED,
                    DemoSource.BOOTSTRAPPED,
                    DemoSource.RETRIED,
                    DemoSource.BOOTSTRAPPED,
                ),
                rounds=GROWING_ROUNDS,
                growing=True,
                max_rollouts=self._growing(facts),
            )
        return BootstrapSettings(
            sizes=(0, most, most, half, half),
            first=(
                DemoSource.CORRECTIVE,
                DemoSource.CORRECTIVE,
                DemoSource.LABELED,
                DemoSource.CORRECTIVE,
                DemoSource.BOOTSTRAPPED,
            ),
            labeled=most,
            rounds=1,
            max_rollouts=shape.collected,
        )

    def _growing(self, facts: Facts) -> int:
        """Return how many rollouts growing rounds may make: all that race and full evaluations leave."""
        return max(self.shape(facts).collected, facts.evaluations - self._closing(facts) * facts.n_val - RACE)

    def _closing(self, facts: Facts) -> int:
        return self.closing or (1 if facts.evaluations < 6 * facts.n_val else 2)

    async def _learn(self, steps: Steps, base: Candidate, number: int, known: Sequence[Lesson]) -> LessonsEvent:
        """Return one round's lessons, checked, and what running and checking cost in program runs."""
        shape = self.shape(steps.facts)
        rows = class_by_class(steps.training, steps.seed)
        picked = rows[: shape.collected] if number == 1 else _rotated(rows, shape, number)
        hidden = private_names(steps.program)
        rollouts = await scored_rollouts(
            steps.evaluator, [Job(without_example(base, row.id), row.id) for row in picked]
        )
        by_id = {row.id: row for row in steps.training}
        replays = Replays(
            steps.evaluator,
            base,
            steps.predictor_metrics,
            rollouts,
            most=shape.checks if number == 1 else shape.checks_again,
            seed=steps.seed,
        )
        subjects, signatures = subjects_of(steps.program), signatures_of(steps.program)
        training = TrainingText.of(steps.training, hidden=hidden)
        found, stated = {}, list[Lesson]()
        for name, signature in signatures.items():
            if f"{name}.instruction" in self.frozen or name not in subjects:
                continue
            judged = await replays.judged(signature)
            found[name] = readings(rollouts, by_id, signature, hidden, judged)
            stated += await state_lessons(
                steps.proposer,
                subjects[name],
                steps.original.prompts[name].instruction,
                found[name],
                by_id,
                before=[lesson for lesson in known if lesson.predictor == name],
                training=training,
                most_calls=REQUESTS,
                first_sample=number * REQUESTS,
            )
        lessons = await replays.verify(stated, found)
        runs = replays.runs + (len(picked) if number > 1 else 0)
        return LessonsEvent(lessons=[lesson.to_json() for lesson in lessons], runs=round(runs, 2), usage={})

    def _instructions(self, name: str, original: str, lessons: Sequence[Lesson]) -> list[Proposal]:
        """Return the instructions of one predictor: with the lessons that hold, and with those that are open, too."""
        own = [lesson for lesson in lessons if lesson.predictor == name]
        texts = (original, with_lessons(original, _held(own)), with_lessons(original, _not_dropped(own)))
        return [Proposal(name, text) for text in dict.fromkeys(texts)]

    def _with(self, original: Candidate, lessons: Sequence[Lesson], demos: DemoSet | None) -> Candidate:
        candidate = original
        for name, prompt in original.prompts.items():
            own = [lesson for lesson in lessons if lesson.predictor == name]
            candidate = candidate.with_instruction(name, with_lessons(prompt.instruction, own)) if own else candidate
            if demos is not None and name in demos.demos and f"{name}.demos" not in self.frozen:
                candidate = candidate.with_demos(name, demos.demos[name])
        return candidate

    def _points(
        self, steps: Steps, choices: Choices, lessons: Sequence[Lesson], sets: Sequence[DemoSet]
    ) -> tuple[Point, ...]:
        """Return the candidates of the race, the most promising by construction first."""
        held, open_too = _held(lessons), _not_dropped(lessons)
        levels: list[DemoSet | None] = [*sets] or [None]
        empty, filled = levels[0], levels[1:] or levels[:1]
        wanted = [
            (held, filled[0]),
            (open_too, filled[0]),
            *((held, one) for one in filled[1:]),
            (held, empty),
            *(([], one) for one in filled),
            (open_too, empty),
        ]
        points = [choices.point_of(self._with(steps.original, some, demos)) for some, demos in wanted]
        return tuple(point for point in dict.fromkeys(points) if point != choices.space.original)


def _held(lessons: Sequence[Lesson]) -> list[Lesson]:
    return [lesson for lesson in lessons if lesson.verdict == "held"]


def _not_dropped(lessons: Sequence[Lesson]) -> list[Lesson]:
    return [lesson for lesson in lessons if lesson.verdict != "dropped"]


def _rotated(rows: Sequence[Any], shape: _Numbers, number: int) -> list[Any]:
    """Return the rows of a further round: those not run yet first."""
    start = shape.collected + (number - 2) * shape.again
    return [rows[(start + n) % len(rows)] for n in range(shape.again)]
