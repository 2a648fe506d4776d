"""An OpenAI-compatible server on loopback whose answers are a function of the body. Other parts' tests use it, too."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

Body = dict[str, Any]
Handler = Callable[[Body], "str | Mapping[str, Any] | Fault"]
"""From a request's body to the text of the answer, to a whole reply, or to what goes wrong."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong instead of an answer."""

    status: int = 500
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    """Break off in the middle of the body."""
    drop: bool = False
    """Close the connection without a word."""
    hang: float = 0.0
    """Say nothing for so long."""
    drip: float = 0.0
    """Send the body a little at a time, for so long."""
    reset: bool = False
    """Reset the connection."""
    away: float = 0.0
    """Reset the connection, and refuse any for so long."""
    unbilled: bool = False
    """Answer, but without a bill."""


class OpenAIServer:
    """Runs in a thread of its own: ``with OpenAIServer(lambda body: "text") as server: LM("x", base_url=server.url)``.

    Attributes:
        requests: the bodies that came, in order.
        headers: their headers.
        paths: their paths, with the query.
        methods: their methods.
        bodies: the same bodies as they came.
        faults: used up one a request before anything is answered; None in it stands for a request that succeeds.
        most_in_flight: the most requests at one time.
        met: the faults that were served.
    """

    def __init__(
        self,
        handler: Handler = lambda body: "ok",
        *,
        faults: Iterable[Fault | None] = (),
        latency: float = 0.0,
        key: str | None = None,
        bill: bool = True,
        port: int = 0,
    ) -> None:
        self.handler = handler
        self.faults = list(faults)
        self.latency = latency
        self.key = key
        self.bill = bill
        self.requests: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.methods: list[str] = []
        self.bodies: list[bytes] = []
        self.most_in_flight = 0
        self._in_flight = 0
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._over: asyncio.Event | None = None
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._returning: set[asyncio.Task[None]] = set()
        self._clients: list[Any] = []
        self.met: list[Fault] = []
        self._thread = threading.Thread(target=self._run, name="openai-server", daemon=True)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def client(self, kind: Any = None, **settings: Any) -> Any:
        """Return a client of the openai package, ``openai.OpenAI`` where no kind is named; a sync one ends with this.

        Left open, it would be freed in one cycle with its sockets, and the collector may come to a socket first.
        """
        import openai

        client = (kind or openai.OpenAI)(**{"base_url": self.url, "api_key": "k", **settings})
        if not hasattr(client, "__aenter__"):
            self._clients.append(client)
        return client

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the test server did not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for client in self._clients:
            client.close()
        if self._over is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, tb)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        app = web.Application()
        app.router.add_route("*", "/{path:(v1|openai)/.*}", self._answer)
        runner = self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        site = self._site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._over.wait()
        for task in self._returning:
            task.cancel()
        await runner.cleanup()

    async def _go_away(self, seconds: float) -> None:
        assert self._runner is not None
        assert self._site is not None
        site, self._site = self._site, None
        await site.stop()
        await asyncio.sleep(seconds)
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        body = json.loads(content) if content.startswith(b"{") else {}
        self.bodies.append(content)
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        self.paths.append(request.path_qs)
        self.methods.append(request.method)
        fault = self.faults.pop(0) if self.faults else None
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            if self.latency:
                await asyncio.sleep(self.latency)
            if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
                return web.json_response({"error": {"message": "Incorrect API key provided"}}, status=401)
            if fault is not None:
                self.met.append(fault)
            if fault is not None and not fault.unbilled:
                return await self._fail(fault, request)
            answer, bill = self.handler(body), self.bill and fault is None
            if isinstance(answer, Fault):
                return await self._fail(answer, request)
            return web.json_response(reply(body, answer, bill=bill) if isinstance(answer, str) else answer)
        finally:
            self._in_flight -= 1

    async def _fail(self, fault: Fault, request: web.Request) -> web.StreamResponse:
        if fault.hang:
            await asyncio.sleep(fault.hang)
        if fault.away and self._site is not None:
            self._returning.add(asyncio.create_task(self._go_away(fault.away)))
        if (fault.reset or fault.away) and request.transport is not None:
            connection = request.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.transport.abort()
            return web.Response()
        if fault.drip:
            dripping = web.StreamResponse(headers={"Content-Length": "100"})
            await dripping.prepare(request)
            with suppress(ConnectionError):  # who called has given up
                for _ in range(20):
                    await dripping.write(b" ")
                    await asyncio.sleep(fault.drip / 20)
            return dripping
        if fault.drop or fault.cut:
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            if fault.cut:
                await response.prepare(request)
                await response.write(b'{"choices": [')
            if request.transport is not None:
                request.transport.close()
            return response
        text = fault.body if isinstance(fault.body, str) else json.dumps(fault.body or {"error": {"message": "no"}})
        return web.Response(text=text, status=fault.status, headers=fault.headers)


def reply(body: Body, text: str, *, bill: bool = True) -> dict[str, Any]:
    """Return a whole reply with that text, billed a token for every four bytes."""
    chat = "messages" in body
    asked = "".join(str(message["content"]) for message in body["messages"]) if chat else body["prompt"]
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    kind = "chat.completion" if chat else "text_completion"
    out: dict[str, Any] = {"id": "x", "object": kind, "created": 1, "model": body.get("model", ""), "choices": [choice]}
    if bill:
        read, written = -(-len(asked.encode()) // 4), -(-len(text.encode()) // 4)
        out["usage"] = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return out
