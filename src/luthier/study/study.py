"""A study: recorded steps and one loop of trials, in a directory that survives any interruption.

What has an event is read, never computed again. So a run that was killed at any moment, and
run again, goes through the same events as one that was not.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from luthier.search.space import Space
from luthier.search.trial import Strategy, Trial
from luthier.study.directory import Lock, StudyDirectory
from luthier.study.events import (
    ArrivalEvent,
    AskEvent,
    DoneEvent,
    E,
    Event,
    LoopEndEvent,
    ManifestEvent,
    TellEvent,
    first,
    read,
    to_json,
)
from luthier.study.journal import Journal, envelope, event_data
from luthier.study.loop import Evaluate, Grow, Loop, recorded_trials
from luthier.study.manifest import check_manifest, read_manifest, write_manifest
from luthier.watching import watched

Listener = Callable[[Mapping[str, Any]], None]
"""Is given every event as it is written, and transient ones."""
_OF_THE_LOOP = (ManifestEvent, AskEvent, TellEvent, LoopEndEvent, ArrivalEvent)


class Study:
    """The one writer of a study directory; open it with `Study.open`."""

    def __init__(self, directory: StudyDirectory, lock: Lock, journal: Journal, on_event: Listener | None) -> None:
        self._paths = directory
        self._lock = lock
        self._journal = journal
        self._on_event = on_event
        self._stepped: set[str] = set()
        self._looped = False

    @classmethod
    def open(
        cls,
        directory: Path | str,
        manifest: Mapping[str, Any],
        *,
        on_event: Listener | None = None,
        accept: Collection[str] = (),
        free: Collection[str] = (),
    ) -> Study:
        """Begin a study in ``directory``, or continue the one that is there.

        Args:
            directory: made if absent.
            manifest: what the study is of; of its keys, only ``budget`` may change, and only be raised.
            on_event: called with every event as it is written.
            accept: top-level keys of the manifest that may differ this time, such as ``code``.
            free: steps that cost nothing. A study that has no others yet makes way for another one, so that a
                mistake which its first call showed does not block the directory.

        Raises:
            ConfigError: the directory cannot be written, is no study's, or another process is writing it.
            StudyMismatch: it holds another study; the message names each difference.
            JournalError: the journal is damaged or from a newer luthier.
        """
        paths = StudyDirectory(directory)
        paths.prepare()
        lock = paths.lock()
        try:
            journal = Journal(paths.journal)
            try:
                study = cls(paths, lock, journal, on_event)
                study._begin(json.loads(json.dumps(manifest, allow_nan=False)), accept, free)
            except BaseException:
                journal.close()
                raise
        except BaseException:
            lock.release()
            raise
        return study

    def _begin(self, manifest: dict[str, Any], accept: Collection[str], free: Collection[str]) -> None:
        if free and all(event.kind in (ManifestEvent.kind, *free) for event in self._journal.events):
            old = read_manifest(self._paths.manifest)
            if old != manifest:
                self._journal.clear()
        if not self._journal.events:
            self.append(read({"event": ManifestEvent.kind, **manifest}))
            write_manifest(self._paths.manifest, manifest)
            return
        # The journal keeps what the study began with; a raised budget and accepted changes
        # are kept beside it, so that the journal stays that of an uninterrupted study.
        old = read_manifest(self._paths.manifest) or event_data(to_json(self._journal.events[0]))
        check_manifest(self._paths.path, old, manifest, accept)
        if manifest != old or not self._paths.manifest.exists():
            write_manifest(self._paths.manifest, manifest)

    @property
    def events(self) -> list[Event]:
        """All events so far."""
        return list(self._journal.events)

    @property
    def directory(self) -> Path:
        """Where the study lives."""
        return self._paths.path

    @property
    def store_path(self) -> Path:
        """Where the study's store belongs."""
        return self._paths.store

    @property
    def finished(self) -> bool:
        """Whether the study came to its end."""
        return first(self._journal.events, DoneEvent) is not None

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The trials of the loop that have been told."""
        return recorded_trials(self._journal.events)

    def append(self, event: Event) -> Event:
        """Write an event for good, tell the listener, and return it as a reader will see it."""
        written = self._journal.append(event)
        if self._on_event is not None:
            self._on_event(to_json(written))
        return written

    def notify(self, event: Event) -> None:
        """Tell the listener something that is not worth keeping."""
        if self._on_event is not None:
            self._on_event({"transient": True, **envelope(None, event)})

    async def step(self, kind: type[E], compute: Callable[[], Awaitable[E]], *, part: str = "") -> E:
        """Return what a step came to: read where its event is recorded, else computed and recorded.

        Args:
            kind: the step's event.
            compute: what the step does; it gives the event, whose part is set here.
            part: which step of this kind it is, where there are several.

        Raises:
            ValueError: there was such a step before, or the event holds what JSON cannot.
            TypeError: the result is no such event, or holds what JSON cannot.
        """
        name = kind.name_of(part)
        if name in self._stepped or kind in _OF_THE_LOOP:
            raise ValueError(f"a step needs a name of its own; {name!r} is taken")
        self._stepped.add(name)
        for event in self._journal.events:
            if event.name == name and isinstance(event, kind):
                return event
        with watched("step", name=name):
            result = await compute()
        if not isinstance(result, kind):
            raise TypeError(f"step {name!r} must give its event, not {type(result).__name__}")
        written = self.append(replace(result, part=part))
        assert isinstance(written, kind)
        return written

    async def loop(
        self,
        space: Space,
        strategy: Strategy,
        evaluate: Evaluate,
        *,
        batch: int,
        seed: int,
        prior: Sequence[Trial] = (),
        grow: Grow | None = None,
    ) -> tuple[Trial, ...]:
        """Run the search in synchronous batches, and return all trials in order, ``prior`` ones first.

        All asks of a batch are recorded, evaluated together, and told in trial order when the
        whole batch is done. Trials are numbered after ``prior``; the generator of trial n comes
        from (seed, n). Before each batch ``grow`` may add levels to the space; what it adds is recorded, and
        read when the study is continued. An exhausted budget ends the loop; any other error leaves the batch
        unfinished, to be evaluated again when the study is continued.

        Raises:
            ValueError: the study had a loop before, ``batch`` is below one, or ``evaluate`` left an example out.
        """
        if self._looped:
            raise ValueError("a study has one loop")
        if batch < 1:
            raise ValueError(f"a batch needs at least one trial, not {batch}")
        self._looped = True
        return await Loop(space, strategy, evaluate, batch, seed, grow).run(self.events, self.append, prior)

    def close(self) -> None:
        """Close the journal and let another process write; idempotent."""
        self._journal.close()
        self._lock.release()

    def __enter__(self) -> Study:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
