"""An embedded model: the local server is started on first use, then asked as any other server."""

from __future__ import annotations

import asyncio
from typing import Any

from luthier.errors import Unreachable
from luthier.lm.client import Client
from luthier.lm.providers import Address
from luthier.lm.redact import register_secret
from luthier.lm.request import Completion, Request
from luthier.lm.user_code import in_daemon_thread


class EmbeddedCompleter:
    """Starts the server of a local model when it is first needed, and again after it died."""

    def __init__(self, name: str, *, slots: int, timeout: float) -> None:
        self._name = name
        self._slots = slots
        self._timeout = timeout
        self._client: Client | None = None
        self._starting = asyncio.Lock()  # one start at a time

    async def start(self) -> Client:
        """Return the client of the running server.

        Raises:
            WeightsError: the model's file cannot be fetched, verified or loaded.
        """
        async with self._starting:
            if self._client is None:
                server: Any = await in_daemon_thread(self._serve)
                register_secret(server.api_key)
                address = Address(self._name, server.base_url, server.api_key, None, None)
                self._client = Client(address, timeout=self._timeout, llama=True)
            return self._client

    async def complete(self, request: Request) -> Completion:
        """Return the completion, or raise an ``LMError``."""
        client = self._client or await self.start()
        try:
            return await client.complete(request)
        except Unreachable:
            if self._client is client:
                self._client = None
                await client.close()
            raise

    async def close(self) -> None:
        """Close the connections; the server ends with the process."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _serve(self) -> Any:
        from luthier.lm.local import local_server

        return local_server(self._name, slots=self._slots)
