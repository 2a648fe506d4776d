"""``lt.optimize`` and ``lt.aoptimize``: from a program, data, and a metric to a verdict."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from luthier.budget import Budget, Ledger
from luthier.errors import ConfigError
from luthier.evaluation.opening import ExecutorChoice, opened
from luthier.evaluation.running import run_sync
from luthier.lm.gateway import Gateway
from luthier.lm.lm import LM
from luthier.lm.refusals import Refusal, Refusals
from luthier.lm.request import Usage
from luthier.lm.store import Store
from luthier.optimizers.line import Confirm, Line
from luthier.optimizers.optimizer import Auto, Optimizer
from luthier.optimizers.session import Session
from luthier.optimizers.setup import Settings, Setup, prepare
from luthier.optimizers.verdict import Decision, Verdict, stopped_event
from luthier.program.bind import bind
from luthier.program.candidate import Candidate
from luthier.program.lms import LMChoice
from luthier.program.program import Program, Tunable
from luthier.report import write_report
from luthier.report.spending import by_lm
from luthier.report.summary import unfolded
from luthier.study.study import Study
from luthier.watching import watched

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
        return all(event["event"] != "verdict" for event in self.events)

    @property
    def usage_by_lm(self) -> dict[str, Usage]:
        """What the study asked for, stored answers included, by the LM's identity."""
        return {
            identity: Usage(part.prompt_tokens, part.completion_tokens, part.cached_tokens, part.calls)
            for identity, part in by_lm(unfolded(self.events)).items()
        }

    def _repr_html_(self) -> str:
        from luthier.report.cards import result_card

        return str(result_card(self.verdict, self.candidate, self.best, self.study_dir, self.report))

    def __repr__(self) -> str:
        return f"Result({self.decision!r}: {self.verdict.sentence!r}, study_dir={str(self.study_dir)!r})"


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
) -> Result[ProgramT]:
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
    setup = _prepare(locals())
    gateways: list[Gateway] = []

    def interrupt() -> None:
        for gateway in gateways:
            gateway.stop()

    return run_sync(lambda: _run(setup, program, on_event, confirm, gateways.append), on_interrupt=interrupt)


async def aoptimize(  # noqa: PLR0913 - the twin of ``optimize``
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
) -> Result[ProgramT]:
    """Do what ``optimize`` does on the caller's event loop; see there for arguments and errors."""
    return await _run(_prepare(locals()), program, on_event, confirm, lambda gateway: None)


def setup_of(program: Callable[..., Any], data: Any, metric: Callable[..., Any], **arguments: Any) -> Setup:
    """Return what ``optimize`` would work with, resolved and checked; nothing is called or written.

    Raises:
        UserError: as ``optimize`` would.
    """
    given = {"program": program, "data": data, "metric": metric, **arguments}
    return _prepare({**_DEFAULTS, **given})


