"""A collector of OpenTelemetry on loopback: real OTLP over HTTP, read with OpenTelemetry's own protobuf classes."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass
class Received:
    """A span as it came."""

    name: str
    id: str
    parent: str
    trace: str
    kind: int
    failed: bool
    attributes: dict[str, Any]
    service: dict[str, Any]
    children: list[Received] = field(default_factory=list)


class Collector:
    """``with Collector() as collector: tracing(endpoint=collector.endpoint)``.

    Attributes:
        spans: what came, in the order of arrival.
        bodies: the requests as they came, so that one can look for what must not be in any.
    """

    def __init__(self, *, status: int = 200) -> None:
        self.spans: list[Received] = []
        self.bodies: list[bytes] = []
        self.status = status
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.headers["Content-Type"] == "application/x-protobuf"
                if collector.status == 200:
                    collector.take(self.path, body)
                self.send_response(collector.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(ExportTraceServiceResponse().SerializeToString())

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def take(self, path: str, body: bytes) -> None:
        """Read one export."""
        assert path == "/v1/traces"
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _values(resource.resource.attributes)
            for scope in resource.scope_spans:
                assert scope.scope.name == "luthier"
                for span in scope.spans:
                    self.spans.append(
                        Received(
                            span.name,
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            span.trace_id.hex(),
                            span.kind,
                            span.status.code == 2,
                            _values(span.attributes),
                            service,
                        )
                    )

    def named(self, start: str) -> list[Received]:
        """Return the spans whose names begin so."""
        return [span for span in self.spans if span.name.startswith(start)]

    def above(self, span: Received) -> list[Received]:
        """Return the spans that a span lies in, the nearest first."""
        by_id = {each.id: each for each in self.spans}
        found: list[Received] = []
        while span.parent:
            span = by_id[span.parent]
            found.append(span)
        return found

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _values(attributes: Any) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, kind)
