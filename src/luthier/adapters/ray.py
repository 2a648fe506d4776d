"""Rollouts on a Ray cluster: programs and metrics run there; decisions, store, ledger, and LM calls stay here.

Actors, one a processor, run rollouts. What a program asks an LM goes by a mailbox (an actor beside the driver) to the
driver, whose gateway answers as it answers a local rollout: from the store, joined, limited, charged. So nothing is
paid twice where a node dies: the rollout runs again on another, and the store has what was answered. Workers get LMs
without their keys.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.adapters.ray_worker import Kit, Mailbox, NotReady, Reply, Worker
from luthier.errors import ConfigError, LuthierError
from luthier.evaluation.executor import Assignment, Workplace
from luthier.evaluation.rollout import Outcome, Rollout
from luthier.lm.layers.call import Gate
from luthier.lm.lm import LM
from luthier.lm.store import Store
from luthier.program.lms import LMs
from luthier.program.trace import Trace

TRIES = 5
"""So many nodes may die under one rollout before it is left unscored."""
START_SECONDS = 60.0
"""How long a worker may take to start."""
REST_SECONDS = 2.0
"""How long a worker that failed gets no work."""


@contextmanager
def cluster(workers: int | None = None) -> Iterator[RayExecutor]:
    """Open an executor on the Ray cluster that ``ray.init()`` finds, or starts on this machine; end its workers then.

    Args:
        workers: how many processes; None takes one for each processor of the cluster.

    Raises:
        ConfigError: Ray is not installed, or ``workers`` is below one.
    """
    executor = RayExecutor(workers)
    try:
        yield executor
    finally:
        executor.close()


@dataclass(slots=True, eq=False)
class _Place:
    """One worker, as the driver sees it."""

    actor: Any
    running: int = 0
    rests_until: float = 0.0
    knows: set[int] = field(default_factory=set)
    """Numbers of the kits it was given."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sent:
    """A kit that workers can be given, and what it was made from."""

    workplace: Workplace
    lms: LMs
    reference: Any


