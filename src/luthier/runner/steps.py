"""The steps that optimizers are made of. Each is journaled: read on resume, never recomputed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, TypeVar

from luthier.canonical import content_hash
from luthier.errors import ProgramFailed
from luthier.evaluation.data import Row
from luthier.evaluation.evaluator import Evaluator, scored_rollouts
from luthier.evaluation.metrics import Metric
from luthier.evaluation.rollout import Job, Outcome, Rollout, outcome_json
from luthier.lm.request import Usage, total_usage
from luthier.program.candidate import Candidate
from luthier.program.lms import LMs
from luthier.program.program import Program
from luthier.propose.bootstrap import Bootstrapped, BootstrapSettings, DemoSet, bootstrap
from luthier.propose.grounding import Grounding, GroundingSettings, ground
from luthier.propose.instructions import InstructionPool, Proposal, propose_instructions
from luthier.propose.proposer import Proposer
from luthier.runner.candidates import Choices, choices
from luthier.runner.facts import Facts
from luthier.runner.full_evaluations import FullEvaluations
from luthier.runner.reserve import Reserve
from luthier.search.space import Point, Space
from luthier.search.trial import (
    Ask,
    Observation,
    Purpose,
    Strategy,
    Trial,
    in_order,
    observation_of,
)
from luthier.study.events import (
    ArrivalEvent,
    BaselineEvent,
    BootstrapEvent,
    GroundingEvent,
    LessonsEvent,
    LoopEndEvent,
    ProposalsEvent,
    SpaceEvent,
    event_of,
    every,
    to_json,
)
from luthier.study.study import Study
from luthier.watching import watched

Source = Callable[[Choices, Sequence[Trial], int], Awaitable[ArrivalEvent | None]]
"""From the choices, the trials in order, and the arrival's number (from 1) to an arrival (``Choices.arriving``), or
None while nothing is to be added. It must depend on its arguments alone."""

_Metered = TypeVar("_Metered", BootstrapEvent, GroundingEvent, ProposalsEvent)

ALIKE_THAT_STOP = 3
"""So many candidates that fail alike, and have nothing new in common, show that the program is broken."""
MET = "met"
"""What the journal calls the components that an outcome's rollout was the first to meet."""


