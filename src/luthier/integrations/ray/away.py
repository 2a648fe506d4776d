"""What stands in a worker for the driver: its gateway, and what keeps results."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar, cast

from luthier.errors import StudyPaused, Unreachable
from luthier.integrations.ray.wire import Asked, Declared, Raised, ToAnswer, ToKeep, Whose, moved
from luthier.lm.engine import engine
from luthier.lm.gateway import Gateway, with_defaults
from luthier.lm.keep import Keep
from luthier.lm.lm import LM
from luthier.lm.own_request import OwnRequest
from luthier.lm.request import Completion, Request, Usage
from luthier.lm.user_code import in_daemon_thread
from luthier.program.call import pending_call
from luthier.types import Role

T = TypeVar("T")
Attempt: TypeAlias = Callable[[], Awaitable[Any]]
"""Does what only can be done where it was made; called on the engine's loop."""
CALLED_OFF = "The rollout was called off."
_REFUSAL_SECONDS = 0.05


class Outbox:
    """What the rollouts of one worker ask; all of it is touched on the engine's loop only."""

    def __init__(self) -> None:
        self._waiting: list[Asked] = []
        self._any = asyncio.Event()
        self._open: dict[int, _Open] = {}
        self._shut: set[int] = set()
        self._ticket = 0

    async def ask(self, rollout: int, what: ToAnswer | ToKeep, attempt: Attempt | None) -> Any:
        """Return what the driver answers, or raise it; it may have ``attempt`` called for that.

        Raises:
            StudyPaused: the rollout was called off.
        """
        if rollout in self._shut:
            await asyncio.sleep(
                _REFUSAL_SECONDS
            )  # user code that swallows this and asks again must not take the processor
            raise StudyPaused(CALLED_OFF)
        self._ticket += 1
        ticket, future = self._ticket, asyncio.get_running_loop().create_future()
        waiting = self._open[ticket] = _Open(rollout, attempt, future)
        self._waiting.append(Asked(ticket, rollout, what))
        self._any.set()
        try:
            answer = await future
        finally:
            del self._open[ticket]
        if isinstance(answer, Raised):
            # What was raised here keeps its traceback.
            raise answer.error() if waiting.raised is None else waiting.raised
        return answer

    async def take(self) -> list[Asked]:
        """Return what was asked since the last time, once there is anything."""
        await self._any.wait()
        self._any.clear()
        asked, self._waiting = self._waiting, []
        return asked

    async def answer(self, ticket: int, answer: Any) -> None:
        """Hand an answer to whoever asked, if there still is anyone."""
        waiting = self._open.get(ticket)
        if waiting is not None and not waiting.answer.done():
            waiting.answer.set_result(answer)

    async def attempt(self, ticket: int) -> Any:
        """Do here what only can be done here: have a client of the user's send its request, or compute a result.

        Raises:
            Unreachable: nobody waits for it any more.
        """
        waiting = self._open.get(ticket)
        if waiting is None or waiting.attempt is None:
            raise Unreachable("the rollout that was to do this has ended")
        try:
            return await waiting.attempt()
        except Exception as error:
            waiting.raised = error
            raise

    async def shut(self, rollout: int) -> None:
        """Answer a rollout no more."""
        self._shut.add(rollout)
        for ticket, waiting in list(self._open.items()):
            if waiting.rollout == rollout:
                await self.answer(ticket, Raised.of(StudyPaused(CALLED_OFF)))


class Away(Gateway):
    """Stands in a worker for the driver's gateway, for one rollout: no store, no ledger, no connection of its own."""

    def __init__(self, outbox: Outbox, rollout: int) -> None:
        super().__init__(lasting=True)
        self._outbox = outbox
        self._rollout = rollout
        self.declared: list[Declared] = []

    def declare(self, lm: LM, usage: Usage, role: Role) -> None:
        """Note what user code says that it used; it is charged when the rollout has come to its end."""
        self.declared.append(Declared(moved(lm), usage, role))

    def beside(self, kind: Callable[..., T]) -> T:
        """Return what keeps results at the driver."""
        return cast(T, AwayKeep(self._outbox, self._rollout)) if kind is Keep else super().beside(kind)

    async def _complete(self, lm: LM, request: Request, role: Role | str) -> Completion:
        attempt = None
        if isinstance(request, OwnRequest):
            request, attempt = replace(request, ask=None), request.ask
        if request.draw is not None:  # numbered here, since the run stays here
            request = replace(request, draw=functools.partial(int, request.draw()))
        what = ToAnswer(moved(lm), with_defaults(lm, request), Role(role), _whose())
        found: Completion = await self._outbox.ask(self._rollout, what, attempt)
        return found


class AwayKeep:
    """Stands in a worker for what keeps results at the driver: they are computed here, once in the study."""

    def __init__(self, outbox: Outbox, rollout: int) -> None:
        self._outbox = outbox
        self._rollout = rollout

    def get(self, key: str, compute: Callable[[], Any]) -> Any:
        """Return the result of a key, blocking the calling thread."""
        context = contextvars.copy_context()
        return engine().submit(self._ask(key, lambda: context.run(in_daemon_thread, compute))).result()

    async def aget(self, key: str, compute: Callable[[], Awaitable[Any]]) -> Any:
        """Return the result of a key; ``compute`` runs on the loop of whoever asks."""
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()

        async def computed() -> Any:
            return await compute()

        def attempt() -> Awaitable[Any]:
            future = context.run(asyncio.run_coroutine_threadsafe, computed(), loop)
            return asyncio.wrap_future(future)

        return await asyncio.wrap_future(engine().submit(self._ask(key, attempt)))

    async def _ask(self, key: str, attempt: Attempt) -> Any:
        return await self._outbox.ask(self._rollout, ToKeep(key), attempt)


@dataclass(slots=True, eq=False)
class _Open:
    """Who waits for an answer."""

    rollout: int
    attempt: Attempt | None
    answer: asyncio.Future[Any]
    raised: Exception | None = None
    """What the attempt raised here."""


def _whose() -> Whose | None:
    call = pending_call.get()
    if call is None:
        return None
    signature = call.predictor.signature
    hidden = {one.name for one in signature.inputs if one.private}
    if not hidden and not any(one.private for one in signature.outputs):
        return None
    return Whose(call.predictor.name, signature, {name: v for name, v in call.inputs.items() if name in hidden})
