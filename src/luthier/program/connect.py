"""``lt.connect``: a client of the ``openai`` package whose calls a study meters, stores, joins, retries, and budgets.

The copy that ``connect`` returns differs from the client in one thing, the HTTP client inside: outside of a study it
hands every request on as it is; inside, the request goes through the study's gateway, at whose end the original HTTP
client sends the very bytes that the SDK made.
"""

from __future__ import annotations

import asyncio
import datetime
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, TypeVar, cast

from luthier.errors import CallTimeout, ConfigError, Unreachable
from luthier.lm.engine import engine, loop_is_running
from luthier.lm.faults import BadAnswer, NeverSent
from luthier.lm.lm import LM, Price
from luthier.lm.models import THINKING_ROOM
from luthier.lm.openai.headers import selecting
from luthier.lm.openai.sdk import Place, http_apart, on_client_loop
from luthier.lm.openai.wire import Asked, as_stream, asked, completion_of, reply_of, status_of
from luthier.lm.own_request import OwnRejected, OwnRequest
from luthier.lm.redact import redact
from luthier.lm.request import Completion, Usage
from luthier.lm.user_code import in_daemon_thread
from luthier.program.call import note_own, note_unseen, own_predictor
from luthier.program.context import Run, current_run

ClientT = TypeVar("ClientT")

_MARK = "luthier_connected"
_NEVER_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol")
_BROKEN = ("RemoteProtocolError", "DecodingError")


def connect(
    client: ClientT,
    *,
    price: Price | Mapping[str, Price] | None = None,
    max_in_flight: int | None = None,
    rpm: int | None = None,
    tpm: int | None = None,
    max_tokens: int = 4096,
) -> ClientT:
    """Return a client of the same kind whose calls are the study's where one runs, and as they were elsewhere.

    Inside a study or an evaluation its calls are metered, stored, joined, retried, and budgeted by luthier, the
    client's own retries off; a stream is asked for whole. Outside, ``lt.use`` and ``lt.bind`` included, every request
    goes out as from the client that was given.

    Args:
        client: an ``openai.OpenAI``, ``AsyncOpenAI``, ``AzureOpenAI``, or ``AsyncAzureOpenAI``.
        price: what its models cost, or a price for each by its name; None looks OpenAI's own up.
        max_in_flight: the most requests to a model at once.
        rpm: the most requests to a model a minute.
        tpm: the most tokens of a model a minute.
        max_tokens: how long an answer may be where a request does not say; budgets hold as much back.

    Raises:
        ConfigError: it is no such client, or a setting is out of range.
    """
    inner = getattr(client, "_client", None)
    copy = getattr(client, "copy", None)
    if copy is None or not hasattr(inner, "build_request"):
        raise ConfigError(
            f"lt.connect({type(client).__name__}): not a client of the openai package (OpenAI, AsyncOpenAI, or "
            "Azure's); what another client used can be declared with lt.prompt().used(...)"
        )
    settings: dict[str, Any] = {"max_in_flight": max_in_flight, "rpm": rpm, "tpm": tpm, "max_tokens": max_tokens}
    LM("any", client=Place("http://localhost"), **settings)  # checks the numbers
    http = getattr(inner, _MARK, inner)  # connected before: the settings are replaced
    return cast("ClientT", copy(http_client=_intercepted(http, _Exchange(http, settings, price))))


def is_connected(client: object) -> bool:
    """Say whether ``connect`` made this client."""
    return hasattr(getattr(client, "_client", None), _MARK)


class _Exchange:
    """What the calls of one connected client share: the HTTP client that sends them, and an LM for every model."""

    def __init__(self, http: Any, settings: Mapping[str, Any], price: Price | Mapping[str, Price] | None) -> None:
        self.http = http
        self._apart = http_apart(self, http)
        self._settings = settings
        self._price = price
        self._module = _module_of(http)
        self._lock = threading.Lock()  # guards the LMs
        self._lms: dict[tuple[str, str], LM] = {}

    def begin(self, request: Any, arguments: Mapping[str, Any], run: Run) -> _Asking | None:
        """Return a request as the gateway takes it; None where it cannot be metered."""
        if run.failures and request.headers.get("x-stainless-retry-count", "0") != "0":
            raise run.failures[-1]  # SDKs before 3 try again whatever failed; here that has been done
        found = asked(request.method, str(request.url), _content(request))
        if found is None:
            if request.method.upper() == "POST":
                note_unseen(run)
            return None
        lm = self._lm(found)
        arguments = {name: value for name, value in arguments.items() if name != "stream"}
        wire = self._whole(request, found) if found.streams else request
        loop = None if _is_sync(self.http) else asyncio.get_running_loop()
        chosen = selecting(request.headers)
        own = OwnRequest(
            messages=found.read(),
            max_tokens=found.written(lm.most_tokens or THINKING_ROOM),
            told=[*found.told, chosen] if chosen else found.told,
            ask=lambda: self._ask(found, wire, arguments, loop),
        )
        if found.is_drawn or run.bypass_cache:
            own = replace(own, sample=run.sample(own_predictor(), lambda: own.key(lm.identity)))
        return _Asking(found, lm, own)

    def end(self, request: Any, asking: _Asking, completion: Completion) -> Any:
        """Return the response that the SDK reads."""
        status, raw = status_of(completion), reply_of(asking.found, completion)
        if status == 200 and asking.found.streams:
            return self._response(request, 200, as_stream(asking.found, raw), "text/event-stream")
        return self._response(request, status, raw.encode())

    def rejected(self, request: Any, error: OwnRejected) -> Any:
        """Return the server's refusal as the SDK reads it."""
        return self._response(request, error.status, error.content)

    async def _ask(
        self, found: Asked, wire: Any, arguments: Mapping[str, Any], loop: asyncio.AbstractEventLoop | None
    ) -> Completion:
        """Have the original HTTP client send the request: a sync one in a thread.

        An async one sends on a loop of luthier's with connections of its own, the user's own HTTP client on the loop
        of whoever asks.
        """
        try:
            if loop is None:
                response = await in_daemon_thread(lambda: self.http.send(wire, **arguments))
            elif (apart := self._apart) is not None:
                response = await on_client_loop(lambda: apart.send(wire, **arguments))
            else:
                response = await _on(loop, lambda: self.http.send(wire, **arguments))
        except (self._module.TransportError, self._module.DecodingError) as error:
            raise _fault(error, found.base_url) from error
        return completion_of(found, response.status_code, response.content, response.headers)

    def _lm(self, found: Asked) -> LM:
        with self._lock:
            place = (found.model, found.base_url)
            if place not in self._lms:
                price = self._price.get(found.model) if isinstance(self._price, Mapping) else self._price
                self._lms[place] = LM(found.model, client=Place(found.base_url), price=price, **self._settings)
            return self._lms[place]

    def _whole(self, request: Any, found: Asked) -> Any:
        headers = [pair for pair in request.headers.multi_items() if pair[0].lower() != "content-length"]
        return self.http.build_request(
            request.method,
            request.url,
            headers=headers,
            content=found.whole_body,
            extensions=dict(request.extensions),
        )

    def _response(self, request: Any, status: int, content: bytes, kind: str = "application/json") -> Any:
        response = self._module.Response(status, headers={"content-type": kind}, content=content, request=request)
        response.elapsed = datetime.timedelta()
        return response