def plan(program: Callable[..., Any], data: Any, metric: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Return the plan of the study that ``optimize`` would run with these arguments; nothing is called or written.

    Raises:
        UserError: as ``optimize`` would.
    """
    setup = setup_of(program, data, metric, **arguments)
    cost = setup.guessed_cost()
    return setup.plan(setup.facts(cost), cost)


_DEFAULTS: dict[str, Any] = {**(optimize.__kwdefaults__ or {})}


def _prepare(given: Mapping[str, Any]) -> Setup:
    study_dir = given["study_dir"]
    settings = Settings(
        auto=given["auto"],
        budget=given["budget"],
        study_dir=None if study_dir is None else Path(study_dir),
        seed=given["seed"],
        split_seed=given["split_seed"],
        sizes=given["sizes"],
        concurrency=given["concurrency"],
        inputs=given["inputs"],
        group=given["group"],
        launch=given["launch"],
        start=given["start"],
        store=_store_path(given["store"]),
        looks=None if given["looks"] is None else Path(given["looks"]).expanduser(),
        anyway=given["anyway"],
        code_changed=given["code_changed"],
        executor=given["executor"],
    )
    return prepare(
        given["program"],
        given["data"],
        given["metric"],
        lms={"task": given["lm"], "teacher": given["teacher_lm"], "proposer": given["proposer_lm"]},
        optimizer=given["optimizer"],
        predictors=given["predictors"],
        predictor_metrics=given["predictor_metrics"] or {},
        settings=settings,
    )


def _store_path(store: str | Path | None) -> Path | None:
    named = store if store is not None else os.environ.get("LUTHIER_STORE") or None
    return None if named is None else Path(named).expanduser()


async def _run(
    setup: Setup,
    program: ProgramT,
    on_event: Callable[[Mapping[str, Any]], None] | None,
    confirm: Confirm | None,
    told: Callable[[Gateway], None],
) -> Result[ProgramT]:
    with ExitStack() as closing:
        accept = ("versions", "launch", *(("code",) if setup.settings.code_changed else ()))
        sessions: list[Session] = []

        def tell(event: Mapping[str, Any]) -> None:
            if not event.get("transient"):
                for session in sessions:
                    session.save()
            if on_event is not None:
                on_event(event)

        free = ("split", "plan", "refused")
        study = Study.open(setup.study_dir, setup.manifest, on_event=tell, accept=accept, free=free)
        closing.callback(study.close)
        closing.enter_context(watched("study", directory=study.directory, events=study.events))
        if study.finished and not _met_at_run_time(study):
            return _result(setup, study, setup.program, program)
        store = open_store(setup.settings.store or study.store_path)
        closing.callback(store.close)
        budget = setup.settings.budget
        session = Session(store, setup.study_id, None if budget is None else budget.seconds)
        sessions.append(session)
        closing.callback(session.save)
        limits = {} if budget is None else budget.limits
        ledger = Ledger(limits, spent=store.spent(setup.study_id), deadline=session.clock.left)
        refusals = _refusals(study)
        gateway = session.gateway = Gateway(store=store, ledger=ledger, study=setup.study_id, refusals=refusals)
        closing.callback(gateway.close)
        told(gateway)
        executor = closing.enter_context(opened(setup.settings.executor))
        line = Line(
            setup, study, gateway, ledger, session.clock, store, confirm, executor, listening=on_event is not None
        )
        tuned = await line.tuned_program() if study.finished else await line.run()
        return _result(setup, study, tuned, program, line.shown)


def _refusals(study: Study) -> Refusals:
    """Return what the study has learned of parameters that servers refuse; new ones are written to its journal."""
    loop = asyncio.get_running_loop()

    async def write(refusal: Refusal) -> None:
        study.append("refused", {**refusal.to_json(), "warnings": [refusal.sentence]})

    async def record(refusal: Refusal) -> None:  # on the engine's loop
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(write(refusal), loop))

    known = [event for event in study.events if event["event"] == "refused"]
    return Refusals([Refusal(e["lm"], e["name"], e["parameter"], e["instead"]) for e in known], record)


def open_store(path: Path) -> Store:
    """Open a store, in a folder that is made if need be.

    Raises:
        ConfigError: the folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write the store {path}: {error.strerror or error}") from error
    return Store(path)


def _met_at_run_time(study: Study) -> bool:
    """Whether some of the program's predictors can only be found by running it."""
    return any(event["event"] == "baseline" and event["predictors"]["met"] for event in study.events)


def _result(setup: Setup, study: Study, tuned: Program, program: ProgramT, shown: str = "") -> Result[ProgramT]:
    whole = setup.program.with_components(tuned.components)
    events = tuple(study.events)
    by_name = {event["event"]: event for event in events}
    verdict = Verdict.from_json(by_name["verdict"] if "verdict" in by_name else stopped_event(by_name["check"], shown))
    best = Candidate.from_json(by_name["choice"]["candidate"]) if "choice" in by_name else whole.original
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
        events=events,
    )
