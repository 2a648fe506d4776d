"""The main job as a straight line: each step is journaled, so a resumed study reads what it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.budget import Ledger
from luthier.canonical import content_hash
from luthier.errors import BudgetExhausted, ProgramFailed, UserError
from luthier.evaluation.evaluator import Evaluator
from luthier.evaluation.rollout import Job, Outcome, Rollout, by_outcome, outcome_json
from luthier.lm.gateway import Gateway
from luthier.lm.lm import LM
from luthier.lm.request import Usage, total_usage
from luthier.lm.store import Store
from luthier.optimizers.choice import choose, swap_back
from luthier.optimizers.payloads import Choices
from luthier.optimizers.plan import RolloutCost, refusal, study_plan
from luthier.optimizers.reserve import Clock, Reserve
from luthier.optimizers.setup import Setup
from luthier.optimizers.verdict import no_verdict_event, verdict_event
from luthier.optimizers.workbench import Workbench, scored_rollouts
from luthier.program.candidate import Candidate
from luthier.propose.proposer import Proposer
from luthier.search.trial import Trial
from luthier.study.study import Study

MOST_ERRORS_OF_THE_ORIGINAL = 0.05
"""Above this share of program errors the original itself is broken, and no prompt can mend it."""

Confirm = Callable[[Mapping[str, Any]], bool]


@dataclass(slots=True)
class Line:
    """One study on its way from data to verdict."""

    setup: Setup
    study: Study
    gateway: Gateway
    ledger: Ledger | None
    clock: Clock
    store: Store
    confirm: Confirm | None

    async def run(self) -> None:
        """Run all steps, or those that are left.

        Raises:
            UserError: the plan was declined, or the budget cannot pay for a verdict.
            StudyPaused: infrastructure failed; run again to resume.
            ProgramFailed: user code failed.
            BudgetExhausted: the budget ended before the verdict.
        """
        setup = self.setup
        await self.study.step("split", self._now(setup.split.ids()))
        await self._plan("plan", setup.guessed_cost())
        for lm in _distinct([setup.task, setup.teacher, setup.proposer]):
            if not self._has("baseline"):
                await self.gateway.probe(lm)
        evaluator = self._evaluator()
        baseline = await self.study.step("baseline", lambda: self._baseline(evaluator))
        cost = measured_cost(baseline, self.setup.concurrency)
        await self._plan("plan_measured", cost)
        reserve = self._reserve(cost)
        reserve.keep()
        bench = self._bench(evaluator, cost, reserve)
        trials = await setup.optimizer.run(bench)
        choices = Choices.from_json(self._event("space"))
        choice = await self.study.step("choice", self._now(choose(bench, choices, trials)))
        chosen = Candidate.from_json(choice["candidate"])
        reserve.release_verdict()
        verdict = await self.study.step("verdict", lambda: self._verdict(evaluator, chosen, choice["is_original"]))
        await self.study.step("insight", lambda: self._insight(evaluator, chosen, choices, choice, trials))
        await self.study.step("done", self._now({"decision": verdict["decision"]}))

    async def _plan(self, name: str, cost: RolloutCost) -> None:
        setup = self.setup
        facts = setup.facts(cost)
        plan = study_plan(
            facts,
            setup.optimizer.plan(facts),
            cost,
            task=setup.task,
            teacher=setup.teacher,
            proposer=setup.proposer,
        )
        known = self._has(name)
        if not known and (reason := refusal(plan, setup.settings.budget)) is not None:
            raise UserError(reason)
        if not known and name == "plan" and self.confirm is not None and not self.confirm(plan):
            raise UserError("stopped at the plan; nothing was spent")
        await self.study.step(name, self._now(plan))

    async def _baseline(self, evaluator: Evaluator) -> dict[str, Any]:
        original = self.setup.program.original
        rollouts = await scored_rollouts(evaluator, [Job(original, row.id) for row in self.setup.scoring])
        errors = [rollout for rollout in rollouts if rollout.outcome is Outcome.ERROR]
        if len(errors) > MOST_ERRORS_OF_THE_ORIGINAL * len(rollouts):
            raise ProgramFailed(
                f"the original program raised on {len(errors)} of {len(rollouts)} examples "
                f"(the first: example {errors[0].job.example}):\n{errors[0].traceback}"
            )
        return _evaluation_event(rollouts)

    async def _verdict(self, evaluator: Evaluator, chosen: Candidate, is_original: bool) -> dict[str, Any]:
        test = self.setup.split.test
        if not test:
            return no_verdict_event()
        ids = [row.id for row in test]
        look = self.store.count_look(content_hash(sorted(ids)), self.setup.study_id)
        before = await scored_rollouts(evaluator, [Job(self.setup.program.original, example) for example in ids])
        after = before if is_original else await scored_rollouts(evaluator, [Job(chosen, example) for example in ids])
        groups = {row.id: row.group for row in test} if self.setup.settings.group is not None else None
        return verdict_event(before, after, look=look, groups=groups, same=is_original, seed=self.setup.settings.seed)

    async def _insight(
        self,
        evaluator: Evaluator,
        chosen: Candidate,
        choices: Choices,
        choice: Mapping[str, Any],
        trials: Sequence[Trial],
    ) -> dict[str, Any]:
        """What each predictor's change brings; skipped where there is one predictor or the budget is used up."""
        if choice["is_original"] or len(self.setup.program.predictors) < 2:
            return {"predictors": {}, "skipped": "nothing to tell apart"}
        number = choice["table"][0]["trial"] if choice["table"] else 0
        known = next(trial for trial in trials if dict(trial.ask.point) == choice["point"] and trial.number == number)
        try:
            return await swap_back(
                evaluator, chosen, self.setup.program.original, known.observations, seed=self.setup.settings.seed
            )
        except BudgetExhausted:
            return {"predictors": {}, "skipped": "the budget was used up"}

    def _evaluator(self) -> Evaluator:
        setup = self.setup
        evaluator = Evaluator(
            setup.program,
            setup.metric,
            setup.split.rows,
            setup.task,
            self.gateway,
            concurrency=setup.concurrency,
            on_rollout=self._tell_progress,
        )
        evaluator.proven = self._has("baseline")
        return evaluator

    def _tell_progress(self, rollout: Rollout) -> None:
        paid = total_usage(list(self.gateway.usage.values()))
        self.study.notify(
            "rollout",
            {
                "example": rollout.job.example,
                "outcome": rollout.outcome.value,
                "value": None if rollout.score is None else rollout.score.value,
                "paid": {"lm_calls": paid.calls, "tokens": paid.tokens},
            },
        )

    def _bench(self, evaluator: Evaluator, cost: RolloutCost, reserve: Reserve) -> Workbench:
        setup = self.setup
        return Workbench(
            study=self.study,
            program=setup.program,
            evaluator=evaluator,
            training=setup.training,
            scoring=setup.scoring,
            teacher=setup.teacher,
            proposer=Proposer(self.gateway, setup.proposer),
            facts=setup.facts(cost),
            reserve=reserve,
            seed=setup.settings.seed,
            original=setup.program.original,
        )

    def _reserve(self, cost: RolloutCost) -> Reserve:
        setup = self.setup
        facts = setup.facts(cost)
        closing = max(setup.optimizer.plan(facts).closing_rollouts, len(setup.scoring))
        return Reserve(self.ledger, self.clock, setup.task, cost, closing=closing, verdict=len(setup.split.test))

    def _has(self, event: str) -> bool:
        return any(known["event"] == event for known in self.study.events)

    def _event(self, name: str) -> dict[str, Any]:
        return next(known for known in self.study.events if known["event"] == name)

    @staticmethod
    def _now(value: Any) -> Callable[[], Any]:
        async def compute() -> Any:
            return value

        return compute


