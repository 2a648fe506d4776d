"""The executor: which worker makes which rollout, and what becomes of those that are lost."""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.errors import ConfigError, StudyPaused
from luthier.evaluation.executor import Assignment, Workplace
from luthier.evaluation.faults import one_line
from luthier.evaluation.rollout import Outcome, Rollout
from luthier.integrations.ray.away import CALLED_OFF
from luthier.integrations.ray.line import Line
from luthier.integrations.ray.wire import Asked, Kit, Raised, Reply, Task, moved_all
from luthier.integrations.ray.worker import Worker
from luthier.lm.engine import engine
from luthier.program.trace import Trace

TRIES = 5
"""So many workers may be lost under one rollout before it is left unscored."""
FAILED_STARTS = 3
"""So many workers in a row that do not start show that none will."""
PATIENCE = 120.0
"""Seconds without any worker before the study pauses."""
_SETTLING = 10.0
"""Seconds in which a worker that is starting is counted on."""
_PAUSE = 1.0
_CLOSING = 5.0


@contextmanager
def cluster(workers: int | None = None, *, num_cpus: float = 1.0) -> Iterator[RayExecutor]:
    """Open an executor on the Ray cluster of this process, else the one that ``ray.init()`` finds or starts.

    It may serve several studies, one after the other or at one time. At the end its workers end, and Ray too if this
    connected to it.

    Args:
        workers: how many processes at most; None takes as many as the cluster has processors for. There are never more
            than rollouts at one time.
        num_cpus: how many of the cluster's processors a worker is to have to itself.

    Raises:
        ConfigError: Ray is not installed, or a number is out of range.
    """
    executor = RayExecutor(workers, num_cpus=num_cpus)
    try:
        yield executor
    finally:
        executor.close()


@dataclass(slots=True, eq=False)
class _Place:
    """One worker, as the driver sees it."""

    actor: Any
    began: float
    ready: bool = False
    running: int = 0
    kits: set[int] = field(default_factory=set)
    """Numbers of the kits it was given."""


