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
from luthier.errors import BudgetExhausted, LabelWarning, LuthierError, ProgramFailed, UserError
from luthier.evaluation.evaluator import Evaluator, scored_rollouts
from luthier.evaluation.executor import Executor
from luthier.evaluation.rollout import Evaluation, Job, Outcome, Rollout
from luthier.evaluation.unmetered import UnmeteredWatch, unmetered_sentence
from luthier.lm.gateway import Gateway
from luthier.lm.lm import LM
from luthier.lm.models import THINKING_ROOM
from luthier.lm.request import Usage, total_usage
from luthier.lm.store import Store
from luthier.program.candidate import Candidate
from luthier.program.program import Program
from luthier.propose.proposer import Proposer
from luthier.runner.baseline import baseline_event
from luthier.runner.candidates import Choices
from luthier.runner.choice import choose, swap_back
from luthier.runner.config import Confirm, Setup
from luthier.runner.facts import Facts
from luthier.runner.headroom import check_event, has_gone_on, noise_key
from luthier.runner.own_calls import own_lms
from luthier.runner.plan import RolloutCost, refusal
from luthier.runner.reserve import Clock, Reserve
from luthier.runner.steps import Steps
from luthier.runner.unmeetable import examples_text, zero_baseline
from luthier.runner.verdict import no_verdict_event, verdict_event
from luthier.search.importance import importances, to_json
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
from luthier.types import Role

