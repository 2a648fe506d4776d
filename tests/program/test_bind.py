"""Predictors at work outside a study."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading

import pytest

import luthier as lt
from luthier.errors import CandidateError, ConfigError
from luthier.lm.doubles import ScriptedLM
from luthier.lm.request import Request
from luthier.program.candidate import Candidate, Prompt
from luthier.program.program import discover


@lt.predictor
def greet(name: str) -> str:
    """Greet."""
    return lt.predict()


@lt.predictor
async def greet_later(name: str) -> str:
    """Greet later."""
    return lt.predict()


def program(name: str, mark: str = "!") -> str:
    """Greet loudly."""
    return greet(name) + mark


async def program_later(name: str) -> str:
    return await greet_later(name)


def instruction(request: Request) -> str:
    return request.messages[0].text.split("\n")[0]


def lm() -> lt.LM:
    return lt.LM(ScriptedLM(instruction))


class Desk:
    def __init__(self, tone: str) -> None:
        self.tone = tone

    @lt.predictor
    def answer(self, name: str, sign: str = "") -> str:
        """Answer."""
        return lt.predict()


TUNED = Candidate({"greet": Prompt("Tuned.")})


def test_use_reaches_every_predictor_in_the_block_and_none_after_it() -> None:
    with lt.use(lm()):
        assert program("x") == "Greet.!"
        with lt.use(lm(), TUNED):
            assert program("x") == "Tuned.!"
        assert asyncio.run(program_later("x")) == "Greet later."
    with pytest.raises(ConfigError):
        program("x")


def test_a_notebook_may_call_sync_predictors_on_its_running_loop() -> None:
    async def cell() -> str:
        with lt.use(lm()):
            return program("x") + lt.bind(program, lm=lm())("y")

    assert asyncio.run(cell()) == "Greet.!Greet.!"


def test_bind_keeps_signature_name_and_document() -> None:
    bound = lt.bind(program, lm=lm(), candidate=TUNED)
    assert bound("x", mark="?") == "Tuned.?"
    assert bound.__name__ == "program"
    assert bound.__doc__ == "Greet loudly."
    assert inspect.signature(bound) == inspect.signature(program)
    assert inspect.iscoroutinefunction(lt.bind(program_later, lm=lm()))


def test_bind_works_from_threads_that_know_nothing_of_any_context() -> None:
    bound = lt.bind(program, lm=lm(), candidate=TUNED)
    later = lt.bind(program_later, lm=lm())
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(bound("x") + asyncio.run(later("y")))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["Tuned.!Greet later."] * 4


def test_bind_does_not_leave_its_context_behind() -> None:
    with lt.use(lm()):
        assert lt.bind(program, lm=lm(), candidate=TUNED)("x") == "Tuned.!"
        assert program("x") == "Greet.!"


def test_a_candidate_for_another_program_is_refused_before_any_call() -> None:
    with pytest.raises(CandidateError, match="'other'"):
        lt.bind(program, lm=lm(), candidate=Candidate({"other": Prompt("")}))
    drifted = Candidate({"greet": Prompt("")}, {"greet": "who: str -> greet: str # b2:0"})
    with pytest.raises(CandidateError, match="'greet' was made for `who: str"):
        lt.bind(program, lm=lm(), candidate=drifted)
    with lt.use(lm(), drifted), pytest.raises(CandidateError, match="'greet'"):
        program("x")


def test_predictors_met_only_at_run_time_can_be_named_for_bind() -> None:
    def dynamic(name: str) -> str:
        return "".join(maker("dynamic")(name) for maker in [getattr(greet, "named")])  # noqa: B009 - hidden on purpose

    tuned = Candidate({"dynamic": Prompt("Found.")})
    assert lt.bind(dynamic, lm=lm(), candidate=tuned, predictors=[greet.named("dynamic")])("x") == "Found."


def test_a_program_deploys_without_the_tuning_dependencies() -> None:
    code = """
import sys
import luthier as lt

@lt.predictor
def answer(question: str) -> int:
    "Answer."
    return lt.predict()

lt.Candidate({"answer": lt.Prompt("Tuned.")}).save(sys.argv[1])
candidate = lt.Candidate.load(sys.argv[1])
bound = lt.bind(answer, lm=lt.LM(lambda request: "4"), candidate=candidate)
assert bound("2 + 2") == 4
loaded = {"numpy", "aiohttp", "optuna", "typer", "pydantic"} & set(sys.modules)
assert not loaded, loaded
"""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_predictor_that_is_a_method_is_a_program_by_itself() -> None:
    answer = Desk("warm").answer
    assert list(inspect.signature(answer).parameters) == ["name", "sign"]
    assert lt.bind(answer, lm=lm())(name="x") == "Answer."
    found = discover(answer)
    assert (found.name, [p.name for p in found.predictors]) == (f"{__name__}:Desk.answer", ["Desk.answer"])
    rows = [{"name": f"n{i}", "label": "Answer."} for i in range(3)]
    assert lt.evaluate(answer, rows, lt.exact_match("label"), lm=lm()).mean == 1.0


def test_a_call_with_wrong_arguments_says_which_predictor() -> None:
    with lt.use(lm()), pytest.raises(TypeError, match=r"predictor 'greet': missing a required argument: 'name'"):
        greet()  # type: ignore[call-arg]