def measured_cost(baseline: Mapping[str, Any], concurrency: int) -> RolloutCost:
    """Return a program run's mean cost as the baseline event measured it.

    It is read from the journal, never from the clock of this run, so that a resumed study decides the same.
    """
    outcomes = baseline["outcomes"]
    n = max(1, len(outcomes))
    costs = [outcome["cost"] for outcome in outcomes]
    return RolloutCost(
        calls=sum(cost["lm_calls"] for cost in costs) / n,
        prompt_tokens=sum(cost["prompt_tokens"] for cost in costs) / n,
        completion_tokens=sum(cost["completion_tokens"] for cost in costs) / n,
        seconds=sum(outcome["seconds"] for outcome in outcomes) / n / max(1, concurrency),
        measured=True,
    )


def _evaluation_event(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    values = [rollout.value for rollout in rollouts]
    n, mean = len(values), sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (n - 1) if n > 1 else 0.0
    usage = total_usage([rollout.usage for rollout in rollouts])
    return {
        "mean": mean,
        "stderr": (variance / n) ** 0.5,
        "n": n,
        "outcomes": [outcome_json(rollout) for rollout in rollouts],
        "counts": by_outcome(rollouts),
        "usage": _usage_json(usage),
    }


def _usage_json(usage: Usage) -> dict[str, int]:
    return {
        "lm_calls": usage.calls,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
    }


def _distinct(lms: Sequence[LM]) -> list[LM]:
    seen: dict[str, LM] = {}
    for lm in lms:
        seen.setdefault(lm.identity, lm)
    return list(seen.values())
