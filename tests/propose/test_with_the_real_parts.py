"""Bootstrap, ground, and propose with the real program, evaluator, and gateway; only the LM follows a function."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import luthier as lt
from luthier.evaluation.data import Row, load_rows
from luthier.evaluation.evaluator import Evaluator
from luthier.lm.doubles import ScriptedLM
from luthier.lm.gateway import Gateway
from luthier.lm.request import Request
from luthier.lm.store import Store
from luthier.program.program import Program, discover
from luthier.propose.bootstrap import Bootstrapped, BootstrapSettings, bootstrap
from luthier.propose.grounding import GroundingSettings, ground
from luthier.propose.instructions import InstructionPool, propose_instructions
from luthier.propose.proposer import Proposer


@lt.predictor(stop=["#size"])
def petal_size(petal: str, owner: Annotated[str, lt.Private]) -> Literal["small", "large"]:
    """Say how large the petal is."""
    return lt.predict()


@lt.predictor(stop=["#species"])
def species(size: str, petal: str) -> Literal["setosa", "virginica"]:
    """Name the species of the iris."""
    return lt.predict()


def classify(petal: str, owner: str) -> str:
    """Classify an iris by its petal."""
    first = petal_size(petal=petal[:3], owner=owner)
    again = petal_size(petal=petal[3:], owner=owner)
    return species(size=f"{first} and {again}", petal=petal)


def right(example: Any, prediction: str) -> bool:
    return bool(prediction == example.species)


def answer(request: Request) -> str:
    """Answer setosa whatever the petal, unless asked hotly; write an instruction when nobody stops it."""
    if "#size" in request.stop:
        return "small"
    if "#species" in request.stop:
        petal = re.findall(r"petal-(\d+)", request.messages[-1].text)[-1]
        return "virginica" if request.temperature == 1.0 and int(petal) % 4 == 1 else "setosa"
    return f"Look at the petal in way {request.sample}, then decide on {len(request.messages[0].text)} grounds."


def world(n: int = 24) -> tuple[Program, list[Row]]:
    data = [
        {"petal": f"petal-{i}", "owner": f"Nobody {i}", "species": ("setosa", "virginica")[i % 2]} for i in range(n)
    ]
    program = discover(classify)
    return program, load_rows(data, program.parameters)


def with_gateway(work: Callable[[Gateway, lt.LM, ScriptedLM], Any]) -> tuple[Any, ScriptedLM]:
    scripted = ScriptedLM(answer)
    lm = lt.LM(scripted)
    gateway = Gateway(store=Store(":memory:"))
    try:
        return asyncio.run(work(gateway, lm, scripted)), scripted
    finally:
        gateway.close()


def bootstrapped(n: int = 24) -> tuple[Bootstrapped, ScriptedLM]:
    program, rows = world(n)

    async def work(gateway: Gateway, lm: lt.LM, scripted: ScriptedLM) -> Bootstrapped:
        evaluator = Evaluator(program, right, {row.id: row for row in rows}, lm, gateway, concurrency=8)
        settings = BootstrapSettings(sizes=(0, 4, 8))
        return await bootstrap(evaluator, rows, settings, teacher=lm, candidate=program.original, seed=0)

    return with_gateway(work)


def test_a_teacher_of_one_answer_gives_balanced_demos_through_rounds_and_completion() -> None:
    found, _ = bootstrapped()
    assert found.passes == {"setosa": 12, "virginica": 6}
    answers = [demo.outputs["species"] for demo in found.sets[2].demos["species"]]
    assert sorted(answers) == ["setosa"] * 4 + ["virginica"] * 4
    assert len(found.sets[2].demos["petal_size"]) == 8
    assert {d.provenance.call for d in found.sets[2].demos["petal_size"] if d.provenance} == {0, 1}


def test_private_values_leave_neither_in_demos_nor_to_the_proposer() -> None:
    program, rows = world()
    found, _ = bootstrapped()

    async def work(gateway: Gateway, lm: lt.LM, scripted: ScriptedLM) -> InstructionPool:
        proposer = Proposer(gateway, lm)
        settings = GroundingSettings()
        grounding = await ground(proposer, program, rows, settings, 0, traces=found.traces)
        wanted = {predictor.name: range(1, 3) for predictor in program.predictors}
        pool = await propose_instructions(
            proposer, program, grounding, found.sets, rows, wanted=wanted, settings=settings, seed=0
        )
        assert "Nobody" not in json.dumps([grounding.to_json(), pool.to_json()])
        return pool

    pool, scripted = with_gateway(work)
    assert "Nobody" not in json.dumps(found.to_json())
    asked = [request.messages[0].text for request in scripted.requests]
    assert asked and not any("Nobody" in text for text in asked)
    assert any("def classify(petal" in text for text in asked)
    assert [len(own) for own in pool.predictors.values()] == [3, 3]
    assert InstructionPool.from_json(json.loads(json.dumps(pool.to_json()))) == pool


def test_the_demos_fit_the_program_they_are_for() -> None:
    program, rows = world()
    found, _ = bootstrapped()
    candidate = program.original
    for name, demos in found.sets[1].demos.items():
        candidate = candidate.with_demos(name, demos)
    program.check(candidate)

    async def work(gateway: Gateway, lm: lt.LM, scripted: ScriptedLM) -> float:
        evaluator = Evaluator(program, right, {row.id: row for row in rows}, lm, gateway, concurrency=8)
        return (await evaluator.evaluate(candidate, [row.id for row in rows])).mean

    mean, scripted = with_gateway(work)
    assert mean == 0.5
    assert any(message.role == "assistant" for message in scripted.requests[-1].messages)
