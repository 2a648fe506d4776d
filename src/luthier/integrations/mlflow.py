"""MLflow: a study as a run, with its parameters, its metrics by trial, its prompts, and its report."""

from __future__ import annotations

import contextvars
import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from luthier._version import __version__
from luthier.canonical import canonical_json, content_hash
from luthier.errors import ConfigError, StudyPaused
from luthier.integrations.logged import last_step, parameters, points, verdict_of
from luthier.report import write_report
from luthier.report.paid import STORE, paid
from luthier.report.spending import total
from luthier.report.summary import summary
from luthier.study.events import (
    BaselineEvent,
    ClosingEvent,
    DoneEvent,
    Event,
    ManifestEvent,
    StartsEvent,
    TellEvent,
    first,
    read,
    read_all,
    to_json,
)
from luthier.study.journal import read_journal
from luthier.watching import watching

_log = logging.getLogger("luthier")

RUN_FILE = "mlflow.json"
"""In the study's directory: which run it is, and how much of the journal is logged there."""
_PATIENCE = 30.0
"""Seconds that the end of the block waits for a slow server; the rest is logged when the study is run again."""
_AT_ONCE = 500
_WITH_A_BILL = (TellEvent, StartsEvent, ClosingEvent, BaselineEvent, DoneEvent)


class tracking:  # noqa: N801 - used as a function is: ``with tracking() as listener``
    """Log the studies of a block to MLflow: ``with tracking() as listener: lt.optimize(..., on_event=listener)``.

    A study that is resumed goes on in the run it began. Logging is done in a thread of its own: a slow or broken
    server delays no study and breaks none; what it did not take is logged when the study is run again.

    Args:
        uri: the tracking server; what MLflow itself would take (``MLFLOW_TRACKING_URI``, ``set_tracking_uri``) where
            left out.
        experiment: its name, made if need be; ``MLFLOW_EXPERIMENT_NAME`` or "luthier" where left out.
        run_id: log into this run, which stays open; the active run of ``mlflow.start_run()`` where there is one.
        run_name: of a new run; the study's directory where left out.

    Raises:
        ConfigError: MLflow is not installed.
    """

    def __init__(
        self,
        uri: str | None = None,
        *,
        experiment: str | None = None,
        run_id: str | None = None,
        run_name: str | None = None,
    ) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise ConfigError("MLflow is not installed: pip install 'luthier[mlflow]'") from error
        active = mlflow.active_run()
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self._wanted = _Wanted(
            run_id or (active.info.run_id if active is not None else None),
            experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "luthier",
            run_name,
        )
        self._current: contextvars.ContextVar[_Run | None] = contextvars.ContextVar("luthier_mlflow", default=None)
        self._runs: list[_Run] = []
        self._open = ExitStack()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take an event of the study that runs in this context."""
        if (run := self._current.get()) is not None and not event.get("transient"):
            run.take(read(event))

    def __enter__(self) -> Self:
        self._open.enter_context(watching(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        end = time.monotonic() + _PATIENCE
        for run in self._runs:
            run.leave("KILLED")  # a study that Ctrl-C left behind never said so
            run.wait(end - time.monotonic())

    def begin(self, kind: str, facts: dict[str, Any]) -> Any:
        """Begin a run with a study, or go on with the run it has."""
        if kind != "study":
            return None
        run = _Run(self._client, self._wanted, facts["directory"], read_all(facts["events"]))
        self._runs.append(run)
        run.start()
        return run, self._current.set(run)

    def end(self, begun: Any, facts: dict[str, Any], error: BaseException | None) -> None:
        """Let the run end as the study did."""
        if begun is not None:
            run, token = begun
            self._current.reset(token)
            paused = isinstance(error, StudyPaused | KeyboardInterrupt) or not isinstance(error, Exception)
            run.leave("FINISHED" if error is None else "KILLED" if paused else "FAILED")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the user asked for."""

    run_id: str | None
    experiment: str
    run_name: str | None


