"""The user's own code as a language model: which one is which, and where it runs."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from luthier.lm.doubles import ScriptedLM
from luthier.lm.engine import engine
from luthier.lm.gateway import Gateway
from luthier.lm.lm import LM
from luthier.lm.request import Completion, Message, Request
from luthier.lm.store import Store
from luthier.types import Role

ASKED = Request(messages=(Message("user", "?"),))


def test_callables_are_told_apart_by_code_and_closure() -> None:
    def factory(answer: str) -> Callable[[Request], str]:
        return lambda request: answer

    def other(answer: str) -> Callable[[Request], str]:
        return lambda request: answer + "!"

    assert LM(factory("a")).identity == LM(factory("a")).identity
    assert len({LM(factory("a")).identity, LM(factory("b")).identity, LM(other("a")).identity}) == 3
    assert LM(ScriptedLM(str, identity="double")).identity == "callable:double"


class Named:
    """A callable object that counts."""

    def __init__(self, model: str, api_key: str = "k") -> None:
        self.model = model
        self.api_key = api_key
        self.calls = 0

    def __call__(self, request: Request) -> str:
        self.calls += 1
        return self.model


class Completing(Named):
    async def complete(self, request: Request) -> Completion:
        return Completion(self(request))


def answer_as(request: Request, model: str) -> str:
    return model


def through(model: str) -> Callable[[Request], str]:
    @functools.wraps(answer_as)
    def asked(request: Request) -> str:
        return answer_as(request, model)

    return asked


@pytest.mark.parametrize(
    "make",
    [
        lambda model: functools.partial(answer_as, model=model),
        lambda model: functools.partial(lambda options, request: options["model"], {"model": model}),
        Named,
        Completing,
        lambda model: Named(model).__call__,
        through,
    ],
)
def test_what_differs_in_its_settings_alone_never_answers_for_another(make: Callable[[str], Any]) -> None:
    first, second, again = LM(make("a")), LM(make("b")), LM(make("a"))
    gateway = Gateway(store=Store(":memory:"))
    assert [gateway.complete_blocking(lm, ASKED, Role.TASK).text for lm in (first, second, again)] == ["a", "b", "a"]
    assert gateway.hits == 1, "the same settings share stored answers"
    gateway.close()


def test_what_changes_at_work_or_with_a_new_key_is_still_the_same_model() -> None:
    used = Named("a", "old key")
    used(ASKED)
    assert LM(used).identity == LM(Named("a", "new key")).identity


def test_two_objects_that_look_alike_are_each_asked_for_themselves() -> None:
    class Opaque:
        identity = "alike"

        def __init__(self, answer: int) -> None:
            self.answer = answer

        def __call__(self, request: Request) -> str:
            return str(self.answer)

    gateway = Gateway()
    texts = [gateway.complete_blocking(LM(Opaque(n)), ASKED, Role.TASK).text for n in (1, 2)]
    assert texts == ["1", "2"]
    gateway.close()


@pytest.mark.parametrize("form", ["function", "object", "returns an awaitable"])
def test_user_code_that_blocks_its_loop_does_not_hold_up_the_engine(form: str) -> None:
    entered, release = threading.Event(), threading.Event()

    async def blocks(request: Request) -> str:
        assert threading.current_thread().name == "luthier-user-loop"
        entered.set()
        release.wait(10)
        return "late"

    class Completer:
        async def complete(self, request: Request) -> Completion:
            return Completion(await blocks(request))

    async def soon() -> str:
        return "at once"

    model: Any = {"function": blocks, "object": Completer(), "returns an awaitable": lambda request: blocks(request)}[
        form
    ]
    gateway = Gateway()
    late = engine().submit(gateway.complete(LM(model), ASKED, Role.TASK))
    assert entered.wait(5)
    assert engine().submit(soon()).result(5) == "at once"
    began = time.monotonic()
    gateway.stop(0.1)
    assert time.monotonic() - began < 1.0
    release.set()
    with pytest.raises(Exception, match="stopped"):
        late.result(5)
    gateway.close()
