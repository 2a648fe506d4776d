"""The gateway: where all requests of one study, evaluation or ``lt.use`` leave."""

from __future__ import annotations

import asyncio
import concurrent.futures
import weakref
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from luthier.budget import Ledger
from luthier.errors import (
    AccessDenied,
    ConfigError,
    RateLimited,
    RequestRejected,
    StudyPaused,
    Unavailable,
    UserError,
)
from luthier.lm.engine import Engine, engine, loop_is_running, open_studies
from luthier.lm.faults import NeverSent
from luthier.lm.images import Album
from luthier.lm.middleware.call import Call, End, Gate, Layer
from luthier.lm.middleware.charge import Book, Charge, bill_of, worst_case
from luthier.lm.middleware.limit import Limit
from luthier.lm.middleware.remember import Join, LookUp, Record
from luthier.lm.middleware.retry import Breaker, Retry, RetryPolicy
from luthier.lm.own_request import OwnRequest
from luthier.lm.redact import redact
from luthier.lm.refusals import Refusals, cut_at_stops
from luthier.lm.request import Completer, Completion, Message, Request, Usage, usage_of
from luthier.lm.store import Store
from luthier.types import Endpoint, Role
from luthier.watching import watched

if TYPE_CHECKING:
    from luthier.lm.embedded import EmbeddedCompleter
    from luthier.lm.lm import LM

__all__ = ["Gateway", "RetryPolicy", "worst_case"]

T = TypeVar("T")

_PROBE = "probe"
_PROBE_PATIENCE = 3.0  # seconds for a server that is just starting
_CLOSING_PATIENCE = 5.0
_REFUSAL_SECONDS = 0.05


