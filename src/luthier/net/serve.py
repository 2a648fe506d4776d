"""Pages for a browser on this machine, and for nobody else: read-only, under an address that cannot be guessed."""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from luthier.errors import ConfigError

_HOST = "127.0.0.1"
_PATIENCE = 10.0
"""Seconds a client may take for its request, so that idle ones hold no thread."""
_POLL = 0.1


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered."""

    body: bytes
    tag: str = ""
    """Of the content: who has it already is told so instead."""
    policy: str = "default-src 'none'"
    """The Content-Security-Policy."""
    kind: str = "text/html; charset=utf-8"
    status: int = 200


class LoopbackPages:
    """Serves pages in threads of its own until it is closed: ``with LoopbackPages({"": page}) as pages: pages.url``.

    Only requests to 127.0.0.1 or localhost by name and to a path with this server's random token are answered, so
    neither another machine, nor a site that has its name point here (DNS rebinding), nor one that guesses gets any.

    Args:
        pages: by name, what makes the page; "" is the one at ``url``.
        port: 0 takes a free one.

    Raises:
        ConfigError: the port cannot be had.
    """

    def __init__(self, pages: Mapping[str, Callable[[], Page]], port: int = 0) -> None:
        token = secrets.token_hex(16)
        try:
            self._server = _Server((_HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"cannot serve on {_HOST}:{port}: {getattr(error, 'strerror', None) or error}") from error
        self._server.token, self._server.pages = token, dict(pages)
        self.url = f"http://{_HOST}:{self._server.server_port}/{token}/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL,), name="luthier-pages", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # who connects and says nothing must not hold up the end
    token: str
    pages: dict[str, Callable[[], Page]]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that breaks off is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # one request a connection, so that none outlives the server
    server_version, sys_version = "luthier", ""
    timeout = _PATIENCE
    server: _Server

    def do_GET(self) -> None:
        self._answer(self._page(), with_body=True)

    def do_HEAD(self) -> None:
        self._answer(self._page(), with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _page(self) -> Page:
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{_HOST}:{port}", f"localhost:{port}"):
            return Page(b"", status=403)
        token, slash, name = self.path.partition("?")[0].removeprefix("/").partition("/")
        known = hmac.compare_digest(token.encode(), self.server.token.encode())
        if not known or not slash or name not in self.server.pages:
            return Page(b"", status=404)
        return self.server.pages[name]()

    def _answer(self, page: Page, *, with_body: bool) -> None:
        tag = f'"{page.tag}"'
        fresh = page.status == 200 and bool(page.tag) and self.headers.get("If-None-Match") == tag
        self.send_response(304 if fresh else page.status)
        headers = {
            "Content-Security-Policy": f"{page.policy}; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        if page.tag:
            headers["ETag"] = tag
        if not fresh:
            headers |= {"Content-Type": page.kind, "Content-Length": str(len(page.body))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body and not fresh:
            self.wfile.write(page.body)
