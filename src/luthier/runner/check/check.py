"""A check before a study: is a program worth tuning, with these data and for this LM?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from luthier.budget import TOTAL, Budget
from luthier.errors import UserError
from luthier.evaluation.evaluator import Evaluator
from luthier.evaluation.opening import opened
from luthier.evaluation.ready import ledger_for
from luthier.evaluation.rollout import Rollout
from luthier.evaluation.stats import look_level
from luthier.evaluation.unmetered import UnmeteredWatch
from luthier.lm.gateway import Gateway
from luthier.lm.lm import LM
from luthier.lm.request import Usage, total_usage
from luthier.program.lms import resolve
from luthier.runner.baseline import baseline_event
from luthier.runner.check.advice import Promising, advice, more_promising
from luthier.runner.check.look import DEFAULT, Look, look_for, plan_of
from luthier.runner.check.probes import Gain, Noise, Probes, json_of, scores_of
from luthier.runner.config import Confirm, Setup, StudyConfig, prepare
from luthier.runner.headroom import check_event, noise_key
from luthier.runner.optimizer import Optimizer
from luthier.runner.session import open_store
from luthier.runner.unmeetable import examples_text, zero_baseline
from luthier.study.directory import StudyDirectory
from luthier.study.events import to_json


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found. Scores and shares lie in [0, 1]; intervals are at 95 %."""

    sentence: str
    """The advice."""
    stop: bool
    """Whether a study would stop after its baseline, there being nothing to win, or no way to."""
    unmeetable: str | None
    """Why no prompt can score: ``"labels"`` that no answer matches, ``"none"`` returned, or ``"unparseable"`` answers
    alone; None where one may."""
    warnings: tuple[str, ...]
    """What to look at before a search is paid for: labels that no answer can match, or scores that are all 0."""
    mean: float
    """The original's score, with its interval ``low`` to ``high``, on ``n`` validation examples."""
    low: float
    high: float
    n: int
    unparseable: Mapping[str, float]
    """By predictor: the share of runs that ended with an answer of its nobody could read."""
    smallest_detectable: float | None
    """The smallest gain that the held-out examples show; None where none are held out."""
    chance: float | None
    """That flawless prompts would be adopted; None for graded scores, or without held-out examples."""
    noise: Noise | None
    strong: Gain | None
    """What a stronger LM brings with the original prompts; None where none was given."""
    demos: Gain | None
    """What a few demonstrations bring, without any search."""
    instructions: Gain | None
    """What one proposed instruction per predictor brings."""
    promising: Promising | None
    missing: Mapping[str, str]
    """By part that was not measured: why."""
    usage: Usage
    """Calls and tokens that were paid for; what the store had is not among them."""
    usd: float | None
    plan: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the check as JSON can hold it."""
        plain = {name: getattr(self, name) for name in Check.__dataclass_fields__ if name not in ("usage", "plan")}
        measured = {name: json_of(plain[name]) for name in ("noise", "strong", "demos", "instructions")}
        return {**plain, **measured, "usage": self.usage, "plan": dict(self.plan)}

    def __repr__(self) -> str:
        return f"Check({self.sentence!r})"


@dataclass(slots=True)
class CheckRun:
    """A check with everything resolved."""

    setup: Setup
    strong: LM | None
    budget: Budget
    look: Look
    confirm: Confirm | None
    gateway: Gateway | None = None

    @property
    def plan(self) -> dict[str, Any]:
        """The plan, in the form that studies have theirs."""
        return plan_of(self.setup, self.strong, self.look, self.budget)

    def stop(self) -> None:
        """Stop new LM calls; on any thread."""
        if self.gateway is not None:
            self.gateway.stop()

    async def run(self) -> Check:
        """Measure.

        Raises:
            LuthierError: as ``lt.check``.
        """
        setup, plan = self.setup, self.plan
        if self.confirm is not None and not self.confirm(plan):
            raise UserError("stopped at the plan; nothing was spent")
        with ExitStack() as closing:
            directory = StudyDirectory(setup.study_dir)
            if setup.config.shared_store is None:
                directory.prepare()
            store = open_store(setup.config.shared_store or directory.store)
            closing.callback(store.close)
            ledger = ledger_for(self.budget)
            assert ledger is not None
            # Charged under a name of its own: what a study was charged is the study's alone.
            self.gateway = Gateway(store=store, ledger=ledger, study=f"check/{setup.study_id}")
            closing.callback(self.gateway.close)
            for lm in {lm.identity: lm for lm in self._lms()}.values():
                await self.gateway.probe(lm)
            evaluator = Evaluator(
                setup.program,
                setup.metric,
                setup.split.rows,
                setup.task,
                self.gateway,
                concurrency=setup.concurrency,
                on_rollout=UnmeteredWatch(self.budget, self.gateway.ledger).look,
            )
            evaluator.closed = True
            evaluator.executor = closing.enter_context(opened(setup.config.executor))
            found = await self._measure(Probes(setup, evaluator, self.look, {}))
            if found["noise"] is not None:
                store.set_value(noise_key(setup.program, setup.task, setup.metric), json_of(found["noise"]))
            paid = total_usage(list(self.gateway.usage.values()))
            return Check(**found, usage=paid, usd=ledger.spent[TOTAL].get("usd"), plan=plan)

    async def _measure(self, probes: Probes) -> dict[str, Any]:
        baseline = await probes.baseline()
        first = {rollout.job.example: rollout for rollout in baseline}
        before = scores_of(baseline)
        if (found := self._checked(baseline, None)).get("unmeetable"):
            return _nothing_more(found)
        noise = await probes.noise(first)
        strong = None if self.strong is None else await probes.ceiling(self.strong, before)
        demos, with_demos = await probes.demos(before)
        instructions, with_instructions = await probes.instructions(before)
        promising = more_promising(with_demos, with_instructions)
        checked = self._checked(baseline, noise)
        said = advice(checked, noise=noise, strong=strong, demos=demos, instructions=instructions, promising=promising)
        return {
            **_numbers(checked),
            "sentence": said,
            "noise": noise,
            "strong": strong,
            "demos": demos,
            "instructions": instructions,
            "promising": promising,
            "missing": dict(probes.missing),
        }

    def _checked(self, baseline: Sequence[Rollout], noise: Noise | None) -> dict[str, Any]:
        setup = self.setup
        event = baseline_event(baseline, zero=zero_baseline(setup.program, setup.metric, baseline, setup.split.rows))
        whole, n_test = len(baseline) == len(setup.scoring), len(setup.split.test)
        level = look_level(setup.next_look().number)
        checked = check_event(event, n_test=n_test, noise=json_of(noise), whole=whole, level=level)
        unmet = sum(rollout.job.example in setup.labels.unmet for rollout in baseline) / len(baseline)
        told, sentence = list(checked.warnings), checked.sentence
        if event.zero:
            shown = examples_text(setup.program, setup.metric, baseline, setup.split.rows, event.zero["examples"])
            told = [f"{warning} {shown}" for warning in told]
            sentence = f"{sentence} {shown}"
        warnings = [*setup.labels.warnings, *told]
        found = {**to_json(checked), "sentence": sentence}
        return {**found, "held_out": n_test, "level": level, "unmet": unmet, "warnings": warnings}

    def _lms(self) -> list[LM]:
        judge = self.setup.metric.judge_lm
        extra = [lm for lm in (self.strong, judge) if lm is not None]
        return [*self.setup.task.all, *self.setup.teacher.all, self.setup.proposer, *extra]


def _numbers(checked: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("stop", "mean", "low", "high", "n", "unparseable", "smallest_detectable", "chance")
    warnings = tuple(checked["warnings"])
    return {**{name: checked[name] for name in kept}, "unmeetable": checked.get("unmeetable"), "warnings": warnings}


def _nothing_more(checked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is found where no prompt can score: nothing else is worth a call."""
    parts = ("strong", "demos", "instructions")
    return {
        **_numbers(checked),
        "sentence": checked["sentence"],
        "noise": None,
        **dict.fromkeys(parts),
        "promising": None,
        "missing": dict.fromkeys(("noise", *parts), "no prompt can score"),
    }


def prepare_check(
    config: StudyConfig, optimizer: Optimizer, strong_lm: LM | str | None = None, confirm: Confirm | None = None
) -> CheckRun:
    """Resolve and check everything that a check needs; nothing is called or written.

    Raises:
        UserError: as ``lt.check`` would.
    """
    budget = DEFAULT if config.budget is None else config.budget
    setup = prepare(replace(config, budget=budget), optimizer)
    strong = None if strong_lm is None else resolve(strong_lm, setup.program.predictors, alone=True).default
    if strong is not None:
        strong.check(dollars=budget.usd is not None, tokens=budget.tokens is not None)
    return CheckRun(setup, strong, budget, look_for(setup, strong, budget), confirm)