class Gateway:
    """Where requests leave: store → join → retry → budget → limit → client.

    All of it runs on the engine's thread; ``complete`` may be awaited on any loop.

    Args:
        store: where answers are kept; None keeps none.
        ledger: what the calls are charged to; None charges nobody.
        retry: how infrastructure faults are retried.
        on_fault: told of every fault in a sentence, on the engine's thread.
        study: under whose name attempts are written down.
        refusals: what servers are known to refuse, and where new ones are written down; None begins with nothing.
        lasting: neither a dead server nor a denial ends it, since it may live as long as a service.
    """

    def __init__(
        self,
        *,
        store: Store | None = None,
        ledger: Ledger | None = None,
        retry: RetryPolicy | None = None,
        on_fault: Callable[[str], None] | None = None,
        study: str = "",
        refusals: Refusals | None = None,
        lasting: bool = False,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._book = Book(store, study) if store is not None and ledger is not None else None
        self._policy = RetryPolicy() if retry is None else retry
        self._on_fault = on_fault
        self._refusals = Refusals() if refusals is None else refusals
        self._engine = engine()
        self._gate = Gate(self._engine.loop)
        self._ends_with = None if lasting else self._gate
        if not lasting:
            open_studies.add(self)
        self._beside: dict[Any, Any] = {}
        self._album = Album(store, lasting=lasting)
        self._stacks: dict[int, _Stack] = {}  # by id of the LM, which its stack keeps alive
        self._by_line: dict[Hashable, _Stack] = {}
        self._usage: dict[str, Usage] = {}
        self._requested: dict[str, Usage] = {}
        self._requested_by_lm: dict[str, Usage] = {}
        self._faults: dict[str, int] = {}
        self._hits = 0
        self._stopped: concurrent.futures.Future[None] | None = None
        self._completers: list[Any] = []
        self._finalizer = weakref.finalize(self, _close_completers, self._completers, self._engine)

    @property
    def ledger(self) -> Ledger | None:
        """What the calls are charged to."""
        return self._ledger

    @property
    def refusals(self) -> Refusals:
        """What servers are known to refuse."""
        return self._refusals

    @property
    def lms(self) -> tuple[LM, ...]:
        """The LMs that were asked."""
        return tuple(lm for stack in list(self._by_line.values()) for lm in stack.lms)

    @property
    def usage(self) -> Mapping[str, Usage]:
        """What was paid for in this session, by role."""
        return dict(self._usage)

    @property
    def requested(self) -> Mapping[str, Usage]:
        """What was asked for by role, stored answers included."""
        return dict(self._requested)

    @property
    def requested_by_lm(self) -> Mapping[str, Usage]:
        """The same by the LM's identity."""
        return dict(self._requested_by_lm)

    @property
    def counts_dollars(self) -> bool:
        """Whether there is a limit on dollars, so that prices must be known."""
        return self._ledger is not None and "usd" in self._ledger.limits

    @property
    def counts_tokens(self) -> bool:
        """Whether there is a limit on tokens, so that answers must be bounded."""
        return self._ledger is not None and "tokens" in self._ledger.limits

    @property
    def faults(self) -> Mapping[str, int]:
        """How many attempts failed, by kind of infrastructure fault."""
        return dict(self._faults)

    @property
    def hits(self) -> int:
        """How many requests the store answered."""
        return self._hits

    def beside(self, kind: Callable[[Store | None, Gate], T]) -> T:
        """Return what of that kind lives as long as the gateway and shares its store and its end; there is one."""
        found: T = self._beside.setdefault(kind, kind(self._store, self._gate))
        return found

    async def complete(self, lm: LM, request: Request, role: Role) -> Completion:
        """Return the completion; cancelling the caller only detaches it from the attempt.

        Raises:
            LMError: infrastructure failed for too long, or the request was refused.
            BudgetExhausted: the call does not fit the budget.
            StudyPaused: the gateway has stopped: it was told to, the server is dead, or access was denied.
        """
        if self._engine.is_current_thread:
            return await self._complete(lm, request, role)
        lm.identity  # noqa: B018 - found here once, because hashing weights would hold up the engine
        return await asyncio.wrap_future(self._engine.submit(self._complete(lm, request, role)))

    def complete_blocking(self, lm: LM, request: Request, role: Role) -> Completion:
        """Return the completion, blocking the calling thread.

        Raises:
            UserError: an event loop runs in the calling thread, so blocking would hold it up.
            LMError: as ``complete``.
        """
        if self._engine.is_current_thread or loop_is_running():
            raise UserError("A blocking LM call on a running event loop would hold it up; await the async form.")
        lm.identity  # noqa: B018 - as above
        future = self._engine.submit(self._complete(lm, request, role))
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C: the attempt itself goes on
            raise

    def declare(self, lm: LM, usage: Usage, role: Role) -> None:
        """Charge what user code says that it used without the gateway; no limit holds it back."""
        if self._ledger is not None:
            bill = {**(bill_of(usage, lm.price) or {}), "lm_calls": float(usage.calls)}
            if self._book is not None:
                self._book.declare(str(role), bill, lm.identity)
            self._ledger.charge(bill, str(role))
        where = ((self._usage, str(role)), (self._requested, str(role)), (self._requested_by_lm, lm.identity))
        for usages, name in where:
            self._engine.loop.call_soon_threadsafe(_add, usages, name, usage)

    async def probe(self, lm: LM) -> None:
        """Ask for one token, to see that the server, the key and the model are there. Nothing is stored.

        A callable is not asked; an embedded model is started.

        Raises:
            ConfigError: the server cannot be reached, the key is wrong, or the model is unknown.
        """
        lm.check()
        if self._engine.is_current_thread:
            await self._probe(lm)
        else:
            lm.identity  # noqa: B018 - as above
            await asyncio.wrap_future(self._engine.submit(self._probe(lm)))

    def stop(self, grace: float = 1.5) -> None:
        """End all calls: no new ones, ``grace`` seconds for those in flight; answers that come are stored.

        Returns when they are done, unless called on the engine's thread. A second call waits for the first.
        """
        self._gate.shut("The calls were stopped.")
        if self._stopped is None:
            self._stopped = self._engine.submit(self._drain(grace))
        if not self._engine.is_current_thread:
            with suppress(concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
                self._stopped.result(grace + _CLOSING_PATIENCE)

    def close(self) -> None:
        """Stop at once, write what waits, close the connections, not the store; closing twice is harmless."""
        self._gate.shut("The gateway is closed.")
        open_studies.discard(self)
        self.stop(grace=0.0)
        self._finalizer()
        if self._store is not None:
            self._store.flush()

    async def _complete(self, lm: LM, request: Request, role: Role | str) -> Completion:
        if self._gate.reason is not None:
            # User code that swallows the refusal and asks again must not take the processor from those who end.
            await asyncio.sleep(_REFUSAL_SECONDS)
            self._gate.check()
        stack = self._stack(lm)
        request = with_defaults(lm, request)
        await self._album.keep(request.messages)
        completion = await self._taken(lm, request, str(role), stack.top)
        _add(self._requested, str(role), usage_of(completion))
        _add(self._requested_by_lm, lm.identity, usage_of(completion))
        return completion

    async def _taken(self, lm: LM, request: Request, role: str, top: Layer) -> Completion:
        """Return the answer to a request, without what the server refuses to take."""
        while True:
            # Whoever keeps the request must not keep the whole run, which is what numbers a draw.
            sent = replace(self._refusals.as_sent(lm.identity, request), draw=None)
            call = Call(sent, sent.key(lm.identity), role)
            try:
                with watched("call", lm=lm, call=call) as told:
                    told["completion"] = completion = await top.complete(call)
            except RequestRejected as error:
                if not await self._learned(lm, sent, error):
                    raise
            else:
                return completion if sent.stop == request.stop else cut_at_stops(completion, request.stop)

    async def _learned(self, lm: LM, sent: Request, error: RequestRejected) -> bool:
        """Say whether the call is to be made again, without the parameter that its error names."""
        try:
            return await self._refusals.learn(lm.identity, lm.name, sent, error)
        except Exception as failed:
            # What could not be written down must not be acted on, and is no fault of the program.
            self._gate.shut(f"{lm.name}: what its server refuses could not be written down: {failed}")
            raise StudyPaused(str(self._gate.reason)) from failed

    async def _probe(self, lm: LM) -> None:
        stack = self._stack(lm)
        if lm.is_local:
            await cast("EmbeddedCompleter", stack.completer).start()
        if lm.address is None:
            return
        short = replace(self._policy, give_up_after=_PROBE_PATIENCE)
        retry = Retry(stack.charge, short, Breaker(short, None, lm.name), self._gate, lambda error, wait: None)
        request = with_defaults(lm, _probe_request(lm))
        where = f"{lm.name} at {redact(lm.address.base_url)}"
        try:
            completion = await self._taken(lm, request, _PROBE, retry)
        except RateLimited:
            return  # the server is there and knows the key
        except AccessDenied as error:
            raise ConfigError(f"{where} denies access: {error}") from error
        except RequestRejected as error:
            if error.parameter is not None:
                raise ConfigError(f"{where} refuses {error.parameter} even in a tiny request: {error}") from error
            raise ConfigError(
                f"{where} refuses even a tiny request; is the model's name right, and does the address end as the "
                f"server wants it, often in /v1? {error}"
            ) from error
        except NeverSent as error:
            raise ConfigError(f"{error}. Is a server for {lm.name} running there?") from error
        except Unavailable as error:
            raise ConfigError(f"{where} cannot be reached: {error}") from error
        if completion.refusal is not None:
            room = " (Is max_tokens too large for this model?)" if completion.finish_reason == "length" else ""
            raise ConfigError(f"{where} refuses even a tiny prompt: {completion.refusal}{room}")

    def _stack(self, lm: LM) -> _Stack:
        stack = self._stacks.get(id(lm))
        if stack is None:
            stack = self._by_line.get(lm.line)
            if stack is None:
                stack = self._by_line[lm.line] = self._build(lm)
            stack.lms.append(lm)
            self._stacks[id(lm)] = stack
        return stack

    def _build(self, lm: LM) -> _Stack:
        # Whoever brings an LM along, user code in the midst of a run included, a limit on dollars needs its price.
        lm.check(dollars=self.counts_dollars, tokens=self.counts_tokens)
        completer = lm.open()
        if lm.is_local or lm.address is not None:
            self._completers.append(completer)  # ours to close; the user's own objects are not
        breaker = Breaker(self._policy, self._ends_with, lm.name)
        limit = Limit(End(completer), self._gate, most=lm.max_in_flight, rpm=lm.rpm, tpm=lm.tpm)
        charge = Charge(limit, lm, self._ledger, self._book, self._note_paid)
        retry = Retry(charge, self._policy, breaker, self._gate, lambda error, wait: self._note(lm, error, wait))
        join = Join(Record(retry, self._store, lm.identity), self._gate)
        return _Stack(LookUp(join, self._store, self._note_hit), join, charge, completer, [])

    def _note_paid(self, role: str, usage: Usage) -> None:
        _add(self._usage, role, usage)

    def _note_hit(self) -> None:
        self._hits += 1

    def _note(self, lm: LM, error: Unavailable, wait: float | None) -> None:
        kind = type(error).__name__
        self._faults[kind] = self._faults.get(kind, 0) + 1
        if self._on_fault is not None:
            then = "giving up" if wait is None else f"trying again in {wait:.1f} s"
            self._on_fault(redact(f"{lm.name}: {kind}: {error}; {then}"))

    async def _drain(self, grace: float) -> None:
        """Give the attempts in flight ``grace`` seconds, then cancel them."""
        tasks = {task for stack in self._by_line.values() for task in stack.join.tasks}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_CLOSING_PATIENCE)
        if self._store is not None:
            await self._store.aflush()


@dataclass(frozen=True, slots=True)
class _Stack:
    """The layers of one line: the LMs that differ only in sampling share it, and so its limits."""

    top: Layer
    join: Join
    charge: Layer
    completer: Completer
    lms: list[LM]


def with_defaults(lm: LM, request: Request) -> Request:
    """Fill what the request leaves open with the LM's settings."""
    if isinstance(request, OwnRequest):
        return request
    if request.max_tokens is not None and request.temperature is not None and not lm.extra and lm.top_p is None:
        return request
    return replace(
        request,
        temperature=lm.temperature if request.temperature is None else request.temperature,
        top_p=lm.top_p if request.top_p is None else request.top_p,
        max_tokens=lm.max_tokens if request.max_tokens is None else request.max_tokens,
        extra={**lm.extra, **request.extra},
    )


def _probe_request(lm: LM) -> Request:
    if lm.endpoint is Endpoint.COMPLETIONS:
        return Request(endpoint=Endpoint.COMPLETIONS, prompt="Hello", max_tokens=lm.room_for(1))
    return Request(messages=(Message("user", "Hello"),), max_tokens=lm.room_for(1))


def _add(usages: dict[str, Usage], role: str, usage: Usage) -> None:
    usages[role] = usages.get(role, Usage()) + usage


def _close_completers(completers: list[Any], home: Engine) -> None:
    """Close the connections on the engine's loop; wait for it a little, but never on the engine's own thread."""

    async def close() -> None:
        while completers:
            closing = getattr(completers.pop(), "close", None)
            if closing is not None:
                await closing()

    if not completers:
        return
    done = home.submit(close())
    if not home.is_current_thread:
        with suppress(concurrent.futures.TimeoutError):
            done.result(_CLOSING_PATIENCE)
