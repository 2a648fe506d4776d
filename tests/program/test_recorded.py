"""Functions whose results are kept: paid once, whatever happens in between."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import ConfigError
from luthier.lm.doubles import ScriptedLM
from tests.optimizers.studies import Interrupted, stop_after, tune
from tests.studies import world

SEARCH = lt.MIPRO(candidates=2, demo_sizes=(0, 3), instructions=2, trials=4, minibatch=9, closing=1)
paid: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_paid() -> None:
    paid.clear()


def evaluate(program: Callable[..., Any], store: Path, rows: int = 6, **given: Any) -> lt.Evaluation:
    data = [{"number": str(i), "answer": "x"} for i in range(rows)]
    settings = {"lm": lt.LM(ScriptedLM(world.answer)), "store": store, **given}
    return lt.evaluate(program, data, lambda example, prediction: bool(prediction), **settings)


@lt.recorded
def retrieve(query: str, k: int = 3) -> list[str]:
    """Search an index that costs money."""
    paid.append((query, k))
    return [f"{query}/{i}" for i in range(k)]


@lt.recorded
async def aretrieve(query: str) -> list[str]:
    paid.append(query)
    await asyncio.sleep(0.01)
    return [query]


def program(number: str) -> str:
    return f"{world.parity(number=number)} {' '.join(retrieve(number[-1:], k=2))} {retrieve(number[-1:], 2)}"


async def aprogram(number: str) -> list[str]:
    await aparity(number=number)
    return await aretrieve(str(int(number) % 2))


@lt.predictor(stop=["#parity"])
async def aparity(number: str) -> str:
    """Say whether the number is even."""
    return lt.predict()


def test_outside_of_a_study_the_function_is_just_called() -> None:
    assert retrieve("a") == retrieve("a") == ["a/0", "a/1", "a/2"]
    with lt.use(lt.LM(lambda request: "")):
        retrieve("a")
    assert paid == [("a", 3)] * 3
    assert retrieve._name == "retrieve" and retrieve.__doc__ == "Search an index that costs money."


def test_inside_each_result_is_paid_once_however_the_arguments_are_written_and_again_never(tmp_path: Path) -> None:
    evaluate(program, tmp_path / "store.sqlite")
    assert sorted(paid) == [(str(i), 2) for i in range(6)]
    evaluate(program, tmp_path / "store.sqlite")
    assert len(paid) == 6


def test_async_functions_are_awaited_and_identical_calls_in_flight_share_one(tmp_path: Path) -> None:
    evaluation = evaluate(aprogram, tmp_path / "store.sqlite", rows=20)
    assert evaluation.mean == 1.0 and sorted(paid) == ["0", "1"]


def test_identical_calls_in_threads_share_one_and_a_failure_is_shared_but_not_kept(tmp_path: Path) -> None:
    started = threading.Event()

    @lt.recorded
    def fragile(word: str) -> str:
        paid.append(word)
        started.wait(0.2)
        if len(paid) == 1:
            raise ConnectionError("down")
        return word

    def uses(number: str) -> str:
        return world.parity(number=number) + fragile("same")

    first = evaluate(uses, tmp_path / "store.sqlite")
    assert first.unscored >= 1, "infrastructure is no score"
    evaluate(uses, tmp_path / "store.sqlite")
    assert 2 <= len(paid) <= 3, "the one that failed, and the one that was kept"


def test_a_caller_that_is_cancelled_leaves_the_work_to_whoever_waits(tmp_path: Path) -> None:
    @lt.recorded
    async def slow(word: str) -> str:
        paid.append(word)
        await asyncio.sleep(0.05)
        return word

    async def impatient(number: str) -> str:
        await aparity(number=number)
        try:
            return await asyncio.wait_for(slow("same"), 0.01 if number == "0" else 5)
        except TimeoutError:
            return "late"

    assert evaluate(impatient, tmp_path / "store.sqlite").mean == 1.0
    assert len(paid) <= 2


def test_what_is_not_pure_is_kept_by_example_and_call(tmp_path: Path) -> None:
    @lt.recorded(pure=False, key="dice")
    def dice() -> int:
        paid.append("dice")
        return len(paid)

    def roll(number: str) -> str:
        return f"{world.parity(number=number)} {dice()} {dice()}"

    before = [rollout.prediction for rollout in evaluate(roll, tmp_path / "s.sqlite", concurrency=1).rollouts]
    assert len(paid) == 12 and len({text.split(" ", 1)[1] for text in before}) == 6
    after = [rollout.prediction for rollout in evaluate(roll, tmp_path / "s.sqlite", concurrency=1).rollouts]
    assert after == before and len(paid) == 12


def test_the_code_or_the_key_says_whose_results_they_are(tmp_path: Path) -> None:
    def made(suffix: str) -> Callable[[str], str]:
        if suffix == "a":

            @lt.recorded
            def lookup(word: str) -> str:
                paid.append("a")
                return word + "a"
        else:

            @lt.recorded
            def lookup(word: str) -> str:
                paid.append("b")
                return word + "b"

        return lookup

    for suffix in ("a", "b", "a"):
        lookup = made(suffix)
        evaluate(lambda number, lookup=lookup: world.parity(number=number) + lookup("w"), tmp_path / "s.sqlite", rows=1)
    assert paid == ["a", "b"]


class Index:
    def __init__(self, word: str) -> None:
        self.word = word

    def search(self, query: str) -> str:
        paid.append((self.word, query))
        return self.word + query

    @lt.recorded(key="index/2")
    def find(self, query: str) -> str:
        return self.search(query)


def test_methods_and_other_callables_need_a_key_and_keep_by_it(tmp_path: Path) -> None:
    index = Index("x")
    for opaque in (index.search, len):
        with pytest.raises(ConfigError, match="give it a key"):
            lt.recorded(opaque)
    search = lt.recorded(index.search, key="index/1")
    evaluate(lambda number: world.parity(number=number) + search("q") + index.find("r"), tmp_path / "s.sqlite", rows=3)
    assert paid == [("x", "q"), ("x", "r")]
    assert index.find("s") == "xs"


def test_what_is_no_json_is_refused_with_its_name(tmp_path: Path) -> None:
    @lt.recorded
    def odd(word: Any) -> Any:
        return {word} if isinstance(word, str) else word

    with pytest.raises(ConfigError, match=r"odd returned what is no JSON .*set"):
        evaluate(lambda number: world.parity(number=number) + str(odd("w")), tmp_path / "s.sqlite", rows=1)
    with pytest.raises(ConfigError, match="the argument word is no JSON"):
        evaluate(lambda number: world.parity(number=number) + str(odd(object())), tmp_path / "s.sqlite", rows=1)


def test_a_study_that_is_interrupted_and_resumed_pays_for_nothing_twice(tmp_path: Path) -> None:
    def described(number: str) -> str:
        retrieve(number)
        return world.describe(number)

    for events in (4, 3, 4):
        with pytest.raises(Interrupted):
            tune(tmp_path / "s", SEARCH, program=described, on_event=stop_after(events))
    tune(tmp_path / "s", SEARCH, program=described)
    assert len(paid) == len(set(paid)) == 100


KILLED = """
import os, signal, sys
import luthier as lt

