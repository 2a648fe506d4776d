"""Pages for this machine's browser only, asked for over real HTTP."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from luthier.errors import ConfigError
from luthier.net.serve import LoopbackPages, Page

BODY = "<p>Grüße</p>".encode()


@pytest.fixture
def pages() -> Iterator[LoopbackPages]:
    with LoopbackPages({"": lambda: Page(BODY, tag="one", policy="default-src 'self'")}) as served:
        yield served


def ask(
    served: LoopbackPages, path: str | None = None, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    where = urlsplit(served.url)
    connection = http.client.HTTPConnection("127.0.0.1", where.port or 0, timeout=5)
    connection.request(method, where.path if path is None else path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_the_address_leads_to_the_page(pages: LoopbackPages) -> None:
    answer, body = ask(pages)
    assert (answer.status, body) == (200, BODY)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == "default-src 'self'; frame-ancestors 'none'"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Python" not in answer.headers["Server"]


def test_only_loopback_is_listened_on(pages: LoopbackPages) -> None:
    where = urlsplit(pages.url)
    assert where.hostname == "127.0.0.1"
    with socket.socket() as other, pytest.raises(OSError):
        other.settimeout(2)
        other.connect(("127.0.0.2", where.port))  # another address of this same machine


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/0123456789abcdef0123456789abcdef/", "//", "/../../etc/passwd"])
def test_without_the_token_there_is_nothing(pages: LoopbackPages, path: str) -> None:
    answer, body = ask(pages, path)
    assert (answer.status, body) == (404, b"")


def test_every_server_has_another_token_and_serves_no_other_name(pages: LoopbackPages) -> None:
    token = urlsplit(pages.url).path
    assert len(token) == 34
    assert ask(pages, f"{token}journal.jsonl")[0].status == 404
    assert ask(pages, token.rstrip("/"))[0].status == 404
    with LoopbackPages({"": lambda: Page(BODY)}) as other:
        assert urlsplit(other.url).path != token


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1", "[::1]:80", ""])
def test_a_name_that_was_made_to_point_here_is_turned_away(pages: LoopbackPages, host: str) -> None:
    answer, body = ask(pages, Host=host)
    assert (answer.status, body) == (403, b"")


def test_localhost_by_name_is_this_machine(pages: LoopbackPages) -> None:
    assert ask(pages, Host=f"localhost:{urlsplit(pages.url).port}")[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(pages: LoopbackPages, method: str) -> None:
    assert ask(pages, method=method)[0].status == 501


def test_who_has_the_page_gets_no_other(pages: LoopbackPages) -> None:
    assert ask(pages)[0].headers["ETag"] == '"one"'
    answer, body = ask(pages, **{"If-None-Match": '"one"'})
    assert (answer.status, body) == (304, b"")
    assert ask(pages, **{"If-None-Match": '"two"'})[0].status == 200


def test_a_head_has_no_body(pages: LoopbackPages) -> None:
    answer, body = ask(pages, method="HEAD")
    assert (answer.status, body, answer.headers["Content-Length"]) == (200, b"", str(len(BODY)))


def test_an_idle_client_does_not_hold_up_the_end() -> None:
    with LoopbackPages({"": lambda: Page(BODY)}) as served:
        idle = socket.create_connection(("127.0.0.1", urlsplit(served.url).port or 0))
        idle.sendall(b"GET / HTTP/1.1\r\n")
        began = time.monotonic()
    assert time.monotonic() - began < 2
    idle.close()


def test_a_port_in_use_is_named(pages: LoopbackPages) -> None:
    port = urlsplit(pages.url).port
    with pytest.raises(ConfigError, match=f"cannot serve on 127.0.0.1:{port}"):
        LoopbackPages({}, port or 0)
