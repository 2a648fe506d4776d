"""Worlds behind an OpenAI-compatible server on loopback.

The base URL names the world and the case: ``http://127.0.0.1:PORT/KIND/SEED/ABILITY/CASE/v1``. The model names the
role: ``task``, ``teacher``, ``proposer``, or ``probe``, which answers right and remembers what each prompt told.
``GET …/v1/spent`` tells calls and tokens by role, ``GET …/v1/accuracy`` what the probed prompts are worth.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from aiohttp import web

from benchmarks.worlds.proposer import propose
from benchmarks.worlds.task_lm import Messages, answer, call_of, in_form
from benchmarks.worlds.world import Knowledge, World, share, world

ROLES = ("task", "teacher", "proposer", "probe")
CHARACTERS_PER_TOKEN = 4


@dataclass
class Session:
    """One case's memory: how often each request came, what was spent, and what was probed."""

    world: World
    ability: float
    seen: Counter[str] = field(default_factory=Counter)
    spent: dict[str, dict[str, int]] = field(default_factory=dict)
    probed: dict[str, Knowledge] = field(default_factory=dict)
    probed_tokens: dict[str, int] = field(default_factory=dict)

    def reply(self, body: dict[str, Any]) -> str:
        """Answer a request: a function of it and, above temperature 0, of how often it came before.

        Raises:
            KeyError: the model is none of the roles.
        """
        messages = [(message["role"], text_of(message["content"])) for message in body["messages"]]
        role = body["model"]
        if role not in ROLES:
            raise KeyError(role)
        asked = hashlib.blake2b(json.dumps([role, messages]).encode(), digest_size=16).hexdigest()
        time = self.seen[asked] if body.get("temperature") != 0 else 0
        self.seen[asked] += 1
        said = self._said(role, messages, f"{self.world.name}/{self.world.seed}/{asked}/{time}")
        self._charge(role, messages, said)
        return said

    def _said(self, role: str, messages: Messages, salt: str) -> str:
        def draw(purpose: str) -> float:
            return share(f"{salt}/{purpose}")

        if role == "proposer":
            return propose(self.world, messages, draw, self.ability)
        call = call_of(self.world, messages)
        if call is None:
            return "There is no note to look at."
        if role == "probe":
            self.probed[call.stage.name] = call.prompt
            self.probed_tokens[call.stage.name] = tokens(messages)
            return in_form(call, call.stage.written([rule.answer for rule in call.rules]))
        return answer(self.world, call, draw, teacher=role == "teacher")

    def _charge(self, role: str, messages: Messages, said: str) -> None:
        spent = self.spent.setdefault(role, {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0})
        spent["calls"] += 1
        spent["prompt_tokens"] += tokens(messages)
        spent["completion_tokens"] += len(said) // CHARACTERS_PER_TOKEN + 1

    def accuracy(self) -> dict[str, Any]:
        """Return what the probed prompts are worth, and how long they are.

        Raises:
            KeyError: a stage was not probed.
        """
        runs = {stage.name: self.world.kind.loop if stage.index == 0 else 1 for stage in self.world.stages}
        return {
            "accuracy": self.world.accuracy({stage.name: self.probed[stage.name] for stage in self.world.stages}),
            "tokens_per_run": sum(self.probed_tokens[name] * times for name, times in runs.items()),
        }


def text_of(content: Any) -> str:
    """Return the text of a message's content."""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content or ())


def tokens(messages: Messages) -> int:
    """Return about how many tokens messages have."""
    return sum(len(text) for _, text in messages) // CHARACTERS_PER_TOKEN + 1


class WorldsServer:
    """The server: a session for each base URL."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def application(self) -> web.Application:
        """Return the web application."""
        application = web.Application(client_max_size=64 * 2**20)
        base = "/{kind}/{seed}/{ability}/{case}/v1"
        application.router.add_post(base + "/chat/completions", self._complete)
        application.router.add_get(base + "/spent", self._spent)
        application.router.add_get(base + "/accuracy", self._accuracy)
        application.router.add_delete(base, self._forget)
        return application

    def _session(self, request: web.Request) -> Session:
        found = request.match_info
        name = "/".join(found.values())
        if name not in self._sessions:
            self._sessions[name] = Session(world(found["kind"], int(found["seed"])), float(found["ability"]))
        return self._sessions[name]

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        session = self._session(request)
        try:
            said = session.reply(body)
        except KeyError as error:
            return web.json_response({"error": {"message": f"there is no model {error}"}}, status=404)
        prompt = tokens([("", text_of(message["content"])) for message in body["messages"]])
        completion = len(said) // CHARACTERS_PER_TOKEN + 1
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        reply = {"id": "world", "object": "chat.completion", "created": 0, "model": body["model"]}
        return web.json_response({**reply, "choices": [choice], "usage": usage})

    async def _spent(self, request: web.Request) -> web.Response:
        return web.json_response(self._session(request).spent)

    async def _accuracy(self, request: web.Request) -> web.Response:
        return web.json_response(self._session(request).accuracy())

    async def _forget(self, request: web.Request) -> web.Response:
        self._sessions.pop("/".join(request.match_info.values()), None)
        return web.json_response({})


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Run the server in a process of its own, which ends with this one; yields ``http://127.0.0.1:PORT``."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "benchmarks.worlds.server"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root, start_new_session=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


async def serve() -> None:
    """Serve until killed; print the address."""
    runner = web.AppRunner(WorldsServer().application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    print(f"http://{host}:{port}", flush=True)
    await asyncio.Event().wait()


def end_with_parent() -> None:
    """End this process when the one that started it closes its standard input, as it does however it ends."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    Thread(target=end_with_parent, daemon=True).start()
    asyncio.run(serve())
