"""The public functions: tune a program, evaluate it, check what there is to win, compare prompts or LMs.

Each is defined once, as what prepares the work (``@blocking``); its async twin runs the same work on the caller's loop.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from luthier.budget import Budget
from luthier.evaluation.opening import ExecutorChoice
from luthier.evaluation.ready import evaluated, prepare_evaluation
from luthier.evaluation.rollout import Evaluation
from luthier.evaluation.running import Work, awaitable, blocking
from luthier.lm.lm import LM
from luthier.lm.request import Usage
from luthier.lm.store import Store
from luthier.optimizers.registry import optimizer_named
from luthier.program.bind import bind
from luthier.program.candidate import Candidate
from luthier.program.lms import LMChoice
from luthier.program.program import Tunable
from luthier.report import write_report
from luthier.report.spending import by_lm
from luthier.report.summary import unfolded
from luthier.runner.check.check import Check, CheckRun, prepare_check
from luthier.runner.compare import Comparison, compared, prepare_comparison
from luthier.runner.config import Confirm, Setup, StudyConfig, prepare
from luthier.runner.facts import Auto
from luthier.runner.optimizer import Optimizer
from luthier.runner.session import Ended, Session
from luthier.runner.starts import Start
from luthier.runner.verdict import Decision, Verdict, stopped_event
from luthier.study.events import CheckEvent, ChoiceEvent, VerdictEvent, event_of, first, read_all, to_json

ProgramT = TypeVar("ProgramT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Result(Generic[ProgramT]):
    """What a study found.

    ``candidate`` and ``program`` are the recommended ones: the original's, or what ``start=`` says is deployed today,
    unless the decision is ``"adopt"``.
    """

    decision: Decision
    verdict: Verdict
    candidate: Candidate
    program: ProgramT
    """The user's program with ``candidate`` bound to it, ready to deploy."""
    best: Candidate
    """The best candidate found, whatever the verdict."""
    study_dir: Path
    report: Path
    events: tuple[Mapping[str, Any], ...]
    """The journal."""

    @property
    def stopped(self) -> bool:
        """Whether the study ended with its check, nothing to win or no way to; ``anyway=True`` goes on."""
        return first(read_all(self.events), VerdictEvent) is None

    @property
    def usage_by_lm(self) -> dict[str, Usage]:
        """What the study asked for, stored answers included, by the LM's identity."""
        return {
            identity: Usage(part.prompt_tokens, part.completion_tokens, part.cached_tokens, part.calls)
            for identity, part in by_lm(unfolded(read_all(self.events))).items()
        }

    def _repr_html_(self) -> str:
        from luthier.report.cards import result_card

        return str(result_card(self.verdict, self.candidate, self.best, self.study_dir, self.report))

    def __repr__(self) -> str:
        return f"Result({self.decision!r}: {self.verdict.sentence!r}, study_dir={str(self.study_dir)!r})"


