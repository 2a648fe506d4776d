"""A ready client of the ``openai`` package as a language model, its own retries off."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.errors import CallTimeout, ConfigError, LMError, Unreachable
from luthier.lm.body import request_body
from luthier.lm.engine import engine
from luthier.lm.faults import NeverSent
from luthier.lm.openai.headers import selecting
from luthier.lm.providers import PROVIDERS, Address, without_credentials
from luthier.lm.redact import redact, register_secret
from luthier.lm.reply import answered_refusal, error_of, read_reply
from luthier.lm.request import Completion, Request
from luthier.lm.user_code import in_daemon_thread
from luthier.types import Endpoint

_LOOP = "clients"
_SDKS_OWN = "AsyncHttpxClientWrapper"  # what the SDK makes where the user gives no HTTP client
PLAIN = "luthier_plain"
"""Marks an HTTP client with nothing of the user's about it."""
_PATHS = {Endpoint.CHAT: "/chat/completions", Endpoint.COMPLETIONS: "/completions"}


@dataclass(frozen=True, slots=True)
class Place:
    """Stands for a client whose requests somebody else sends: it says where to, and asks nothing by itself."""

    base_url: str


def client_address(model: object, client: Any, given: Mapping[str, Any]) -> Address:
    """Say where a client's server is; its own prefix ("openai/" at OpenAI's) is taken off the model's name.

    Raises:
        ConfigError: it is no such client, or a setting says something else.
    """
    if not isinstance(model, str) or not hasattr(client, "base_url"):
        raise ConfigError(f"LM({model!r}, client={type(client).__name__}): give a model's name and an openai client.")
    if given["base_url"] is not None or given["api_key"] is not None:
        raise ConfigError(f"LM({model!r}, client=…): the client has its own base_url= and api_key=.")
    base_url = str(client.base_url).rstrip("/")
    name, provider = next(((n, p) for n, p in PROVIDERS.items() if p.base_url == base_url), ("", None))
    if isinstance(key := getattr(client, "api_key", None), str):
        register_secret(key)
    return Address(model.removeprefix(f"{name}/") if name else model, base_url, None, provider, None)


def client_selection(client: Any) -> dict[str, str]:
    """Return the headers and query fields of a client's that may change which model answers."""
    headers = getattr(client, "_custom_headers", None) or {}
    query = getattr(client, "_custom_query", None) or {}
    return {**selecting(query), **selecting(headers)}


def http_apart(owner: object, http: Any) -> Any | None:
    """Return an async HTTP client like ``http`` with connections of its own, for ``on_client_loop`` alone.

    Connections belong to the loop they were opened on, and studies have other loops than user code. None where
    ``http`` is not the SDK's own, since what a user made cannot be made twice. It is closed after ``owner``.
    """
    kind = type(http)
    if kind.__name__ != _SDKS_OWN and not hasattr(http, PLAIN):
        return None  # with proxies, hooks, or certificates, maybe
    quiet = type(f"Apart{kind.__name__}", (kind,), {"__del__": lambda self: None})  # which would close on any loop
    twin = quiet(base_url=http.base_url, timeout=http.timeout)
    weakref.finalize(owner, lambda: engine(_LOOP).submit(twin.aclose())).atexit = False
    return twin


async def on_client_loop(make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Await what ``make`` returns on the loop where clients have connections of their own."""

    async def work() -> Any:
        return await make()

    return await asyncio.wrap_future(engine(_LOOP).submit(work()))


class ClientCompleter:
    """Asks through a client of the user's: a sync one in a daemon thread, an async one on the clients' loop."""

    def __init__(self, client: Any, address: Address, *, timeout: float) -> None:
        self._given = client
        self._address = address
        self._timeout = timeout
        self._where = without_credentials(address.base_url)

    async def complete(self, request: Request) -> Completion:
        """Return the completion, or raise an ``LMError``."""
        body = request_body(request, self._address, llama=False)
        try:
            async with asyncio.timeout(self._timeout):
                # In an empty context: no run of a study is to see it.
                answer = await contextvars.Context().run(self._ask, _PATHS[request.endpoint], body)
        except TimeoutError as error:
            raise CallTimeout(f"{self._where} did not answer in {self._timeout:g} s.") from error
        except Exception as error:
            if (refusal := _refusal(error)) is not None:
                return refusal
            raise _fault(error, self._where) from error
        return read_reply(json.dumps(answer).encode(), {}, self._where, request)

    def _ask(self, path: str, body: dict[str, Any]) -> Awaitable[Any]:
        def post() -> Any:
            return self._client.post(path, cast_to=object, body=body)

        return on_client_loop(post) if hasattr(self._client, "__aenter__") else in_daemon_thread(post)

    @functools.cached_property
    def _client(self) -> Any:
        # A client that lt.connect made would send each call through the gateway once more.
        http = self._given._client
        plain = getattr(http, "luthier_connected", http)
        return self._given.with_options(max_retries=0, http_client=http_apart(self, plain) or plain)


def _refusal(error: Exception) -> Completion | None:
    response = getattr(error, "response", None)
    return None if response is None else answered_refusal(response.status_code, response.content)


def _fault(error: Exception, where: str) -> Exception:
    """Return what an error of the openai package is in our tree, itself where it is another's."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return error_of(error.status_code, error.response.content, error.response.headers, where)
    if isinstance(error, openai.APITimeoutError):
        return CallTimeout(redact(f"{where}: {error}"))
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__
        kind: type[LMError] = NeverSent if type(cause).__name__ in ("ConnectError", "ConnectTimeout") else Unreachable
        return kind(redact(f"{where}: {error} ({cause})"))
    return error