class RayExecutor:
    """Makes rollouts in actors; ``cluster`` opens one. Everything about Ray happens on a loop of its own.

    Attributes:
        lost: how many rollouts a worker took with it; each was made again.
    """

    def __init__(self, workers: int | None = None, *, num_cpus: float = 1.0) -> None:
        try:
            import ray
        except ImportError as error:
            raise ConfigError("executor='ray' needs Ray, which is not installed: pip install 'luthier[ray]'") from error
        if (workers is not None and workers < 1) or num_cpus < 0:
            raise ConfigError(f"cluster(workers={workers}, num_cpus={num_cpus}): at least one worker must run")
        self.lost = 0
        self._ray = ray
        self._home = engine("ray")
        self._workers = workers
        self._num_cpus = num_cpus
        self._places: list[_Place] = []
        self._lines: dict[int, Line] = {}
        self._contexts: dict[int, contextvars.Context] = {}
        self._kits: weakref.WeakKeyDictionary[Workplace, int] = weakref.WeakKeyDictionary()
        self._references: dict[int, Any] = {}
        self._number = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        self._failed = ""
        self._failures = 0
        self._last_hire = 0.0
        self._connected = False
        self._closed = False

    async def rollout(self, workplace: Workplace, assignment: Assignment) -> Rollout:
        """Make one rollout on some worker; where the worker is lost, on another.

        Raises:
            ConfigError: the program, its data, or its metric cannot travel.
            StudyPaused: no worker starts.
            LuthierError: what ends more than this rollout.
        """
        if self._closed:
            raise ConfigError("the executor is closed: use it inside of `with cluster() as executor:`")
        context = contextvars.copy_context()
        made = await asyncio.wrap_future(self._home.submit(self._made(Line(workplace, assignment), context)))
        if isinstance(made, str):
            return Rollout(assignment.job, Outcome.UNSCORED, None, None, Trace(), made)
        return _read(made, workplace, assignment)

    def close(self) -> None:
        """End the workers, and Ray if this connected to it; rollouts under way are called off."""
        if not self._closed:
            self._closed = True
            with suppress(TimeoutError):
                self._home.submit(self._close()).result(_CLOSING)

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for place in self._places:
            if self._ray.is_initialized():
                self._ray.kill(place.actor, no_restart=True)
        self._places, self._references = [], {}
        if self._connected and self._ray.is_initialized():
            self._ray.shutdown()

    async def _made(self, line: Line, context: contextvars.Context) -> Reply | str:
        """Return what came of a rollout, or why the cluster could not make it."""
        self._number += 1
        number, lost = self._number, ""
        self._lines[number], self._contexts[number] = line, context
        try:
            for _ in range(TRIES):
                place = await self._free_place(line.workplace.concurrency)
                place.running += 1
                line.begin()
                try:
                    return await self._ask(place, number, line)
                except self._ray.exceptions.RayTaskError as error:
                    raise ConfigError(f"a rollout cannot travel to or from the cluster: {error}") from error
                except self._ray.exceptions.RayError as error:
                    lost = one_line(error)
                    self.lost += 1
                    self._lose(place)
                except asyncio.CancelledError:
                    place.actor.call_off.remote(number)
                    raise
                finally:
                    place.running -= 1
                    self._changed.set()
            return f"its workers were lost {TRIES} times: {lost}"
        finally:
            del self._lines[number], self._contexts[number]
            line.end()

    async def _ask(self, place: _Place, number: int, line: Line) -> Reply:
        kit = self._kit(line.workplace)
        if kit not in place.kits:
            await place.actor.prepare.remote(kit, self._references[kit])
            place.kits.add(kit)
        given = line.assignment
        task = Task(given.job, given.row, moved_all(given.lms), given.role, given.first)
        reply: Reply = await place.actor.rollout.remote(number, kit, task)
        return reply

    def _kit(self, workplace: Workplace) -> int:
        """Return the number of a workplace's kit.

        Raises:
            ConfigError: something in it cannot travel.
        """
        number = self._kits.get(workplace)
        if number is None:
            self._number += 1
            number = self._kits[workplace] = self._number
            try:
                self._references[number] = self._ray.put(Kit.of(workplace))
            except Exception as error:
                del self._kits[workplace]
                raise ConfigError(
                    f"the program {workplace.program.name} or its metric cannot travel to the cluster's workers: "
                    f"{one_line(error)}. What they hold (clients, connections, locks) must be made where they run: at "
                    "the top of a module, or inside of a function at its first use"
                ) from error
            weakref.finalize(workplace, self._home.loop.call_soon_threadsafe, self._forget, number).atexit = False
        return number

    def _forget(self, kit: int) -> None:
        self._references.pop(kit, None)
        for place in self._places:
            if kit in place.kits:
                place.kits.discard(kit)
                place.actor.forget.remote(kit)

    async def _free_place(self, concurrency: int) -> _Place:
        """Wait for a worker with room.

        Raises:
            StudyPaused: none starts.
        """
        since = time.monotonic()
        while True:
            self._changed.clear()
            self._hire(concurrency)
            now = time.monotonic()
            ready = [place for place in self._places if place.ready]
            coming = sum(not place.ready and now - place.began < _SETTLING for place in self._places)
            room = math.ceil(concurrency / max(1, len(ready) + coming))
            if free := [place for place in ready if place.running < room]:
                return min(free, key=lambda place: place.running)
            if self._failures >= FAILED_STARTS and not ready:
                raise StudyPaused(f"no worker starts on the cluster: {self._failed}")
            if not ready and now - since > PATIENCE:
                raise StudyPaused(
                    f"no node of the cluster had room for a worker in {PATIENCE:g} s; it has "
                    f"{self._ray.available_resources().get('CPU', 0):g} processors free"
                )
            with suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE):
                    await self._changed.wait()

    def _hire(self, concurrency: int) -> None:
        """Start as many workers as there is room for, at most one for each rollout."""
        now = time.monotonic()
        if len(self._places) >= (self._workers or concurrency) or now - self._last_hire < _PAUSE:
            return
        self._last_hire = now
        self._connect()
        processors = self._ray.cluster_resources().get("CPU", 1.0)
        most = self._workers or max(1, int(processors / self._num_cpus) if self._num_cpus else int(processors))
        hired = self._ray.remote(Worker).options(
            num_cpus=self._num_cpus,
            max_restarts=0,  # another one is hired instead, wherever there is room
            max_concurrency=100_000,  # of messages; how many rollouts there are is said here
            scheduling_strategy="SPREAD",
        )
        for _ in range(min(most, concurrency) - len(self._places)):
            place = _Place(hired.remote(), now)
            self._places.append(place)
            self._start(self._serve(place), contextvars.Context())

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        self._connected = True
        before = os.environ.get("RAY_USAGE_STATS_ENABLED")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves that nobody asked for
        try:
            self._ray.init(log_to_driver=False, include_dashboard=False)
        finally:
            if before is None:
                del os.environ["RAY_USAGE_STATS_ENABLED"]

    async def _serve(self, place: _Place) -> None:
        """Answer what the rollouts of one worker ask, until it is lost."""
        try:
            await place.actor.ready.remote()
            place.ready, self._failures = True, 0
            self._changed.set()
            while True:
                for asked in await place.actor.asked.remote():
                    context = self._contexts.get(asked.rollout)
                    self._start(self._answer(place, asked), context.copy() if context else contextvars.Context())
        except self._ray.exceptions.RayError as error:
            if not place.ready:
                self._failed = one_line(error)
                self._failures += 1
            self._lose(place)

    async def _answer(self, place: _Place, asked: Asked) -> None:
        line = self._lines.get(asked.rollout)
        if line is None:
            answer: Any = Raised.of(StudyPaused(CALLED_OFF))
        else:
            answer = await line.answer(asked, place.actor)
        try:
            place.actor.answer.remote(asked.ticket, answer)
        except Exception as error:  # noqa: BLE001 - an error of the user's callable may hold what cannot travel
            place.actor.answer.remote(asked.ticket, Raised.of(RuntimeError(one_line(error))))

    def _lose(self, place: _Place) -> None:
        if place in self._places:
            self._places.remove(place)
            self._ray.kill(place.actor, no_restart=True)
        self._changed.set()

    def _start(self, work: Any, context: contextvars.Context) -> None:
        task = asyncio.get_running_loop().create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _read(reply: Reply, workplace: Workplace, assignment: Assignment) -> Rollout:
    for component in reply.met:
        workplace.on_new(component)
    for declared in reply.declared:
        workplace.gateway.declare(declared.lm, declared.usage, declared.role)
    if reply.error is not None:
        raise reply.error.error()
    # Whoever watches looks at the run for what happened in it.
    assignment.run.trace.calls.extend(reply.rollout.trace.calls)
    made: Rollout = replace(reply.rollout, job=assignment.job)
    return made