@dataclass(frozen=True, slots=True)
class _Asking:
    """One request on its way through a gateway."""

    found: Asked
    lm: LM
    own: OwnRequest


def _intercepted(http: Any, exchange: _Exchange) -> Any:
    """Return an HTTP client that is ``http`` in all but its ``send``; it shares connections, cookies, and hooks."""

    def send(self: Any, request: Any, **arguments: Any) -> Any:
        run = current_run()
        asking = None if run is None or run.ambient else exchange.begin(request, arguments, run)
        if asking is None or run is None:
            return http.send(request, **arguments)
        if loop_is_running():
            raise ConfigError(
                f"the client for {asking.lm.name} is sync, but was called on a running event loop, which it would "
                "block: use the async client (openai.AsyncOpenAI) there"
            )
        with run.asking():
            try:
                completion = run.gateway.complete_blocking(asking.lm, asking.own, run.role)
            except OwnRejected as error:
                note_own(run, asking.lm, _REJECTED)
                return exchange.rejected(request, error)
        note_own(run, asking.lm, completion)
        return exchange.end(request, asking, completion)

    async def asend(self: Any, request: Any, **arguments: Any) -> Any:
        run = current_run()
        asking = None if run is None or run.ambient else exchange.begin(request, arguments, run)
        if asking is None or run is None:
            return await http.send(request, **arguments)
        with run.asking():
            try:
                completion = await run.gateway.complete(asking.lm, asking.own, run.role)
            except OwnRejected as error:
                note_own(run, asking.lm, _REJECTED)
                return exchange.rejected(request, error)
        note_own(run, asking.lm, completion)
        return exchange.end(request, asking, completion)

    async def aclose(self: Any) -> None:
        await http.aclose()

    sync = _is_sync(http)
    shared: dict[str, Any] = {
        "send": send if sync else asend,
        "is_closed": property(lambda self: http.is_closed),
        "__del__": lambda self: None,  # the original closes what both use
        _MARK: http,
        **({"close": lambda self: http.close()} if sync else {"aclose": aclose}),
    }
    twin: Any = object.__new__(type(f"Connected{type(http).__name__}", (type(http),), shared))
    twin.__dict__.update(http.__dict__)
    return twin


_REJECTED = Completion("", "other", Usage(calls=1))


def _fault(error: Exception, base_url: str) -> Exception:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    said = redact(f"{base_url}: {type(error).__name__}: {error}")
    if kinds.intersection(_NEVER_SENT):
        return NeverSent(said)
    if "TimeoutException" in kinds:
        return CallTimeout(said)
    return BadAnswer(said) if kinds.intersection(_BROKEN) else Unreachable(said)


async def _on(loop: asyncio.AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Await what ``make`` returns on another loop, or on one of luthier's where that has ended."""
    home = engine("user-loop").loop if loop.is_closed() else loop

    async def work() -> Any:
        return await make()

    try:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), home))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Unreachable("the event loop that sent the request has ended") from None


def _is_sync(http: Any) -> bool:
    return not hasattr(http, "aclose")


def _content(request: Any) -> bytes:
    try:
        return bytes(request.content)
    except Exception:  # noqa: BLE001 - a body that is streamed (an upload) has no content yet
        return b""


def _module_of(http: Any) -> ModuleType:
    """Return the package of an HTTP client: httpx, or what the SDK uses in its place."""
    base = next(kind for kind in type(http).__mro__ if kind.__module__.partition(".")[0].startswith("httpx"))
    return sys.modules[base.__module__.partition(".")[0]]
