"""The main job as a straight line: each step is journaled, so a resumed study reads what it has."""

from __future__ import annotations

import asyncio
import functools
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from luthier.budget import TOTAL, Ledger
from luthier.canonical import content_hash
from luthier.errors import BudgetExhausted, LabelWarning, UserError
from luthier.evaluation.evaluator import Evaluator, scored_rollouts
from luthier.evaluation.executor import Executor
from luthier.evaluation.rollout import Job, Rollout
from luthier.evaluation.unmetered import UnmeteredWatch, unmetered_sentence
from luthier.lm.gateway import Gateway
from luthier.lm.models import THINKING_ROOM
from luthier.lm.request import total_usage
from luthier.lm.store import Store
from luthier.program.candidate import Candidate
from luthier.program.program import Program
from luthier.propose.proposer import Proposer
from luthier.runner.baseline import measure_original, shown_again, tuned_program
from luthier.runner.candidates import Choices
from luthier.runner.choice import choose
from luthier.runner.config import Confirm, Setup
from luthier.runner.facts import Facts
from luthier.runner.headroom import check_event, has_gone_on, noise_key
from luthier.runner.insight import insight_event
from luthier.runner.plan import RolloutCost, refusal
from luthier.runner.reserve import Clock, Reserve
from luthier.runner.steps import Steps
from luthier.runner.verdict import no_verdict_event, verdict_event
from luthier.search.trial import Trial
from luthier.study.events import (
    AnywayEvent,
    BaselineEvent,
    CheckEvent,
    ChoiceEvent,
    DoneEvent,
    E,
    Event,
    InsightEvent,
    MeasuredPlanEvent,
    PlanEvent,
    RolloutEvent,
    SpaceEvent,
    SplitEvent,
    VerdictEvent,
    WarningEvent,
    event_of,
    first,
)
from luthier.study.looks import CountedLook
from luthier.study.study import Study