@dataclass(slots=True, eq=False)
class _Run:
    """One study's run, kept up in a thread of its own."""

    client: Any
    wanted: _Wanted
    directory: Path
    events: list[Event]
    id: str = ""
    logged: int = 0
    """How many events of the journal are in the run."""
    foreign: bool = False
    """Somebody else began the run, and will end it."""
    outcome: str | None = None
    """The status the run ends with, once the study has ended."""
    complained: bool = False
    _news: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to log."""
        self._thread = threading.Thread(target=self._work, name="luthier-mlflow", daemon=True)
        self._thread.start()

    def take(self, event: Event) -> None:
        """Have an event logged, and return at once."""
        with self._news:
            if event.seq is None or event.seq >= len(self.events):
                self.events.append(event)
            self._news.notify()

    def leave(self, outcome: str) -> None:
        """Say how the study ended; the first word stands."""
        with self._news:
            self.outcome = self.outcome or outcome
            self._news.notify()

    def wait(self, seconds: float) -> None:
        """Wait until everything is logged, but not for ever."""
        if self._thread is not None:
            self._thread.join(max(0.0, seconds))
            if self._thread.is_alive():
                self._complain("the tracking server is too slow")

    def _work(self) -> None:
        while True:
            # An event that could not be logged is tried again with the next one.
            self._wait_for_more_than(self.logged)
            with self._news:
                events, outcome = tuple(self.events), self.outcome
            try:
                if not self.id:
                    self._attach()
                if outcome is not None:
                    events = tuple(read_all(read_journal(self.directory / "journal.jsonl")))
                self._log(events, live=outcome is None)
                if outcome is not None:
                    self._finish(events, outcome)
            except Exception as error:  # noqa: BLE001 - the boundary to the tracker, which must not break a study
                self._complain(f"{type(error).__name__}: {error}")
                self._wait_for_more_than(len(events))
            if outcome is not None:
                return

    def _wait_for_more_than(self, known: int) -> None:
        with self._news:
            self._news.wait_for(lambda: self.outcome is not None or len(self.events) > known)

    def _attach(self) -> None:
        """Find the run this study goes on in, or begin one."""
        from mlflow.exceptions import MlflowException

        known = _recorded(self.directory, self._study())
        run_id = self.wanted.run_id or known.get("run_id")
        if run_id is not None:
            try:
                self.client.get_run(run_id)
            except MlflowException as error:
                if self.wanted.run_id is not None or error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                run_id = None  # of another server, or deleted
        if run_id is None:
            name = self.wanted.run_name or self.directory.name
            created = self.client.create_run(self._experiment(), run_name=name)
            self.id, self.foreign, self.logged = created.info.run_id, False, 0
        else:
            same = known.get("run_id") == run_id
            self.id, self.logged = run_id, int(known.get("logged", 0)) if same else 0
            self.foreign = bool(known.get("foreign")) if same else True
            if not self.foreign:
                self.client.update_run(run_id, status="RUNNING")
        self._record()

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(self.wanted.experiment)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self.client.create_experiment(self.wanted.experiment))
        except MlflowException:  # another study was quicker
            if (found := self.client.get_experiment_by_name(self.wanted.experiment)) is None:
                raise
            return str(found.experiment_id)

    def _log(self, events: tuple[Event, ...], *, live: bool) -> None:
        """Log what is new; again, where it was logged only in part: equal values are one to MLflow."""
        from mlflow.entities import Metric, Param, RunTag

        new = events[self.logged :]
        if not new:
            return
        manifest = first(events, ManifestEvent)
        if self.logged == 0 and manifest is not None:
            params = [Param(name, value) for name, value in parameters(manifest).items()]
            for start in range(0, len(params), 100):
                self.client.log_batch(self.id, params=params[start : start + 100])
            tags = {"luthier.study": self.directory.name, "luthier.version": __version__}
            self.client.log_batch(self.id, tags=[RunTag(name, value) for name, value in tags.items()])
        metrics = [Metric(point.name, point.value, point.milliseconds, point.step) for point in points(events, new)]
        if any(isinstance(event, _WITH_A_BILL) for event in new):
            now = int(time.time() * 1000)
            metrics += [Metric(name, value, now, last_step(events)) for name, value in self._spent(events).items()]
        for start in range(0, len(metrics), _AT_ONCE):
            self.client.log_batch(self.id, metrics=metrics[start : start + _AT_ONCE])
        self.logged = len(events)
        self._record()

    def _spent(self, events: tuple[Event, ...]) -> dict[str, float]:
        """Return what the study was charged so far; where others share its store, what it asked for."""
        charged = paid(self.directory / STORE)
        spent = total(charged.values()) if charged else summary(events).spent
        metrics = {"spent.lm_calls": float(spent.calls), "spent.tokens": float(spent.tokens)}
        return metrics if spent.usd is None else {**metrics, "spent.usd": spent.usd}

    def _finish(self, events: tuple[Event, ...], outcome: str) -> None:
        """Log prompts and report as they are now, and end the run if it is ours."""
        decision, sentence = verdict_of(events)
        self.client.log_artifact(self.id, str(write_report(self.directory, events)))
        if (prompts := self.directory / "prompts").is_dir():
            self.client.log_artifacts(self.id, str(prompts), "prompts")
        if decision:
            self.client.set_tag(self.id, "luthier.decision", decision)
            self.client.set_tag(self.id, "mlflow.note.content", sentence)
        if not self.foreign:
            self.client.set_terminated(self.id, outcome)

    def _record(self) -> None:
        known = {"run_id": self.id, "logged": self.logged, "foreign": self.foreign, "study": self._study()}
        draft = self.directory / f"{RUN_FILE}.part"
        draft.write_text(canonical_json(known), encoding="utf-8")
        os.replace(draft, self.directory / RUN_FILE)

    def _study(self) -> str:
        return content_hash(to_json(self.events[0])) if self.events else ""

    def _complain(self, what: str) -> None:
        if not self.complained:
            self.complained = True
            _log.warning(
                "MLflow did not take all of the study %s (%s); the study is not affected, and what is missing is "
                "logged when it is run again with tracking",
                self.directory,
                what,
            )


def _recorded(directory: Path, study: str) -> dict[str, Any]:
    """Return what is known of the study's run; nothing where that cannot be read, or is of another study."""
    try:
        found = json.loads((directory / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("study") == study else {}
