"""``lt.check`` and ``lt.acheck``: is a program worth tuning, with these data and for this LM?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.budget import TOTAL, Budget
from luthier.errors import UserError
from luthier.evaluation.api import ledger_for
from luthier.evaluation.evaluator import Evaluator
from luthier.evaluation.opening import ExecutorChoice, opened
from luthier.evaluation.rollout import Rollout, outcome_json
from luthier.evaluation.running import run_sync
from luthier.evaluation.stats import look_level
from luthier.evaluation.unmetered import UnmeteredWatch
from luthier.lm.gateway import Gateway
from luthier.lm.lm import LM
from luthier.lm.request import Usage, total_usage
from luthier.optimizers.line import Confirm
from luthier.optimizers.setup import Setup
from luthier.optimizers.starts import Start
from luthier.optimizers.unmeetable import examples_text, zero_baseline
from luthier.optimizers.worth import check_event, noise_key
from luthier.program.lms import LMChoice, resolve
from luthier.program.program import Tunable
from luthier.study.directory import StudyDirectory
from luthier.tuning import open_store, setup_of
from luthier.weigh.advice import Promising, advice, more_promising
from luthier.weigh.look import DEFAULT, Look, look_for, plan_of
from luthier.weigh.probes import Gain, Noise, Probes, json_of, scores_of


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


def check(  # noqa: PLR0913 - what ``optimize`` would be given, and a stronger LM
    program: Callable[..., Any],
    data: Any,
    metric: Callable[..., Any],
    *,
    lm: LMChoice | None = None,
    strong_lm: LM | str | None = None,
    proposer_lm: LM | str | None = None,
    teacher_lm: LM | str | None = None,
    budget: Budget | None = None,
    start: Sequence[Start] = (),
    study_dir: str | Path | None = None,
    seed: int = 0,
    concurrency: int = 64,
    inputs: Sequence[str] | None = None,
    group: str | None = None,
    split_seed: int = 0,
    sizes: tuple[int, int, int] | None = None,
    predictors: Sequence[Tunable] | None = None,
    store: str | Path | None = None,
    executor: ExecutorChoice = None,
    confirm: Confirm | None = None,
) -> Check:
    """Look, before money is spent on a study, at what there is to win; for little, and never more than the cap.

    Give it what ``optimize`` will be given: answers are kept in the same store, so the study pays for none again.

    Args:
        program: as for ``optimize``, like data, metric, and all that is not named here.
        data: the same data, which are cut in the same way.
        metric: the same metric.
        lm: runs the program.
        strong_lm: a stronger LM, for the ceiling: what the original prompts score with it.
        proposer_lm: writes the one instruction per predictor that is tried.
        teacher_lm: makes the demonstrations that are tried.
        budget: the cap; 400 LM calls where None. The look is made as large as fits.
        start: what is deployed today, in place of the program's own prompts.
        study_dir: where the study will be kept; the check shares its store.
        seed: of the choice of examples.
        concurrency: rollouts in flight at most.
        inputs: columns that feed the program.
        group: a column whose equal values stay together.
        split_seed: of the split.
        sizes: of the split.
        predictors: the predictors to tune.
        store: a shared store.
        executor: where the examples run.
        confirm: is shown the plan before the first paid call; False stops there.

    Raises:
        UserError: something cannot be used, the plan was declined, or the cap is too small for any look.
        StudyPaused: infrastructure failed.
        BudgetExhausted: the cap ended the look before the original was measured.
        ProgramFailed: user code failed.
    """
    ready = _ready(dict(locals()))
    return run_sync(ready.run, on_interrupt=ready.stop)


async def acheck(  # noqa: PLR0913 - the twin of ``check``
    program: Callable[..., Any],
    data: Any,
    metric: Callable[..., Any],
    *,
    lm: LMChoice | None = None,
    strong_lm: LM | str | None = None,
    proposer_lm: LM | str | None = None,
    teacher_lm: LM | str | None = None,
    budget: Budget | None = None,
    start: Sequence[Start] = (),
    study_dir: str | Path | None = None,
    seed: int = 0,
    concurrency: int = 64,
    inputs: Sequence[str] | None = None,
    group: str | None = None,
    split_seed: int = 0,
    sizes: tuple[int, int, int] | None = None,
    predictors: Sequence[Tunable] | None = None,
    store: str | Path | None = None,
    executor: ExecutorChoice = None,
    confirm: Confirm | None = None,
) -> Check:
    """Do what ``check`` does on the caller's event loop.

    Raises:
        LuthierError: as ``check``.
    """
    return await _ready(dict(locals())).run()


def plan_check(program: Callable[..., Any], data: Any, metric: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Return the plan of the check with these arguments; nothing is called or written.

    Raises:
        UserError: as ``check`` would.
    """
    ready = _ready({"program": program, "data": data, "metric": metric, **arguments})
    return plan_of(ready.setup, ready.strong, ready.look, ready.budget)


@dataclass(slots=True)
class _Ready:
    """A check with everything resolved."""

    setup: Setup
    strong: LM | None
    budget: Budget
    look: Look
    confirm: Confirm | None
    gateway: Gateway | None = None

    def stop(self) -> None:
        if self.gateway is not None:
            self.gateway.stop()

    async def run(self) -> Check:
        setup = self.setup
        plan = plan_of(setup, self.strong, self.look, self.budget)
        if self.confirm is not None and not self.confirm(plan):
            raise UserError("stopped at the plan; nothing was spent")
        with ExitStack() as closing:
            directory = StudyDirectory(setup.study_dir)
            if setup.settings.store is None:
                directory.prepare()
            store = open_store(setup.settings.store or directory.store)
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
            evaluator.executor = closing.enter_context(opened(setup.settings.executor))
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
        event = {
            "mean": sum(rollout.value for rollout in baseline) / len(baseline),
            "outcomes": [outcome_json(rollout) for rollout in baseline],
            **zero_baseline(setup.program, setup.metric, baseline, setup.split.rows),
        }
        whole, n_test = len(baseline) == len(setup.scoring), len(setup.split.test)
        level = look_level(setup.next_look().number)
        found = check_event(event, n_test=n_test, noise=json_of(noise), whole=whole, level=level)
        unmet = sum(rollout.job.example in setup.labels.unmet for rollout in baseline) / len(baseline)
        told = list(found.get("warnings", ()))
        if zero := event.get("zero"):
            shown = examples_text(setup.program, setup.metric, baseline, setup.split.rows, zero["examples"])
            told = [f"{warning} {shown}" for warning in told]
            found["sentence"] = f"{found['sentence']} {shown}"
        warnings = [*setup.labels.warnings, *told]
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


def _ready(given: dict[str, Any]) -> _Ready:
    strong, budget, confirm = given.pop("strong_lm", None), given.pop("budget", None), given.pop("confirm", None)
    budget = DEFAULT if budget is None else budget
    setup = setup_of(given.pop("program"), given.pop("data"), given.pop("metric"), budget=budget, **given)
    lm = None if strong is None else resolve(strong, setup.program.predictors, alone=True).default
    if lm is not None:
        lm.check(dollars=budget.usd is not None, tokens=budget.tokens is not None)
    return _Ready(setup, lm, budget, look_for(setup, lm, budget), confirm)