@blocking
def optimize(  # noqa: PLR0913 - the public contract's names, all but three by keyword
    program: ProgramT,
    data: Any,
    metric: Callable[..., Any],
    *,
    lm: LMChoice | None = None,
    proposer_lm: LM | str | None = None,
    teacher_lm: LM | str | None = None,
    optimizer: str | Optimizer = "mipro",
    auto: Auto | int | None = None,
    budget: Budget | None = None,
    study_dir: str | Path | None = None,
    seed: int = 0,
    concurrency: int = 64,
    inputs: Sequence[str] | None = None,
    group: str | None = None,
    split_seed: int = 0,
    sizes: tuple[int, int, int] | None = None,
    predictors: Sequence[Tunable] | None = None,
    predictor_metrics: Mapping[str, Callable[..., Any]] | None = None,
    start: Sequence[Candidate | str | Path] = (),
    store: str | Path | None = None,
    looks: str | Path | None = None,
    on_event: Callable[[Mapping[str, Any]], None] | None = None,
    confirm: Confirm | None = None,
    launch: Mapping[str, Any] | None = None,
    anyway: bool = False,
    code_changed: bool = False,
    executor: ExecutorChoice = None,
) -> Work[Result[ProgramT]]:
    """Tune a program's instructions and demonstrations, jointly, and prove the gain on held-out examples.

    Run again with the same arguments, it continues where it stopped, or returns the finished result.

    Args:
        program: a function, sync or async, that calls predictors.
        data: one data set, split for you, or ``lt.Splits``; a list of mappings, a JSONL, CSV or Parquet path, a
            pandas or polars frame, or a Hugging Face data set.
        metric: ``metric(example, prediction)`` or ``(example, prediction, trace)``; a bool, a float in [0, 1],
            or an ``lt.Score``.
        lm: runs the program; an ``lt.LM`` or its name, or a mapping by predictor's name with ``"*"`` for all others.
            A predictor is answered by the LM named for it, else by its own ``lm=``, else by the run's.
        proposer_lm: writes instructions; the run's LM (``"*"``) where None.
        teacher_lm: makes demonstrations, answering every predictor; each its own where None.
        optimizer: a name such as ``"mipro"`` or ``"mipro/paper"``, or a settings object such as ``lt.MIPRO(...)``.
        auto: how much to search: ``"light"``, ``"medium"`` or ``"heavy"``, or a number of program runs, the paper's
            unit (bootstrapping, proposals, baseline, and verdict come on top); None takes what the budget allows.
        budget: limits that hold over all LMs together, resumes included.
        study_dir: where the study is kept; ``runs/<program>`` where None.
        seed: of the search; the same seed, the same study.
        concurrency: rollouts in flight at most; one on an embedded LM.
        inputs: columns that feed the program, where names alone do not say.
        group: a column whose equal values are kept on one side of every split.
        split_seed: of the split, apart from ``seed``.
        sizes: exact sizes of train, validation, and test.
        predictors: the predictors to tune; found by reading the program where None.
        predictor_metrics: by predictor's name, a metric of its own answer, ``metric(example, answer)``: it says which
            predictor failed. Predictors of closed types whose output has a column's name need none.
        start: prompts to tune again: candidates, directories of saved prompts or of studies, or ``"original"``. The
            first is what is deployed today, and what the verdict compares with; all are scored before anything new.
        store: a file of answers shared with other studies, which then pay for no answer twice; ``LUTHIER_STORE`` or
            the study's own where None.
        looks: a small file in which looks at the same test examples are counted across studies, as hashes; each
            further look takes a wider interval. ``LUTHIER_LOOKS`` or one in the user's data directory where None;
            a shared store counts them, too.
        on_event: gets every journal event, and transient ones marked so; an error it raises pauses the study.
        confirm: is shown the plan before the first paid call; False stops there.
        launch: how to start the study again from the command line.
        anyway: search although the baseline leaves nothing to win, where the study would stop: ``"keep"``, and why.
        code_changed: continue a study although the program's or the metric's code is another now.
        executor: where the program runs: in this process, or ``"ray"``: on a cluster's workers, everything else
            staying here. It may be another one when the study is continued.

    Raises:
        UserError: an argument, the data, the metric, or the program cannot be used; nothing was spent.
        StudyPaused: infrastructure failed; run again to resume.
        BudgetExhausted: the budget ended before the verdict.
        ProgramFailed: user code failed.
    """
    setup = prepare(
        StudyConfig(
            program=program,
            data=data,
            metric=metric,
            lm=lm,
            proposer_lm=proposer_lm,
            teacher_lm=teacher_lm,
            auto=auto,
            budget=budget,
            study_dir=study_dir,
            seed=seed,
            concurrency=concurrency,
            inputs=inputs,
            group=group,
            split_seed=split_seed,
            sizes=sizes,
            predictors=predictors,
            predictor_metrics=predictor_metrics,
            start=start,
            store=store,
            looks=looks,
            launch=launch,
            anyway=anyway,
            code_changed=code_changed,
            executor=executor,
        ),
        optimizer_named(optimizer),
    )
    session = Session(setup, on_event, confirm)

    async def run() -> Result[ProgramT]:
        return _result(setup, await session.run(), program)

    return Work(run, session.stop)


@blocking
def evaluate(  # noqa: PLR0913 - the public contract: three things to evaluate, and by-name settings
    program: Callable[..., Any],
    data: Any,
    metric: Callable[..., Any],
    *,
    lm: LMChoice,
    candidate: Candidate | None = None,
    concurrency: int = 64,
    repeats: int = 1,
    budget: Budget | None = None,
    inputs: Sequence[str] | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    executor: ExecutorChoice = None,
) -> Work[Evaluation]:
    """Run a program on every example of a data set and score it.

    Ctrl-C stops new LM calls, gives those in flight 1.5 seconds, and raises ``KeyboardInterrupt``.

    Args:
        program: a function, sync or async, that calls predictors.
        data: mappings, a JSONL / JSON / CSV / TSV / Parquet path, a pandas or polars frame, or a Hugging Face data set.
        metric: ``metric(example, prediction)`` or ``metric(example, prediction, trace)``.
        lm: who answers: one LM, or a mapping by predictor's name with ``"*"`` for all others.
        candidate: the prompts; the original ones where left out.
        concurrency: how many examples run at one time.
        repeats: how often each example runs.
        budget: what this may cost at most.
        inputs: the columns that feed the program, where names alone do not decide.
        store: a store, or its path; answers in it are not asked for again. ``LUTHIER_STORE`` where left out.
        executor: where the examples run: in this process, or ``"ray"``: on a cluster's workers.

    Raises:
        UserError: the program, data, metric, LM, or candidate cannot be used; nothing was spent.
        ProgramFailed: the metric raised, or the program did in the very first rollout.
        RequestRejected, StudyPaused: no call can go on; the latter where access is denied or the server is dead.
        BudgetExhausted: the next call does not fit the budget.
    """
    ready = prepare_evaluation(program, data, metric, lm, concurrency, budget, inputs, store, executor)
    return Work(lambda: ready.run(functools.partial(evaluated, ready, candidate, repeats)), ready.gateway.stop)


