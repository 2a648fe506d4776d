"""A key is in no file and no message, in whichever way it came and whatever the server echoes."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import traceback
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import LuthierError
from tests.lm.server import Fault, OpenAIServer
from tests.studies import world
from tests.studies.test_kill_and_resume import answer

KEY = "zq7Key-w8Vv4kR2m9XtB"  # of no usual form, so that only what was given can be known
ROOT = Path(__file__).parents[2]


def forms(key: str) -> Iterator[bytes]:
    """Yield the key as it may be written."""
    yield key.encode()
    yield urllib.parse.quote(key, safe="").encode()
    yield json.dumps(key)[1:-1].encode()
    yield base64.b64encode(f"user:{key}".encode())


def echo(status: int) -> Fault:
    said = f"Incorrect API key provided: {KEY}. (Authorization: Bearer {KEY}; url https://u:{KEY}@host/?api_key={KEY})"
    return Fault(status, {"error": {"message": said, "request": {"headers": {"x-api-key": KEY}}}})


def lms(url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, lt.LM]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with_user = url.replace("http://", f"http://user:{KEY}@")
    return {
        "argument": lt.LM("openai/world", base_url=url, api_key=KEY),
        "environment": lt.LM("openai/world", base_url=url),
        "address": lt.LM("world", base_url=with_user),
        "query": lt.LM("world", base_url=f"{url}?api_key={KEY}", api_key=KEY),
        "extra": lt.LM("world", base_url=url, api_key=KEY, extra={"user_api_key": KEY}),
    }


@pytest.mark.parametrize("way", ["argument", "environment", "address", "query", "extra"])
@pytest.mark.parametrize("status", [401, 400, 500])
def test_no_file_and_no_message_holds_the_key(
    tmp_path: Path, way: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    screen = io.StringIO()
    faults = [None] * 40 + [echo(status)] * (1 if status == 500 else 400)
    with OpenAIServer(answer, faults=faults) as server, contextlib.redirect_stderr(screen):
        lm = lms(server.url, monkeypatch)[way]
        told.append(repr(lm))
        try:
            result = lt.optimize(
                world.describe,
                world.rows(60),
                lt.exact_match("answer"),
                lm=lm,
                optimizer="labeled-few-shot",
                study_dir=tmp_path / "study",
                on_event=told.append,
            )
            told.append(repr(result))
        except LuthierError:
            told.append(traceback.format_exc())
    said = (screen.getvalue() + "".join(map(str, told))).encode()
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert files
    for form in forms(KEY):
        assert form not in said
        assert not [path.name for path, content in files.items() if form in content]


def test_the_command_line_keeps_the_key_to_itself(tmp_path: Path) -> None:
    data = tmp_path / "numbers.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in world.rows(60)), encoding="utf-8")
    with OpenAIServer(answer, faults=[None] * 40 + [echo(401)] * 400) as server:
        command = [
            sys.executable, "-m", "luthier", "optimize", "tests.studies.world:describe", "--data", str(data),
            "--metric", "exact_match:answer", "--lm", "openai/world", "--base-url", server.url, "--yes", "--debug",
            "--study-dir", str(tmp_path / "study"), "--api-key-env", "MY_KEY",
        ]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, cwd=ROOT, env={**os.environ, "MY_KEY": KEY}, timeout=120, check=False
        )
    assert done.returncode == 4, done.stderr
    for form in forms(KEY):
        assert form not in done.stdout + done.stderr
        assert not [path for path in (tmp_path / "study").rglob("*") if path.is_file() and form in path.read_bytes()]
