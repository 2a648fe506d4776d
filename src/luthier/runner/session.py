"""One session of a study: everything it needs is opened, its steps are run, and all is closed again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from luthier.budget import Ledger
from luthier.errors import ConfigError
from luthier.evaluation.opening import opened
from luthier.lm.gateway import Gateway
from luthier.lm.refusals import Refusal, Refusals
from luthier.lm.store import Store
from luthier.program.program import Program
from luthier.runner.config import Confirm, Setup
from luthier.runner.reserve import Clock
from luthier.runner.study_runner import StudyRunner
from luthier.study.events import BaselineEvent, RefusedEvent, every, to_json
from luthier.study.study import Study
from luthier.watching import watched

OnEvent: TypeAlias = Callable[[Mapping[str, Any]], None]

_FREE_OF_ORDER = ("split", "plan", "refused")
_MAY_CHANGE = ("versions", "launch")


@dataclass(frozen=True, slots=True)
class Ended:
    """A study that came to its end."""

    study: Study
    """Closed; its events can be read."""
    program: Program
    """With the predictors that were tuned."""
    shown: str = ""
    """A few predictions beside their labels, where the original scores 0 throughout."""


@dataclass(slots=True)
class Session:
    """One session of a study.

    Args:
        setup: the study.
        on_event: gets every event.
        confirm: is shown the plan before the first paid call; False stops there.
    """

    setup: Setup
    on_event: OnEvent | None = None
    confirm: Confirm | None = None
    _gateway: Gateway | None = None
    _record: Record | None = None

    def stop(self) -> None:
        """Stop new LM calls, and give those in flight a moment; on any thread."""
        if self._gateway is not None:
            self._gateway.stop()

    async def run(self) -> Ended:
        """Run the study, or what is left of it.

        Raises:
            LuthierError: as ``lt.optimize``.
        """
        setup = self.setup
        with ExitStack() as closing:
            accept = (*_MAY_CHANGE, *(("code",) if setup.config.code_changed else ()))
            study = Study.open(setup.study_dir, setup.manifest, on_event=self._tell, accept=accept, free=_FREE_OF_ORDER)
            closing.callback(study.close)
            closing.enter_context(
                watched("study", directory=study.directory, events=[to_json(event) for event in study.events])
            )
            if study.finished and not _met_at_run_time(study):
                return Ended(study, setup.program)
            store = open_store(setup.config.shared_store or study.store_path)
            closing.callback(store.close)
            budget = setup.config.budget
            record = self._record = Record(store, setup.study_id, None if budget is None else budget.seconds)
            closing.callback(record.save)
            limits = {} if budget is None else budget.limits
            ledger = Ledger(limits, spent=store.spent(setup.study_id), deadline=record.clock.left)
            gateway = Gateway(store=store, ledger=ledger, study=setup.study_id, refusals=_refusals(study))
            self._gateway = record.gateway = gateway
            closing.callback(gateway.close)
            executor = closing.enter_context(opened(setup.config.executor))
            runner = StudyRunner(
                setup,
                study,
                gateway,
                ledger,
                record.clock,
                store,
                self.confirm,
                executor,
                listening=self.on_event is not None,
            )
            program = await runner.tuned_program() if study.finished else await runner.run()
            return Ended(study, program, runner.shown)

    def _tell(self, event: Mapping[str, Any]) -> None:
        if self._record is not None and not event.get("transient"):
            self._record.save()
        if self.on_event is not None:
            self.on_event(event)


@dataclass(slots=True)
class Record:
    """What a study keeps outside its journal, because interruptions change it: time taken, and faults met.

    It is saved at every event, so a kill gives nothing back.
    """

    store: Store
    study_id: str
    seconds: float | None
    """The limit on a study's time, over all sessions."""
    clock: Clock = field(init=False)
    gateway: Gateway | None = None
    faults_before: dict[str, int] = field(init=False)
    """Faults that earlier sessions met, by kind."""

    def __post_init__(self) -> None:
        before = self.store.value(f"elapsed/{self.study_id}")
        self.clock = Clock(self.seconds, before=float(before or 0.0))
        self.faults_before = dict(self.store.value(f"faults/{self.study_id}") or {})

    def save(self) -> None:
        """Write down the time and the faults so far."""
        self.store.set_value(f"elapsed/{self.study_id}", self.clock.elapsed)
        now = {} if self.gateway is None else self.gateway.faults
        if now:
            kinds = sorted({*self.faults_before, *now})
            total = {kind: self.faults_before.get(kind, 0) + now.get(kind, 0) for kind in kinds}
            self.store.set_value(f"faults/{self.study_id}", total)


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


def _refusals(study: Study) -> Refusals:
    """Return what the study has learned of parameters that servers refuse; new ones are written to its journal."""
    loop = asyncio.get_running_loop()

    async def write(refusal: Refusal) -> None:
        study.append(
            RefusedEvent(
                lm=refusal.lm,
                lm_name=refusal.name,
                parameter=refusal.parameter,
                instead=refusal.instead,
                warnings=[refusal.sentence],
            )
        )

    async def record(refusal: Refusal) -> None:  # on the engine's loop
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(write(refusal), loop))

    known = every(study.events, RefusedEvent)
    return Refusals([Refusal(e.lm, e.lm_name, e.parameter, e.instead) for e in known], record)


def _met_at_run_time(study: Study) -> bool:
    """Whether some of the program's predictors can only be found by running it."""
    return any(event.predictors["met"] for event in every(study.events, BaselineEvent))