MOST_ERRORS_OF_THE_ORIGINAL = 0.05
"""Above this share of program errors the original itself is broken, and no prompt can mend it."""


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

    async def run(self) -> Program:
        """Run all steps, or those that are left; return the program with the predictors that were tuned.

        Where the baseline leaves nothing to win, it ends with the step ``check``, unless the user wants to go on.

        Raises:
            UserError: the plan was declined, or the budget cannot pay for a verdict.
            StudyPaused: infrastructure failed; run again to resume.
            ProgramFailed: user code failed.
            BudgetExhausted: the budget ended before the verdict.
        """
        setup = self.setup
        ids: dict[str, Any] = dict(setup.split.ids())
        numbers = {row.id: row.number for row in setup.split.test}
        await self.study.step(SplitEvent, self._now(SplitEvent(**ids, numbers=numbers)))
        await self._plan()
        judge = setup.metric.judge_lm
        for lm in _distinct([*setup.task.all, *setup.teacher.all, setup.proposer, *([judge] if judge else [])]):
            if not self._has(BaselineEvent):
                await self.gateway.probe(lm)
        written = self._evaluator(setup)
        baseline = await self.study.step(BaselineEvent, lambda: self._baseline(written))
        measured = noise_key(setup.program, setup.task, setup.metric)  # by ``lt.check``, which knows no more than this
        self.setup = setup = setup.with_program(await self.tuned_program(written), baseline.own_lms)
        if baseline.zero is not None and not self.shown and not has_gone_on(self.study.events):
            self.shown = await self._shown_again(baseline)
        if not await self._worth(baseline, self.store.value(measured)):
            return setup.program
        cost = setup.measured_cost(baseline)
        facts = Facts.from_json((await self.study.step(MeasuredPlanEvent, lambda: self._plan_measured(cost))).facts)
        evaluator, reserve = self._evaluator(setup), self._reserve(facts, cost)
        reserve.keep()
        steps = self._steps(evaluator, facts, reserve)
        try:
            trials = await setup.optimizer.run(steps)
        except BudgetExhausted as error:
            if not self._has(SpaceEvent):
                whole = event_of(self.study.events, MeasuredPlanEvent).total
                error.add_note(
                    "The budget ended before the search began. With one for the whole plan, at most "
                    f"{whole['calls']:,} LM calls and {whole['tokens']:,} tokens, the study goes on to its verdict."
                )
            raise
        choices = Choices.recorded(self.study.events)
        choice = await self.study.step(ChoiceEvent, self._now(choose(steps, choices, trials)))
        reserve.release()
        verdict = await self.study.step(VerdictEvent, lambda: self._verdict(evaluator, choice))
        await self.study.step(InsightEvent, lambda: self._insight(evaluator, choice, trials, verdict))
        over = [f"the budget was overshot by {most:.6g} {name}" for name, most in self.ledger.overshoot.items()]
        await self.study.step(DoneEvent, self._now(DoneEvent(decision=verdict.decision, warnings=over or ())))
        return setup.program

    async def _worth(self, baseline: BaselineEvent, noise: Mapping[str, Any] | None) -> bool:
        """Say whether to go on; a study that did so, or was told to, goes on."""
        gone_on, n_test = has_gone_on(self.study.events), len(self.setup.split.test)
        level = event_of(self.study.events, PlanEvent).level
        check = await self.study.step(
            CheckEvent, self._now(check_event(baseline, n_test=n_test, noise=noise, level=level))
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

    async def tuned_program(self, evaluator: Evaluator | None = None) -> Program:
        """Return the program with the predictors that the baseline met, and without those it never called.

        A predictor that only a run can show is met again by running an example that showed it; the store has the
        answers.

        Raises:
            ProgramFailed: it is not met again.
        """
        evaluator = self._evaluator(self.setup) if evaluator is None else evaluator
        found = event_of(self.study.events, BaselineEvent).predictors
        missing = found["met"].keys() - {component.name for component in evaluator.met}
        if missing:
            examples = sorted({found["met"][name] for name in missing})
            await scored_rollouts(evaluator, [Job(self.setup.program.original, example) for example in examples])
        met = {component.name: component for component in evaluator.met}
        if missing - met.keys():
            raise ProgramFailed(f"{', '.join(sorted(missing - met.keys()))}: called in the baseline, but not any more")
        program = self.setup.program
        used = [component for component in program.components if component.name not in found["never_called"]]
        return replace(program, components=tuple(used)).with_components(met[name] for name in found["met"])

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

    async def _baseline(self, evaluator: Evaluator) -> BaselineEvent:
        program = self.setup.program
        rollouts = await scored_rollouts(evaluator, [Job(program.original, row.id) for row in self.setup.scoring])
        errors = [rollout for rollout in rollouts if rollout.outcome is Outcome.ERROR]
        if len(errors) > MOST_ERRORS_OF_THE_ORIGINAL * len(rollouts):
            raise ProgramFailed(
                f"the original program raised on {len(errors)} of {len(rollouts)} examples "
                f"(the first: example {errors[0].job.example}):\n{errors[0].traceback}"
            )
        judge = self.gateway.requested.get(Role.JUDGE.value, Usage())
        found = self._predictors_met(rollouts)
        found["warnings"] += self.setup.labels.warnings
        if unmetered := Evaluation(program.original, tuple(rollouts)).unmetered:
            found["warnings"].append(unmetered_sentence(unmetered, limits=self._watch.limits))
            found["unmetered"] = unmetered
        if own := own_lms(rollouts, self.gateway.lms, self.setup.task, program):
            found["own_lms"] = own
        zero = zero_baseline(program, self.setup.metric, rollouts, self.setup.split.rows)
        if zero is not None:
            self.shown = self._shown(rollouts, zero["examples"])
        return baseline_event(rollouts, judge=judge, zero=zero, **found)

    def _shown(self, rollouts: Sequence[Rollout], examples: Sequence[str]) -> str:
        setup = self.setup
        return examples_text(setup.program, setup.metric, rollouts, setup.split.rows, examples)

    async def _shown_again(self, baseline: BaselineEvent) -> str:
        """Return what an earlier run showed, from the answers in the store; nothing where a call would be needed."""
        if baseline.unmetered or baseline.zero is None:
            return ""
        setup, examples = self.setup, baseline.zero["examples"]
        gateway = Gateway(store=self.store, ledger=Ledger({"lm_calls": 0.0}), refusals=self.gateway.refusals)
        evaluator = Evaluator(
            setup.program, setup.metric, setup.split.rows, setup.task, gateway, concurrency=setup.concurrency
        )
        evaluator.proven = evaluator.closed = True
        try:
            rollouts = await scored_rollouts(evaluator, [Job(setup.program.original, id) for id in examples])
        except LuthierError:
            return ""
        finally:
            gateway.close()
        return self._shown(rollouts, examples)

    def _predictors_met(self, rollouts: Sequence[Rollout]) -> dict[str, Any]:
        """Return which components are the program's: those known beforehand that ran, and those met in a run."""
        showed: dict[str, str] = {}
        for rollout in rollouts:
            for name in rollout.trace.met:
                showed.setdefault(name, rollout.job.example)
        program = self.setup.program
        known = {component.name for component in program.components}
        words = {text.name: ("text", "read") for text in program.texts}
        # Where no run came to its end, those behind the call that failed were not passed over: they stay (ADR 0022).
        ended = any(rollout.outcome is Outcome.SCORED for rollout in rollouts)
        never, others = sorted(known - showed.keys() if ended else ()), sorted(showed.keys() - known)
        notes = [
            f"{what} {name!r} was never {done} on {len(rollouts)} examples: not tuned"
            for name in never
            for what, done in [words.get(name, ("predictor", "called"))]
        ]
        if self.setup.predictors_given:
            notes += [f"{name!r} is not among those to tune: it stays as it is" for name in others]
            others = []
        if {component.name for component in program.tuned} <= set(never) and not others:
            raise ProgramFailed(f"the program used nothing that is to be tuned on any of {len(rollouts)} examples")
        found = {"never_called": never, "met": {name: showed[name] for name in others}}
        return {"predictors": found, "warnings": notes}

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

    async def _insight(
        self, evaluator: Evaluator, choice: ChoiceEvent, trials: Sequence[Trial], verdict: VerdictEvent
    ) -> InsightEvent:
        """How much each variable mattered, and what each predictor's change brings where there are two or more."""
        # The original, and prompts to start from, came about without any setting of a proposer.
        learned = bool(Choices.of(event_of(self.study.events, SpaceEvent)).settings)
        told = [trial for trial in trials if not (learned and trial.prior)]
        variables = to_json(importances(told, seed=self.setup.config.seed))
        if choice.is_original or len(self.setup.program.tuned) < 2:
            return InsightEvent(variables=variables, predictors={}, skipped="nothing to tell apart")
        chosen, original = Candidate.from_json(choice.candidate), self.setup.program.original
        # The choice was made for its scores on validation: on these, whatever changed seems to have helped.
        held_out = verdict.outcomes_after[: len(self.setup.scoring)]
        scores = {outcome.example: outcome.value or 0.0 for outcome in held_out} or _scores(choice, trials)
        try:
            found = await swap_back(evaluator, chosen, original, scores, seed=self.setup.config.seed)
        except BudgetExhausted:
            return InsightEvent(variables=variables, predictors={}, skipped="the budget was used up")
        return InsightEvent(variables=variables, on="test" if held_out else "validation", **found)

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


def _scores(choice: ChoiceEvent, trials: Sequence[Trial]) -> dict[str, float]:
    """Return what the chosen candidate scored on each validation example."""
    number = next(row["trial"] for row in choice.table if row["point"] == choice.point)
    known = next(trial for trial in trials if trial.number == number)
    return {observation.example: observation.value for observation in known.observations}


def _distinct(lms: Sequence[LM]) -> list[LM]:
    seen: dict[str, LM] = {}
    for lm in lms:
        seen.setdefault(lm.identity, lm)
    return list(seen.values())
