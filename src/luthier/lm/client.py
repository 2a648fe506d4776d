"""A thin client for every OpenAI-compatible server, chat and completions."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import aiohttp

from luthier.errors import CallTimeout, Unreachable
from luthier.lm.body import request_body
from luthier.lm.faults import BadAnswer, NeverSent
from luthier.lm.providers import Address, is_loopback, without_credentials
from luthier.lm.redact import redact
from luthier.lm.reply import answered_refusal, error_of, read_reply
from luthier.lm.request import Completion, Request
from luthier.types import Endpoint

_CONNECT_SECONDS = 30.0
_PATHS = {Endpoint.CHAT: "/chat/completions", Endpoint.COMPLETIONS: "/completions"}


class Client:
    """Sends requests to one server and reads its answers. Belongs to the loop it is first used on.

    Args:
        address: where the model is served, and its key.
        timeout: seconds until an answer is given up.
        llama: whether the server is llama.cpp, with its own fields for slots and schemas.
    """

    def __init__(self, address: Address, *, timeout: float, llama: bool = False) -> None:
        self._address = address
        self._timeout = timeout
        self._llama = llama
        self._where = without_credentials(address.base_url)
        self._session: aiohttp.ClientSession | None = None

    async def complete(self, request: Request) -> Completion:
        """Return the completion.

        Raises:
            LMError: as the tree of ``luthier.errors`` says for the status, or for the fault of the connection.
        """
        session = self._session or self._open()
        body = json.dumps(request_body(request, self._address, llama=self._llama)).encode()
        url = self._address.base_url + _PATHS[request.endpoint]
        try:
            async with session.post(url, data=body) as response:
                content = await response.read()
        except TimeoutError as error:
            raise CallTimeout(f"{self._where} did not answer in {self._timeout:g} s.") from error
        except aiohttp.ClientConnectorError as error:
            raise NeverSent(redact(f"{self._where} cannot be reached: {error.strerror or error}")) from error
        except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
            raise BadAnswer(redact(f"{self._where} sent a cut or malformed answer: {error}")) from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Unreachable(redact(f"{self._where} broke the connection: {error}")) from error
        if response.status >= 400:
            if (refusal := answered_refusal(response.status, content)) is not None:
                return refusal
            raise error_of(response.status, content, response.headers, self._where)
        return read_reply(content, response.headers, self._where, request)

    async def close(self) -> None:
        """Close the connections; closing twice is harmless."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        headers = {"Content-Type": "application/json"}
        if self._address.api_key is not None and not urlsplit(self._address.base_url).username:
            headers["Authorization"] = f"Bearer {self._address.api_key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),  # the limit layer counts, not the pool
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=min(_CONNECT_SECONDS, self._timeout)),
            trust_env=not is_loopback(self._address.base_url),
        )
        return self._session
