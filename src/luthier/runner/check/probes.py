"""What a check measures: the same prompts asked again, a stronger LM, a few demonstrations, one new instruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.errors import BudgetExhausted, StudyPaused
from luthier.evaluation.evaluator import Evaluator
from luthier.evaluation.matching import plain
from luthier.evaluation.rollout import Job, Rollout
from luthier.evaluation.splits import blocks
from luthier.evaluation.stats import paired, wilson
from luthier.lm.lm import LM
from luthier.program.candidate import Candidate
from luthier.program.lms import LMs
from luthier.propose.bootstrap import BootstrapSettings, bootstrap
from luthier.propose.grounding import ground
from luthier.propose.instructions import propose_instructions
from luthier.propose.proposer import Proposer
from luthier.runner.check.look import DEMOS, GROUNDING, Look
from luthier.runner.config import Setup
from luthier.types import Role

_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Noise:
    """The same prompts asked twice about the same examples, whatever the temperature."""

    n: int
    flips: float
    """Share of examples whose score is another one, with its interval ``low`` to ``high``."""
    low: float
    high: float
    same_answers: float
    """Share of examples with the very same answer."""
    sd: float
    """Test-retest standard deviation of one example's score."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What a change brings on the probed examples, paired with the original, with its 95 % interval."""

    mean: float
    difference: float
    low: float
    high: float
    n: int


@dataclass(slots=True)
class Probes:
    """One check's rollouts."""

    setup: Setup
    evaluator: Evaluator
    look: Look
    missing: dict[str, str]
    """By part: why it was not measured."""

    def __post_init__(self) -> None:
        setup = self.setup
        rows = {row.id: row for row in setup.scoring}
        self.baseline_ids = blocks(setup.scoring, self.look.baseline, setup.config.seed)[0]
        self.probe_ids = blocks([rows[id] for id in self.baseline_ids], self.look.probe, setup.config.seed)[0]

    baseline_ids: tuple[str, ...] = ()
    probe_ids: tuple[str, ...] = ()

    async def baseline(self) -> list[Rollout]:
        """Run the original; a study asks the same, so it finds the answers in the store.

        Raises:
            StudyPaused: infrastructure took every run.
            BudgetExhausted: the cap is too small even for this.
        """
        rollouts = await self._runs(self.setup.program.original, self.baseline_ids)
        if not rollouts:
            raise StudyPaused("none of the original's runs got an answer; check again when the LM answers")
        return rollouts

    async def noise(self, before: Mapping[str, Rollout]) -> Noise | None:
        """Ask the same again, also where a temperature of 0 would let the store answer."""
        jobs = [Job(self.setup.program.original, id, repeat=1, bypass_cache=True) for id in self.probe_ids]
        again = await self._measured("noise", jobs)
        pairs = [(before[rollout.job.example], rollout) for rollout in again if rollout.job.example in before]
        if not pairs:
            return None
        deltas = [after.value - first.value for first, after in pairs]
        flips = sum(abs(delta) > _SAME for delta in deltas)
        low, high = wilson(flips, len(pairs))
        same = sum(plain(first.prediction) == plain(after.prediction) for first, after in pairs)
        variance = sum(delta * delta for delta in deltas) / len(pairs) / 2
        return Noise(len(pairs), flips / len(pairs), low, high, same / len(pairs), variance**0.5)

    async def ceiling(self, strong: LM, before: Mapping[str, float]) -> Gain | None:
        """Let a stronger LM answer, with the original prompts."""
        jobs = [Job(self.setup.program.original, id) for id in self.probe_ids]
        return _gain(before, await self._measured("strong", jobs, lms=LMs(strong, alone=True)))

    async def demos(self, before: Mapping[str, float]) -> tuple[Gain | None, dict[str, float]]:
        """Show a few labelled or completed demonstrations, and no search."""
        setup = self.setup
        try:
            found = await bootstrap(
                self.evaluator,
                setup.training,
                BootstrapSettings(
                    sizes=(0, min(DEMOS, self.look.train)), labeled=DEMOS, rounds=1, max_rollouts=self.look.train
                ),
                teacher=setup.teacher,
                candidate=setup.program.original,
                seed=setup.config.seed,
            )
        except BudgetExhausted:
            self.missing["demos"] = "the cap was reached"
            return None, {}
        candidate = setup.program.original
        for name, demos in found.sets[-1].demos.items():
            candidate = candidate.with_demos(name, demos) if demos else candidate
        return await self._candidate("demos", candidate, before, "no demonstrations could be made of the data")

    async def instructions(self, before: Mapping[str, float]) -> tuple[Gain | None, dict[str, float]]:
        """Give every predictor one proposed instruction."""
        setup, seed = self.setup, self.setup.config.seed
        proposer = Proposer(self.evaluator.gateway, setup.proposer)
        grounding = GROUNDING.fitted(proposer=setup.proposer.profile, task=setup.task.profile)
        try:
            facts = await ground(proposer, setup.program, setup.training, grounding, seed, traces=())
            pool = await propose_instructions(
                proposer,
                setup.program,
                facts,
                (),
                setup.training,
                wanted={component.name: (1,) for component in setup.program.tuned},
                settings=grounding,
                seed=seed,
            )
        except BudgetExhausted:
            self.missing["instructions"] = "the cap was reached"
            return None, {}
        candidate = setup.program.original
        for name, proposals in pool.predictors.items():
            if len(proposals) > 1:
                candidate = candidate.with_instruction(name, proposals[-1].text)
        return await self._candidate("instructions", candidate, before, "every proposal was rejected")

    async def _candidate(
        self, part: str, candidate: Candidate, before: Mapping[str, float], why_not: str
    ) -> tuple[Gain | None, dict[str, float]]:
        if candidate == self.setup.program.original:
            self.missing[part] = why_not
            return None, {}
        rollouts = await self._measured(part, [Job(candidate, id) for id in self.probe_ids])
        return _gain(before, rollouts), scores_of(rollouts)

    async def _measured(self, part: str, jobs: Sequence[Job], *, lms: LMs | None = None) -> list[Rollout]:
        """Make a part's rollouts; where the cap is reached, or no answer comes, that part is not measured."""
        try:
            rollouts = await self.evaluator.rollouts(jobs, lm=lms, role=Role.TASK if lms is None else Role.TEACHER)
        except BudgetExhausted:
            self.missing[part] = "the cap was reached"
            return []
        scored = [rollout for rollout in rollouts if rollout.score is not None]
        if not scored:
            self.missing[part] = "no run got an answer"
        return scored

    async def _runs(self, candidate: Candidate, ids: Sequence[str]) -> list[Rollout]:
        rollouts = await self.evaluator.rollouts([Job(candidate, id) for id in ids])
        return [rollout for rollout in rollouts if rollout.score is not None]


def scores_of(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return values by example."""
    return {rollout.job.example: rollout.value for rollout in rollouts}


def _gain(before: Mapping[str, float], rollouts: Sequence[Rollout]) -> Gain | None:
    after = scores_of(rollouts)
    found = paired(before, after)
    if not found.n:
        return None
    mean = sum(after[id] for id in after if id in before) / found.n
    return Gain(mean, found.difference, found.low, found.high, found.n)


def json_of(value: Any) -> Any:
    """Return a measurement as JSON, null where there is none."""
    return None if value is None else {name: getattr(value, name) for name in value.__dataclass_fields__}