class RayExecutor:
    """Makes rollouts in actors; ``cluster`` opens one.

    Attributes:
        lost: how many rollouts a worker took with it when it died; each was made again.
    """

    def __init__(self, workers: int | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise ConfigError("executor='ray' needs Ray, which is not installed: pip install 'luthier[ray]'") from error
        if workers is not None and workers < 1:
            raise ConfigError(f"cluster(workers={workers}): at least one must run")
        self.lost = 0
        self._ray = ray
        self._workers = workers
        self._places: list[_Place] = []
        self._mailbox: Any = None
        self._serving: asyncio.Task[None] | None = None
        self._sent: list[_Sent] = []
        self._lms: dict[str, LM] = {}
        self._gateway: Any = None

    async def rollout(self, workplace: Workplace, assignment: Assignment) -> Rollout:
        """Make one rollout on some worker; where the worker is lost, on another.

        Raises:
            LuthierError: what ends more than this rollout.
        """
        self._begin(workplace)
        number = self._kit(workplace, assignment)
        lost = ""
        for _ in range(TRIES):
            place = await self._free_place()
            place.running += 1
            try:
                reply = await self._ask(place, number, assignment)
            except self._ray.exceptions.RayTaskError as error:
                raise ConfigError(f"a rollout cannot come back from the cluster: {error.cause!r}") from error
            except (self._ray.exceptions.RayError, TimeoutError) as error:
                lost = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                self.lost += 1
                place.rests_until = time.monotonic() + REST_SECONDS
                place.knows.clear()
                continue
            finally:
                place.running -= 1
            return self._read(reply, workplace, assignment)
        why = f"the cluster lost it {TRIES} times: {lost}"
        return Rollout(assignment.job, Outcome.UNSCORED, None, None, Trace(), why)

    def close(self) -> None:
        """End the workers; the cluster stays."""
        if self._serving is not None and not self._serving.get_loop().is_closed():
            self._serving.cancel()
        for actor in (*(place.actor for place in self._places), self._mailbox):
            if actor is not None and self._ray.is_initialized():
                self._ray.kill(actor, no_restart=True)
        self._places, self._mailbox, self._serving = [], None, None
        self._sent.clear()

    def _begin(self, workplace: Workplace) -> None:
        """Start mailbox and workers, at the first rollout."""
        self._gateway = workplace.gateway
        if self._mailbox is not None:
            return
        ray = self._ray
        if not ray.is_initialized():
            ray.init(log_to_driver=False, include_dashboard=False)
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        mailbox = ray.remote(Mailbox).options(num_cpus=0, max_concurrency=10_000, scheduling_strategy=here)
        self._mailbox = mailbox.remote()
        count = self._workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        count = min(count, workplace.concurrency)
        worker = ray.remote(Worker).options(
            num_cpus=1,
            max_restarts=-1,
            max_task_retries=0,  # tries are ours to count
            max_concurrency=workplace.concurrency + 1,
            scheduling_strategy="SPREAD",
        )
        self._places = [_Place(worker.remote(self._mailbox)) for _ in range(count)]
        self._serving = asyncio.ensure_future(self._serve())

    def _kit(self, workplace: Workplace, assignment: Assignment) -> int:
        """Return the number of the kit for a rollout."""
        for number, sent in enumerate(self._sent):
            if sent.workplace is workplace and sent.lms is assignment.lms:
                return number
        judge = workplace.metric.judge_lm
        for lm in (*assignment.lms.all, workplace.lm, *(() if judge is None else (judge,))):
            self._lms.setdefault(lm.identity, lm)
        reference = self._ray.put(Kit.of(workplace, assignment.lms))
        self._sent.append(_Sent(workplace, assignment.lms, reference))
        return len(self._sent) - 1

    async def _ask(self, place: _Place, number: int, assignment: Assignment) -> Reply:
        while True:
            if number not in place.knows:
                try:
                    async with asyncio.timeout(START_SECONDS):
                        await place.actor.prepare.remote(number, self._sent[number].reference)
                except TimeoutError:
                    raise TimeoutError("no worker started; has the cluster a free processor?") from None
                place.knows.add(number)
            given = (assignment.job, assignment.row, assignment.role, assignment.first)
            reply: Reply | NotReady = await place.actor.rollout.remote(number, *given)
            if isinstance(reply, Reply):
                return reply
            place.knows.clear()  # the worker was restarted elsewhere, and has forgotten

    def _read(self, reply: Reply, workplace: Workplace, assignment: Assignment) -> Rollout:
        if reply.error is not None:
            raise reply.error
        for component in reply.met:
            workplace.on_new(component)
        # Whoever watches looks at the run for what happened in it.
        assignment.run.trace.calls.extend(reply.rollout.trace.calls)
        made: Rollout = replace(reply.rollout, job=assignment.job)
        return made

    async def _free_place(self) -> _Place:
        while True:
            now = time.monotonic()
            if awake := [place for place in self._places if place.rests_until <= now]:
                return min(awake, key=lambda place: place.running)
            await asyncio.sleep(0.05)

    async def _serve(self) -> None:
        """Answer what rollouts ask, as it comes."""
        async with asyncio.TaskGroup() as group:
            while True:
                for number, asked in await self._mailbox.waiting.remote():
                    group.create_task(self._answer(number, *asked))

    async def _answer(self, number: int, what: str, *words: Any) -> None:
        answer: Any
        try:
            answer = await self._said(what, *words)
        except LuthierError as error:
            answer = error
        self._mailbox.answer.remote(number, answer)

    async def _said(self, what: str, *words: Any) -> Any:
        match what, words:
            case "complete", (identity, request, role):
                return await self._gateway.complete(self._lm(identity), request, role)
            case "declare", (identity, usage, role):
                return self._gateway.declare(self._lm(identity), usage, role)
            case "value", (key,):
                store = self._gateway.beside(_its_store)
                return None if store is None else store.value(key)
            case "set value", (key, value):
                store = self._gateway.beside(_its_store)
                return None if store is None else store.set_value(key, value)
            case _:
                raise ConfigError(
                    f"a worker asks {what!r}, which this luthier does not know; is the cluster's another?"
                )

    def _lm(self, identity: str) -> LM:
        if identity not in self._lms:
            raise ConfigError(
                f"a program on the cluster asks {identity}, which is not among the LMs that were given: name it with "
                "lm=, or the predictor that brings it with predictors=[...]"
            )
        return self._lms[identity]


def _its_store(store: Store | None, gate: Gate) -> Store | None:
    return store