@lt.recorded
def lookup(word: str) -> str:
    with open("paid", "a") as file:
        file.write(word + "\\n")
    return word

def program(number: str) -> str:
    word = lookup(number)
    if sys.argv[1] == "kill" and number == "3":
        os.kill(os.getpid(), signal.SIGKILL)
    return echo(number) + word

@lt.predictor
def echo(number: str) -> str:
    \"\"\"Say it.\"\"\"

rows = [{"number": str(i), "answer": "x"} for i in range(6)]
lm = lt.LM(lambda request: "x")
print(lt.evaluate(program, rows, lambda e, p: True, lm=lm, store="store.sqlite", concurrency=1).n)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_result_is_kept_before_the_program_sees_it_whatever_kills_it_then(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(KILLED, encoding="utf-8")
    command = [sys.executable, "killed.py"]
    killed = subprocess.run([*command, "kill"], cwd=tmp_path, capture_output=True, check=False)
    assert killed.returncode == -9 and "3" in (tmp_path / "paid").read_text(encoding="utf-8").split()
    again = subprocess.run([*command, "go"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.stdout.strip() == "6", again.stderr
    assert sorted((tmp_path / "paid").read_text(encoding="utf-8").split()) == [str(i) for i in range(6)]


def test_predictors_inside_a_recorded_function_are_found() -> None:
    from luthier.program.program import discover

    @lt.recorded
    def inner(number: str) -> str:
        return world.parity(number=number)

    def outer(number: str) -> str:
        return inner(number)

    assert [component.name for component in discover(outer).components] == ["parity"]