@dataclass(slots=True)
class Steps:
    """Everything one optimizer run works with, and the steps it works by."""

    study: Study
    program: Program
    evaluator: Evaluator
    training: Sequence[Row]
    """Where demos and summaries come from."""
    scoring: Sequence[Row]
    """What candidates are compared on: validation rows, or the training rows in paper presets."""
    teacher: LMs
    proposer: Proposer
    facts: Facts
    reserve: Reserve
    seed: int
    original: Candidate
    predictor_metrics: Mapping[str, Metric] = field(default_factory=dict)
    """By predictor: a metric of its own answer."""
    starts: Sequence[Candidate] = ()
    """Other prompts to be tried before any new ones."""
    broken_by: dict[str, set[Point]] = field(default_factory=dict)
    """By hash of a traceback: the points that failed with it."""

    @property
    def scoring_ids(self) -> tuple[str, ...]:
        """Ids of the rows candidates are compared on."""
        return tuple(row.id for row in self.scoring)

    @property
    def with_demos(self) -> tuple[str, ...]:
        """Names of the components that take demos."""
        return tuple(name for name, prompt in self.original.prompts.items() if prompt.kind.takes_demos)

    @property
    def instructions(self) -> dict[str, str]:
        """The original instructions and texts by component."""
        return {name: prompt.instruction for name, prompt in self.original.prompts.items() if prompt.kind.takes_text}

    async def bootstrap(self, settings: BootstrapSettings, *, part: str = "") -> Bootstrapped:
        """Collect demo sets from passing rollouts of the teacher (MIPRO §3.1); a second time as another part."""

        async def compute() -> Any:
            found = await bootstrap(
                self.evaluator,
                self.training,
                settings,
                teacher=self.teacher,
                candidate=self.original,
                seed=self.seed,
            )
            return found.to_json()

        return Bootstrapped.from_json(await self._metered_step(BootstrapEvent, compute, part=part))

    async def ground(self, settings: GroundingSettings, traces: Sequence[Any] = ()) -> Grounding:
        """Gather the facts that the proposer is shown (MIPRO §3.1)."""

        async def compute() -> Any:
            found = await ground(
                self.proposer, self.program, self.training, self.fitting(settings), self.seed, traces=traces
            )
            return found.to_json()

        return Grounding.from_json(await self._metered_step(GroundingEvent, compute))

    async def propose(
        self,
        grounding: Grounding,
        demo_sets: Sequence[DemoSet],
        settings: GroundingSettings,
        *,
        count: int,
        frozen: Collection[str] = (),
    ) -> Mapping[str, Sequence[Proposal]]:
        """Have ``count`` instructions for every predictor whose instruction is not frozen, the original among them."""

        async def compute() -> Any:
            names = [name for name in self.original.prompts if f"{name}.instruction" not in frozen]
            wanted = dict.fromkeys(names, range(1, count))
            return (await self.write(grounding, demo_sets, settings, wanted=wanted)).to_json()

        return InstructionPool.from_json(await self._metered_step(ProposalsEvent, compute)).predictors

    async def learned(self, number: int, learn: Callable[[], Awaitable[LessonsEvent]]) -> LessonsEvent:
        """Have a round of lessons, as step ``lessons/NUMBER``."""

        async def metered() -> LessonsEvent:
            before = self.evaluator.gateway.requested
            return replace(await learn(), usage=_more_of_each(before, self.evaluator.gateway.requested))

        return await self.study.step(LessonsEvent, metered, part=str(number))

    async def write(
        self,
        grounding: Grounding,
        demo_sets: Sequence[DemoSet],
        settings: GroundingSettings,
        *,
        wanted: Mapping[str, Sequence[int]],
        held: Mapping[str, Sequence[str]] | None = None,
        temperature: float | None = None,
    ) -> InstructionPool:
        """Have the proposer write instructions; not a step by itself.

        Args:
            grounding: facts to show.
            demo_sets: where the demos shown come from.
            settings: what to show.
            wanted: by predictor, the numbers of the instructions.
            held: by predictor, instructions that are not to come again.
            temperature: of the proposer, where not its own.
        """
        proposer = self.proposer
        if temperature is not None:
            proposer = Proposer(proposer.gateway, proposer.lm, temperature=temperature)
        return await propose_instructions(
            proposer,
            self.program,
            grounding,
            demo_sets,
            self.training,
            wanted=wanted,
            settings=self.fitting(settings),
            seed=self.seed,
            held=held,
        )

    async def space(
        self,
        *,
        instructions: Mapping[str, Sequence[Proposal]] | None = None,
        demo_sets: Sequence[DemoSet] = (),
        tied: bool = False,
        frozen: Iterable[str] = (),
        settings: Mapping[str, Sequence[Any]] | None = None,
    ) -> Choices:
        """Make the search space and journal what each of its levels stands for."""

        async def compute() -> SpaceEvent:
            return choices(
                self.original,
                starts=self.starts,
                instructions=instructions,
                demo_sets=demo_sets,
                tied=tied,
                frozen=frozen,
                settings=settings,
            ).event

        return Choices.of(await self.study.step(SpaceEvent, compute))

    async def loop(
        self, choices: Choices, strategy: Strategy, *, batch: int, source: Source | None = None
    ) -> tuple[Trial, ...]:
        """Ask, evaluate, tell, until the strategy or the budget ends it (MIPRO Algorithm 1).

        The baseline is the first trial of the history, so the original is never scored in full twice; then come the
        prompts to start from, in full.

        Args:
            choices: the space.
            strategy: chooses points.
            batch: trials side by side.
            source: is asked for further programs before each batch, for proposals that learn from scores.
        """
        choices = Choices.recorded(self.study.events)
        arrived = len(every(self.study.events, ArrivalEvent))

        async def evaluate(asks: Sequence[Ask], first: int) -> list[list[Observation]]:
            return await self.evaluate(choices, asks, first)

        async def grow(space: Space, history: Sequence[Trial]) -> ArrivalEvent | None:
            nonlocal choices, arrived
            before = self.evaluator.gateway.requested
            if source is None or (arrival := await source(choices, in_order(history), arrived + 1)) is None:
                return None
            choices, arrived = choices.grown(arrival), arrived + 1
            return replace(arrival, usage=_more_of_each(before, self.evaluator.gateway.requested))

        baseline = self._baseline_trial(choices)
        full = FullEvaluations(self.study, self.scoring_ids, evaluate)
        prior = [baseline, *await full.of_starts(self._points_of_starts(choices), baseline.number + 1)]
        told = self.study.trials
        self._note_errors(choices, chain(*(trial.observations for trial in (*prior[1:], *told))), {})
        self.reserve.learn(told)
        trials = await self.study.loop(
            choices.space, strategy, evaluate, batch=batch, seed=self.seed, prior=prior, grow=grow
        )
        ended = event_of(self.study.events, LoopEndEvent)
        return trials if ended.reason != "budget" else (*trials, *await full.closing(trials, self.reserve))

    async def evaluate(self, choices: Choices, asks: Sequence[Ask], first: int) -> list[list[Observation]]:
        """Run the rollouts of a batch of asks.

        Raises:
            StudyPaused: rollouts stayed unscored even when tried again; nothing is told.
            ProgramFailed: user code fails whatever the prompts are.
        """
        self.reserve.keep(under_way=sum(len(ask.examples) for ask in asks if ask.purpose is Purpose.FULL))
        candidates = [choices.candidate(ask.point, self.original) for ask in asks]
        jobs = [
            Job(candidate, example, trial=number)
            for number, (ask, candidate) in enumerate(zip(asks, candidates, strict=True), first)
            for example in ask.examples
        ]
        with ExitStack() as open_trials:
            for number, ask in enumerate(asks, first):
                open_trials.enter_context(watched("trial", number=number, purpose=ask.purpose.value))
            rollouts = await scored_rollouts(self.evaluator, jobs)
        observations, rest = [], iter(rollouts)
        for ask in asks:
            part = islice(rest, len(ask.examples))
            observations.append([observation_of(ask.point, self._outcome(rollout)) for rollout in part])
        tracebacks = {content_hash(rollout.traceback): rollout.traceback for rollout in rollouts if rollout.traceback}
        self._note_errors(choices, chain(*observations), tracebacks)
        self.reserve.learn([Trial(first, ask, tuple(seen)) for ask, seen in zip(asks, observations, strict=True)])
        return observations

    def _outcome(self, rollout: Rollout) -> dict[str, Any]:
        """Return what the journal keeps of a rollout in the loop."""
        outcome = outcome_json(rollout)
        if rollout.traceback:
            outcome["traceback"] = content_hash(rollout.traceback)
        if met := sorted(rollout.trace.met - self.original.prompts.keys()):
            outcome[MET] = met
        return outcome

    async def _metered_step(
        self, kind: type[_Metered], compute: Callable[[], Awaitable[dict[str, Any]]], *, part: str = ""
    ) -> dict[str, Any]:
        """Record a step together with the calls and tokens it asked for.

        Asked for, not paid: after an interruption a step asks again for what it asked before, and the journal
        must not depend on which of its answers the store already had.
        """

        async def metered() -> _Metered:
            gateway = self.evaluator.gateway
            before, by_lm = total_usage(list(gateway.requested.values())), gateway.requested_by_lm
            result = await compute()
            usage: dict[str, Any] = {"usage": _more(before, total_usage(list(gateway.requested.values())))}
            if self.evaluator.lms.mixed:
                usage["usage_by_lm"] = _more_of_each(by_lm, gateway.requested_by_lm)
            return kind(**result, **usage)

        return to_json(await self.study.step(kind, metered, part=part))

    def fitting(self, settings: GroundingSettings) -> GroundingSettings:
        """Return the settings with what they leave open: guards by the proposer, lengths by the task LM."""
        return settings.fitted(proposer=self.proposer.lm.profile, task=self.evaluator.lms.profile)

    def _points_of_starts(self, choices: Choices) -> list[Point]:
        points = dict.fromkeys(choices.point_of(start) for start in self.starts)
        return [point for point in points if point != choices.space.original]

    def _baseline_trial(self, choices: Choices) -> Trial:
        baseline = event_of(self.study.events, BaselineEvent)
        point = choices.space.original
        observations = tuple(
            observation_of(point, to_json(outcome)) for outcome in baseline.outcomes if outcome.value is not None
        )
        return Trial(0, Ask(point, self.scoring_ids, Purpose.FULL), observations)

    def _note_errors(
        self, choices: Choices, observations: Iterable[Observation], tracebacks: Mapping[str, str]
    ) -> None:
        """Note who failed with which traceback; ``tracebacks`` are those of this session, by hash.

        Raises:
            ProgramFailed: candidates that share no new prompt failed alike.
        """
        baseline = event_of(self.study.events, BaselineEvent)
        excused = {outcome.example for outcome in baseline.outcomes if outcome.outcome == Outcome.ERROR.value}
        for seen in observations:
            if seen.outcome != Outcome.ERROR.value or seen.example in excused:
                continue
            fault = seen.detail["traceback"]
            failed = self.broken_by.setdefault(fault, set())
            failed.add(seen.point)
            if fault not in tracebacks or len(failed) < ALIKE_THAT_STOP:
                continue
            if _share_nothing_new(failed, choices.space.original):
                raise ProgramFailed(
                    f"{len(failed)} candidates that have nothing new in common failed alike, so the program itself "
                    f"seems broken. Repair it, then resume with --code-changed.\n{tracebacks[fault]}"
                )


def _more(before: Usage, after: Usage) -> dict[str, int]:
    return {
        "lm_calls": after.calls - before.calls,
        "prompt_tokens": after.prompt_tokens - before.prompt_tokens,
        "completion_tokens": after.completion_tokens - before.completion_tokens,
    }


def _more_of_each(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, dict[str, int]]:
    more = {name: _more(before.get(name, Usage()), usage) for name, usage in after.items()}
    return {name: usage for name, usage in more.items() if usage["lm_calls"]}


def _share_nothing_new(points: Iterable[Point], original: Point) -> bool:
    """Whether no level but the original's is common to all points: then no prompt is to blame."""
    return not set.intersection(
        *({(name, level) for name, level in p.items() if level != original[name]} for p in points)
    )