@blocking
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
) -> Work[Check]:
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
    run = _check_run(
        StudyConfig(
            program=program,
            data=data,
            metric=metric,
            lm=lm,
            proposer_lm=proposer_lm,
            teacher_lm=teacher_lm,
            budget=budget,
            study_dir=study_dir,
            seed=seed,
            concurrency=concurrency,
            inputs=inputs,
            group=group,
            split_seed=split_seed,
            sizes=sizes,
            predictors=predictors,
            start=start,
            store=store,
            executor=executor,
        ),
        strong_lm,
        confirm,
    )
    return Work(run.run, run.stop)


@blocking
def compare(  # noqa: PLR0913 - as ``evaluate``, and what is compared
    program: Callable[..., Any],
    data: Any,
    metric: Callable[..., Any],
    *,
    lm: LMChoice | None = None,
    lms: Mapping[str, LMChoice] | None = None,
    candidates: Mapping[str, Start] | None = None,
    concurrency: int = 64,
    repeats: int = 1,
    budget: Budget | None = None,
    inputs: Sequence[str] | None = None,
    group: str | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    executor: ExecutorChoice = None,
) -> Work[Comparison]:
    """Compare prompts, or LMs, on the same examples: paired differences with intervals.

    Several candidates on one LM are compared with the first of them; so they are on each of several LMs ("does my
    prompt still win on model B?"); one candidate on several LMs is compared with itself on the first of them. With
    more than one difference, each has an interval at a level of 1 - 0.05 / their number.

    Args:
        program: a function, sync or async, that calls predictors.
        data: one data set, as ``evaluate`` takes it; better one that no study has learnt from.
        metric: as ``evaluate`` takes it.
        lm: who answers.
        lms: by name, several to compare, instead of ``lm``.
        candidates: by name: a candidate, a directory of saved prompts or of a study, or ``"original"``.
        concurrency: how many examples run at one time.
        repeats: how often each example runs.
        budget: what this may cost at most.
        inputs: the columns that feed the program, where names alone do not decide.
        group: a column whose equal values belong together; groups are resampled whole.
        store: a store, or its path; answers in it are not asked for again. ``LUTHIER_STORE``, or else the memory of
            this comparison, where left out.
        executor: where the examples run, as ``evaluate`` has it.

    Raises:
        UserError: something cannot be used, or there is nothing to compare; nothing was spent.
        StudyPaused: no example got a score from both sides.
        LuthierError: as ``evaluate``.
    """
    named, ready = prepare_comparison(
        program, data, metric, lm, lms, concurrency, budget, inputs, group, store, executor
    )
    return Work(lambda: ready.run(lambda: compared(ready, named, candidates, repeats)), ready.gateway.stop)


aoptimize = awaitable(optimize)
aevaluate = awaitable(evaluate)
acheck = awaitable(check)
acompare = awaitable(compare)


def plan(
    program: Callable[..., Any],
    data: Any,
    metric: Callable[..., Any],
    *,
    optimizer: str | Optimizer = "mipro",
    **arguments: Any,
) -> dict[str, Any]:
    """Return the plan of the study that ``optimize`` would run with these arguments; nothing is called or written.

    Raises:
        UserError: as ``optimize`` would.
    """
    setup = prepare(StudyConfig(program=program, data=data, metric=metric, **arguments), optimizer_named(optimizer))
    cost = setup.guessed_cost()
    return setup.plan(setup.facts(cost), cost)


def plan_check(
    program: Callable[..., Any],
    data: Any,
    metric: Callable[..., Any],
    *,
    strong_lm: LM | str | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """Return the plan of the check with these arguments; nothing is called or written.

    Raises:
        UserError: as ``check`` would.
    """
    return _check_run(StudyConfig(program=program, data=data, metric=metric, **arguments), strong_lm).plan


def _check_run(config: StudyConfig, strong_lm: LM | str | None, confirm: Confirm | None = None) -> CheckRun:
    return prepare_check(config, optimizer_named("mipro"), strong_lm, confirm)


def _result(setup: Setup, ended: Ended, program: ProgramT) -> Result[ProgramT]:
    study = ended.study
    whole = setup.program.with_components(ended.program.components)
    events, choice = study.events, first(study.events, ChoiceEvent)
    verdict = Verdict.of(first(events, VerdictEvent) or stopped_event(event_of(events, CheckEvent), ended.shown))
    best = whole.original if choice is None else Candidate.from_json(choice.candidate)
    recommended = best if verdict.decision == "adopt" else whole.original
    recommended.save(study.directory / "prompts")
    return Result(
        decision=verdict.decision,
        verdict=verdict,
        candidate=recommended,
        program=cast(ProgramT, bind(program, lm=setup.task, candidate=recommended, predictors=whole.components)),
        best=best,
        study_dir=study.directory,
        report=write_report(study.directory, events),
        events=tuple(to_json(event) for event in events),
    )
