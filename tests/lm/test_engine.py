from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from luthier.errors import WeightsError
from luthier.lm.engine import engine
from luthier.lm.gateway import Gateway, RetryPolicy
from luthier.lm.lm import LM
from luthier.lm.request import Request
from luthier.types import Endpoint, Role
from tests.lm.server import Fault, OpenAIServer

ASKED = Request(endpoint=Endpoint.COMPLETIONS, prompt="once upon")

QUIET_EXIT = """
import asyncio, sys
from luthier.lm.gateway import Gateway
from luthier.lm.lm import LM
from luthier.lm.request import Message, Request
from luthier.lm.store import Store
from luthier.types import Role

gateway = Gateway(store=Store(":memory:"))
lm = LM("m", base_url=sys.argv[1])
request = Request(messages=(Message("user", "hi"),))
print(gateway.complete_blocking(lm, request, Role.TASK).text)
if sys.argv[2] == "hanging":
    try:
        other = Request(messages=(Message("user", "hang"),))
        asyncio.run(asyncio.wait_for(gateway.complete(lm, other, Role.TASK), 0.2))
    except TimeoutError:
        print("left hanging")
"""


@pytest.mark.parametrize("how", ["idle", "hanging"])
def test_an_interpreter_ends_quietly_without_closing_anything(how: str) -> None:
    with OpenAIServer(faults=[None, Fault(hang=5)]) as server:
        command = [sys.executable, "-W", "error", "-c", QUIET_EXIT, server.url, how]
        child = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert child.stdout.split("\n")[:-1] == ["ok", "left hanging"][: 1 if how == "idle" else 2]
    assert child.stderr == ""


def test_there_is_one_engine_thread() -> None:
    assert engine() is engine()
    assert not engine().is_current_thread

    async def inside() -> bool:
        return engine().is_current_thread and asyncio.get_running_loop() is engine().loop

    assert engine().submit(inside()).result(5)


FORK = """
import os
from luthier.lm.engine import engine
from luthier.lm.gateway import Gateway
from luthier.lm.lm import LM
from luthier.lm.request import Message, Request
from luthier.types import Role

engine()
child = os.fork()
asked = Request(messages=(Message("user", "hello"),), temperature=0.0)
text = Gateway().complete_blocking(LM(lambda request: "answered"), asked, Role.TASK).text
if child == 0:
    os._exit(0 if text == "answered" else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_gets_an_engine_of_its_own() -> None:
    # In a process of its own: a fork of this one would copy whatever locks other tests' threads hold.
    subprocess.run([sys.executable, "-c", FORK], timeout=20, check=True)


def test_an_embedded_model_is_started_once_and_again_after_it_died(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, int]] = []
    with OpenAIServer(faults=[None, None, Fault(drop=True)], key="local-random-key") as server:

        def local_server(name: str, *, slots: int) -> Any:
            started.append((name, slots))
            return SimpleNamespace(base_url=server.url, api_key="local-random-key")

        monkeypatch.setattr("luthier.lm.local.local_server", local_server)
        monkeypatch.setattr("luthier.lm.local.weights_identity", lambda name: f"local:hash-of-{name}")
        lm = LM("local/tiny", slots=2)
        gateway = Gateway(retry=RetryPolicy(first=0.001, longest=0.01))
        asyncio.run(gateway.probe(lm))
        assert started == [("tiny", 2)] and server.requests == []
        for sample in range(3):
            answer = gateway.complete_blocking(
                lm, Request(endpoint=Endpoint.COMPLETIONS, prompt="a", sample=sample), Role.TASK
            )
            assert answer.text == "ok"
        gateway.close()
    assert lm.identity == "local:hash-of-tiny"
    assert started == [("tiny", 2)] * 2
    assert server.paths == ["/v1/completions"] * 4 and server.requests[0]["cache_prompt"] is True


def test_weights_that_do_not_load_are_an_error_at_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def local_server(name: str, *, slots: int) -> Any:
        raise WeightsError(f"{name} has the wrong hash")

    monkeypatch.setattr("luthier.lm.local.local_server", local_server)
    monkeypatch.setattr("luthier.lm.local.weights_identity", lambda name: "local:x")
    gateway = Gateway()
    with pytest.raises(WeightsError, match="wrong hash"):
        gateway.complete_blocking(LM("local/tiny"), ASKED, Role.TASK)
    gateway.close()
