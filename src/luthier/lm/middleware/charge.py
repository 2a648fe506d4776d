"""The layer that charges every attempt to the ledger, and the worst case it reserves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from luthier.budget import Ledger
from luthier.canonical import canonical_json
from luthier.errors import AccessDenied, RateLimited, RequestRejected
from luthier.lm.middleware.call import Call, Layer
from luthier.lm.models import THINKING_ROOM
from luthier.lm.refusals import check_bounded, most_written
from luthier.lm.request import Completion, Request, Usage, message_json, usage_of
from luthier.lm.store import Store

if TYPE_CHECKING:
    from luthier.lm.lm import LM, Price

_PER_REQUEST = 64  # what a chat template adds by itself, its own system prompt included
_PER_MESSAGE = 16  # role names and separators of a turn
_PER_IMAGE = 4096


class Charge:
    """Reserves each attempt's worst case, on disk before it is sent, and settles it with the bill.

    An attempt without a bill stays charged at its worst case, unless the server is known not to have worked:
    it was never reached, or refused the request.
    """

    def __init__(
        self, inner: Layer, lm: LM, ledger: Ledger | None, book: Book | None, on_paid: Callable[[str, Usage], None]
    ) -> None:
        self._inner = inner
        self._lm = lm
        self._price = lm.price if ledger is not None else None
        self._ledger = ledger
        self._book = book
        self._on_paid = on_paid

    async def complete(self, call: Call) -> Completion:
        """Return the inner layer's answer.

        Raises:
            BudgetExhausted: the worst case does not fit.
        """
        if self._ledger is None:
            return self._counted(call, await self._inner.complete(call))
        if self._ledger.limits.keys() & {"tokens", "usd"}:
            check_bounded(most_written(call.request) or self._lm.most_tokens, self._lm.name)
        reservation = await self._ledger.reserve(worst_case(self._lm, call.request), call.role)
        call.sent = False
        attempt: int | None = None
        bill: dict[str, float] | None = None
        try:
            if self._book is not None:
                attempt = await self._book.open(call.role, reservation.amounts, self._lm.identity)
            completion = await self._inner.complete(call)
            bill = bill_of(completion.usage, self._price)
        except (RateLimited, AccessDenied, RequestRejected):
            bill = {"lm_calls": 1.0}
            raise
        finally:
            if not call.sent:
                bill = {}
            self._ledger.settle(reservation, bill)
            if attempt is not None and self._book is not None and bill is not None:
                self._book.settle(attempt, bill)
        return self._counted(call, completion)

    def _counted(self, call: Call, completion: Completion) -> Completion:
        self._on_paid(call.role, usage_of(completion))
        return completion


class Book:
    """The attempts of one study, in its store."""

    def __init__(self, store: Store, study: str) -> None:
        self._store = store
        self._study = study

    async def open(self, role: str, amounts: Mapping[str, float], lm: str) -> int:
        """Write an attempt at an LM down with its worst case, and return its number."""
        return await self._store.aopen_attempt(self._study, role, amounts, lm)

    def settle(self, attempt: int, bill: Mapping[str, float]) -> None:
        """Write down what an attempt was charged."""
        self._store.settle_attempt(attempt, bill)

    def declare(self, role: str, bill: Mapping[str, float], lm: str) -> None:
        """Write down what was spent without the gateway; it blocks the calling thread."""
        self.settle(self._store.open_attempt(self._study, role, bill, lm), bill)


def worst_case(lm: LM, request: Request) -> dict[str, float]:
    """Return the most that one attempt of ``request`` can cost: calls, tokens, and dollars where a price is known.

    No token is shorter than a byte, so the bytes of the text bound its tokens. Where nothing bounds the answer, and
    hence no limit counts tokens, it is taken to be as long as a thinking model's may be.
    """
    written = most_written(request) or lm.most_tokens or THINKING_ROOM
    read = most_prompt_tokens(request)
    amounts = {"lm_calls": 1.0, "tokens": float(read + written)}
    price = lm.price
    if price is not None:
        amounts["usd"] = price.usd(read, written)
    return amounts


def bill_of(usage: Usage | None, price: Price | None) -> dict[str, float] | None:
    """Return what a call cost, or None where the server sent no bill."""
    if usage is None:
        return None
    bill = {"lm_calls": 1.0, "tokens": float(usage.tokens)}
    if price is not None:
        bill["usd"] = price.usd(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    return bill


def most_prompt_tokens(request: Request) -> int:
    """Return a bound of how many tokens the server reads."""
    tokens = _PER_REQUEST + (len(request.prompt.encode()) if request.prompt is not None else 0)
    for message in request.messages:
        tokens += _PER_MESSAGE + len(message.text.encode())
        if not isinstance(message.content, str):
            tokens += _PER_IMAGE * len(message.content)
        if message.tool_calls:
            tokens += len(canonical_json(message_json(message)).encode())
    for tool in request.tools:
        tokens += _PER_MESSAGE + len(canonical_json([tool.name, tool.description, dict(tool.parameters)]).encode())
    if request.schema is not None:
        tokens += _PER_MESSAGE + len(canonical_json(dict(request.schema.schema)).encode())
    return tokens