@dataclass
class StudyRunner:
    """One study on its way from data to verdict."""

    setup: Setup
    study: Study
    gateway: Gateway
    ledger: Ledger
    clock: Clock
    store: Store
    confirm: Confirm | None
    executor: Executor
    listening: bool
    """Whether anybody wants to hear of every rollout."""
    shown: str = ""
    """A few predictions beside their labels, where the original scores 0 throughout; told, never recorded."""
    _noise: Mapping[str, Any] | None = None
    """What ``lt.check`` measured of the noise of the program, as it was before any run."""

    async def run(self) -> Program:
        """Run all steps, or those that are left; return the program with the predictors that were tuned.

        Where the baseline leaves nothing to win, it ends with the step ``check``, unless the user wants to go on.

        Raises:
            UserError: the plan was declined, or the budget cannot pay for a verdict.
            StudyPaused: infrastructure failed; run again to resume.
            ProgramFailed: user code failed.
            BudgetExhausted: the budget ended before the verdict.
        """
        await self._split()
        await self._plan()
        await self._reach_servers()
        baseline = await self._measure_original()
        if not await self._can_win(baseline):
            return self.setup.program
        steps = await self._plan_with_measured_cost(baseline)
        trials = await self._search(steps)
        choice = await self._choose(steps, trials)
        verdict = await self.study.step(VerdictEvent, lambda: self._verdict(steps.evaluator, choice))
        await self.study.step(InsightEvent, lambda: self._insight(steps.evaluator, choice, trials, verdict))
        await self._finish(verdict)
        return self.setup.program

    async def tuned_program(self) -> Program:
        """Return the program with the predictors that the recorded baseline met, without those it never called."""
        return await tuned_program(
            self.setup.program, self._evaluator(self.setup), event_of(self.study.events, BaselineEvent).predictors
        )

    async def _split(self) -> None:
        split = self.setup.split
        ids: dict[str, Any] = dict(split.ids())
        numbers = {row.id: row.number for row in split.test}
        await self.study.step(SplitEvent, self._now(SplitEvent(**ids, numbers=numbers)))

    async def _reach_servers(self) -> None:
        """See that every server, key, and model is there, before anything is spent."""
        if self._has(BaselineEvent):
            return
        setup, judge = self.setup, self.setup.metric.judge_lm
        lms = [*setup.task.all, *setup.teacher.all, setup.proposer, *([] if judge is None else [judge])]
        for lm in {lm.identity: lm for lm in lms}.values():
            await self.gateway.probe(lm)

    async def _measure_original(self) -> BaselineEvent:
        """Run the original, and go on with the program that its runs showed: its predictors, and its own clients."""
        setup, evaluator = self.setup, self._evaluator(self.setup)

        async def compute() -> BaselineEvent:
            event, self.shown = await measure_original(setup, evaluator, self._watch.limits)
            return event

        baseline = await self.study.step(BaselineEvent, compute)
        program = await tuned_program(setup.program, evaluator, baseline.predictors)
        self._noise = self.store.value(noise_key(setup.program, setup.task, setup.metric))
        self.setup = setup.with_program(program, baseline.own_lms)
        if baseline.zero is not None and not self.shown and not has_gone_on(self.study.events):
            self.shown = await shown_again(self.setup, self.store, self.gateway.refusals, baseline)
        return baseline

    async def _plan_with_measured_cost(self, baseline: BaselineEvent) -> Steps:
        """Plan again, by what a run really costs, and set aside what the end will take."""
        cost = self.setup.measured_cost(baseline)
        planned = await self.study.step(MeasuredPlanEvent, lambda: self._plan_measured(cost))
        facts = Facts.from_json(planned.facts)
        reserve = self._reserve(facts, cost)
        reserve.keep()
        return self._steps(self._evaluator(self.setup), facts, reserve)

    async def _search(self, steps: Steps) -> Sequence[Trial]:
        """Let the optimizer work: demonstrations, lessons, instructions, the space, and the loop are its steps."""
        try:
            return await self.setup.optimizer.run(steps)
        except BudgetExhausted as error:
            if not self._has(SpaceEvent):
                whole = event_of(self.study.events, MeasuredPlanEvent).total
                error.add_note(
                    "The budget ended before the search began. With one for the whole plan, at most "
                    f"{whole['calls']:,} LM calls and {whole['tokens']:,} tokens, the study goes on to its verdict."
                )
            raise

    async def _choose(self, steps: Steps, trials: Sequence[Trial]) -> ChoiceEvent:
        choices = Choices.recorded(self.study.events)
        choice = await self.study.step(ChoiceEvent, self._now(choose(steps, choices, trials)))
        steps.reserve.release()
        return choice

    async def _insight(
        self, evaluator: Evaluator, choice: ChoiceEvent, trials: Sequence[Trial], verdict: VerdictEvent
    ) -> InsightEvent:
        learned = bool(Choices.of(event_of(self.study.events, SpaceEvent)).settings)
        return await insight_event(self.setup, evaluator, choice, trials, verdict, learned=learned)

    async def _finish(self, verdict: VerdictEvent) -> None:
        over = [f"the budget was overshot by {most:.6g} {name}" for name, most in self.ledger.overshoot.items()]
        await self.study.step(DoneEvent, self._now(DoneEvent(decision=verdict.decision, warnings=over or ())))

    async def _can_win(self, baseline: BaselineEvent) -> bool:
        """Say whether to go on; a study that did so, or was told to, goes on."""
        gone_on, n_test = has_gone_on(self.study.events), len(self.setup.split.test)
        level = event_of(self.study.events, PlanEvent).level
        check = await self.study.step(
            CheckEvent, self._now(check_event(baseline, n_test=n_test, noise=self._noise, level=level))
        )
        if not self.listening:
            for sentence in check.warnings:
                warnings.warn(f"{sentence} {self.shown}".strip(), LabelWarning, stacklevel=2)
        elif check.warnings and self.shown:
            self.study.notify(WarningEvent(message=self.shown))
        if not check.stop:
            return True
        if not (gone_on or self.setup.config.anyway):
            return False
        await self.study.step(AnywayEvent, self._now(AnywayEvent(sentence=check.sentence)))
        return True

    async def _plan(self) -> None:
        """Show the plan before anything is spent."""
        if self._has(PlanEvent):
            return
        setup = self.setup
        cost = setup.guessed_cost()
        facts = setup.facts(cost)
        plan = setup.plan(facts, cost)
        if (reason := refusal(facts, cost, setup.task.price, setup.config.budget)) is not None:
            raise UserError(reason)
        if self.confirm is not None and not self.confirm(plan):
            raise UserError("stopped at the plan; nothing was spent")
        if not self.listening and self.confirm is None:  # neither has anybody seen the plan, nor will see a warning
            for sentence in setup.labels.warnings:
                warnings.warn(sentence, LabelWarning, stacklevel=2)
        await self.study.step(PlanEvent, self._now(PlanEvent(**plan)))

    async def _plan_measured(self, cost: RolloutCost) -> MeasuredPlanEvent:
        setup = self.setup
        facts = setup.facts(cost)
        if (reason := refusal(facts, cost, setup.task.price, setup.config.budget)) is not None:
            raise BudgetExhausted(reason)
        plan = setup.plan(facts, cost)
        if unmetered := event_of(self.study.events, BaselineEvent).unmetered:
            plan["notes"].append(unmetered_sentence(unmetered, limits=self._watch.limits))
        # A resumed study must decide by the same facts, whatever its budget was raised to.
        return MeasuredPlanEvent(**plan, facts=facts.to_json())

    async def _verdict(self, evaluator: Evaluator, choice: ChoiceEvent) -> VerdictEvent:
        test, is_original = self.setup.split.test, choice.is_original
        chosen = Candidate.from_json(choice.candidate)
        if not test:
            return no_verdict_event()
        ids = [row.id for row in test]
        before = await scored_rollouts(evaluator, [Job(self.setup.program.original, example) for example in ids])
        after = before if is_original else await scored_rollouts(evaluator, [Job(chosen, example) for example in ids])
        look = await self._take_look(chosen, before, after)
        groups = {row.id: row.group for row in test} if self.setup.config.group is not None else None
        rivals = sum(not row["is_original"] for row in choice.table)
        seed = self.setup.config.seed
        today = "your original" if self.setup.program.deployed is None else "what is deployed"
        event = verdict_event(
            before, after, look=look.number, groups=groups, same=is_original, rivals=rivals, seed=seed, today=today
        )
        return replace(event, warnings=look.warnings)

    async def _take_look(self, chosen: Candidate, before: Sequence[Rollout], after: Sequence[Rollout]) -> CountedLook:
        """Count this look at the test examples, for good; the same study with the same outcome counts once."""
        program, setup = self.setup.program, self.setup
        scores = [{rollout.job.example: rollout.value for rollout in rollouts} for rollouts in (before, after)]
        outcome = content_hash([program.original.key, chosen.key, *scores])
        return await asyncio.to_thread(setup.looks.take_look, list(scores[0]), setup.study_id, outcome)

    def _evaluator(self, setup: Setup) -> Evaluator:
        evaluator = Evaluator(
            setup.program,
            setup.metric,
            setup.split.rows,
            setup.task,
            self.gateway,
            concurrency=setup.concurrency,
            on_rollout=self._rollout_ended,
        )
        evaluator.executor = self.executor
        evaluator.proven, evaluator.closed = self._has(BaselineEvent), True
        return evaluator

    def _rollout_ended(self, rollout: Rollout) -> None:
        self._watch.look(rollout)
        if self.listening:
            self._tell_progress(rollout)

    @functools.cached_property
    def _watch(self) -> UnmeteredWatch:
        def tell(sentence: str) -> None:
            self.study.notify(WarningEvent(message=sentence))

        return UnmeteredWatch(self.setup.config.budget, self.ledger, tell if self.listening else None)

    def _tell_progress(self, rollout: Rollout) -> None:
        paid = total_usage(list(self.gateway.usage.values()))
        self.study.notify(
            RolloutEvent(
                example=rollout.job.example,
                outcome=rollout.outcome.value,
                value=None if rollout.score is None else rollout.score.value,
                paid={
                    "lm_calls": paid.calls,
                    "tokens": paid.tokens,
                    "usd": self.ledger.spent[TOTAL].get("usd", 0.0),
                },
            )
        )

    def _steps(self, evaluator: Evaluator, facts: Facts, reserve: Reserve) -> Steps:
        setup = self.setup
        return Steps(
            study=self.study,
            program=setup.program,
            evaluator=evaluator,
            training=setup.training,
            scoring=setup.scoring,
            teacher=setup.teacher,
            proposer=Proposer(self.gateway, setup.proposer),
            facts=facts,
            reserve=reserve,
            seed=setup.config.seed,
            predictor_metrics=setup.predictor_metrics,
            original=setup.program.original,
            starts=[_only(start, setup.program) for start in setup.starts],
        )

    def _reserve(self, facts: Facts, cost: RolloutCost) -> Reserve:
        setup, search = self.setup, self.setup.optimizer.plan(facts)
        # Schedules that score in full on the way, or always, keep one full evaluation back.
        closing = (len(setup.starts) + max(1, search.closing)) * len(setup.scoring)
        lengths = [p.settings.max_tokens or setup.task.of(p).most_tokens for p in setup.program.predictors]
        return Reserve(
            self.ledger,
            self.clock,
            setup.task,
            cost,
            closing=closing,
            verdict=len(setup.split.test),
            longest_answer=max(length or THINKING_ROOM for length in (setup.task.default.most_tokens, *lengths)),
            in_flight=min(setup.concurrency, len(setup.scoring)),
        )

    def _has(self, kind: type[Event]) -> bool:
        return first(self.study.events, kind) is not None

    @staticmethod
    def _now(event: E) -> Callable[[], Awaitable[E]]:
        async def compute() -> E:
            return event

        return compute


def _only(start: Candidate, program: Program) -> Candidate:
    """Return a candidate for the components that the baseline showed to be the program's, and for those alone."""
    today = program.original
    return Candidate({name: start.prompts.get(name, now) for name, now in today.prompts.items()}, today.fingerprints)
