"""A scripted server that keeps every body as the bytes that came."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.lm.server import reply

Answer = Callable[[Mapping[str, Any]], Any]
"""From a request's body to the text of the answer, a whole reply, or a status of 400 and above."""


class RecordingServer:
    """``with RecordingServer(answer) as server``: an OpenAI-compatible server on loopback, a thread a request.

    Attributes:
        bodies: what came, in the order of arrival.
        fail: from the number of a request, counted from 1, to a status to fail with; 0: answer.
    """

    def __init__(self, answer: Answer, *, fail: Callable[[int], int] = lambda number: 0) -> None:
        self.answer = answer
        self.fail = fail
        self.bodies: list[bytes] = []
        self._lock = threading.Lock()  # guards the bodies, which threads append to, and the scripted answers
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._serve(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        content = handler.rfile.read(int(handler.headers["Content-Length"]))
        body = json.loads(content)
        with self._lock:
            self.bodies.append(content)
            status = self.fail(len(self.bodies))
            answered = status or self.answer(body)
        if isinstance(answered, int):
            status, said = answered, {"error": {"message": "insufficient_quota" if answered == 402 else "no"}}
        else:
            status, said = 200, reply(dict(body), answered) if isinstance(answered, str) else answered
        told = json.dumps(said).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(told)))
        handler.end_headers()
        handler.wfile.write(told)
