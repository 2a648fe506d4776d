"""What able proposers write passes, and what is no instruction does not.

The two lists of thirty in ``proposals/`` were written from luthier's meta-prompts for six invented programs, and frozen
before a guard was changed. They stay as they are: an instruction found later becomes a test of its own.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from luthier.evaluation.data import Example, Row
from luthier.lm.request import Completion
from luthier.program.candidate import Demo
from luthier.program.signature import Field, Signature
from luthier.propose import instructions as instructions_module
from luthier.propose.demo_sets import demo_set
from luthier.propose.grounding import Grounding, GroundingSettings
from luthier.propose.instructions import InstructionPool, propose_instructions
from luthier.propose.wording import words_of
from tests.propose.world import program, proposer

FOLDER = Path(__file__).parent / "proposals"
TASKS: dict[str, Any] = json.loads((FOLDER / "tasks.json").read_text(encoding="utf-8"))
KINDS = ["rules", "formats", "labels", "examples", "checklists", "personas"]


class Written(NamedTuple):
    """A proposer's answer, and what it is for."""

    task: str
    what: str
    finish: str
    text: str


def read(name: str) -> list[Written]:
    parts = re.split(r"^=== (.*)\n", (FOLDER / name).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = []
    for head, text in zip(parts[::2], parts[1::2], strict=True):
        task, what, finish = [*head.split(", "), "good", "stop"][:3] if ", " in head else (head, "good", "stop")
        found.append(Written(task, what, "length" if finish == "length" else "stop", text.strip()))
    return found


GOOD, MALFORMED = read("good.txt"), read("malformed.txt")
FAULTS = {
    "echo": "echoes the meta-prompt",
    "cut": "cut",
    "refusal": "refusal",
    "chatter": "chatter only",
    "empty": "empty",
    "answer": "answer instead of instruction",
    "repetition": "repeats itself",
}


@pytest.fixture(autouse=True)
def source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions_module, "program_code", lambda program: "def run(): ...")


def proposed(
    task: str, answer: str, finish: str = "stop", *, count: int = 1, settings: GroundingSettings | None = None
) -> InstructionPool:
    """Return what is made of an answer by a proposer that was shown all there is to know of a task."""
    facts = TASKS[task]
    types = {"int": int}
    outputs = tuple(
        Field(name, types.get(cast(str, told), str) if isinstance(told, str) else str, choices=tuple(told))
        if not isinstance(told, str)
        else Field(name, types[told])
        for name, told in facts["outputs"].items()
    )
    inputs = tuple(Field(name, str, description) for name, description in facts["inputs"].items())
    signature = Signature(facts["name"], facts["original"], inputs, outputs)
    rows = [
        Row(f"{number}", Example({**given, **labels}, list(labels)), given, labels, "")
        for number, (given, labels) in enumerate(facts["rows"] * 10)
    ]
    demos = demo_set({signature.name: [Demo(given, labels) for given, labels in facts["rows"]]})
    asked, _ = proposer(lambda request: Completion(answer, finish))
    pool = propose_instructions(
        asked,
        program(signature),
        Grounding(facts["dataset"], facts["program"], {signature.name: facts["role"]}),
        [demos],
        rows,
        wanted={signature.name: range(1, 1 + count)},
        settings=settings or GroundingSettings(tries=1),
        seed=0,
    )
    return asyncio.run(pool)


def test_the_lists_are_thirty_and_thirty_of_six_kinds_of_task_and_seven_kinds_of_fault() -> None:
    assert len(GOOD) == len(MALFORMED) == 30
    assert [one.task for one in GOOD] == [kind for kind in KINDS for _ in range(5)]
    assert {one.what for one in MALFORMED} == set(FAULTS)
    assert all(200 <= len(one.text) <= 6000 for one in GOOD)


@pytest.mark.parametrize("written", GOOD, ids=lambda one: f"{one.task}: {one.text[:40]}")
def test_a_good_instruction_passes_whole(written: Written) -> None:
    pool = proposed(written.task, written.text)
    assert pool.rejected == {}
    ((_, taken),) = pool.predictors.values()
    mine, theirs = words_of(taken.text), words_of(written.text)
    assert " ".join(mine) in " ".join(theirs), "what is kept stands as it was written"
    assert len(mine) >= len(theirs) - 8, "and only what is around it is cut off"


@pytest.mark.parametrize("written", MALFORMED, ids=lambda one: f"{one.task}: {one.what}: {one.text[:30]}")
def test_a_malformed_answer_is_rejected_for_what_it_is(written: Written) -> None:
    pool = proposed(written.task, written.text, written.finish)
    assert pool.rejected == {FAULTS[written.what]: 1}
    (rejection,) = pool.rejections
    assert rejection.reason == FAULTS[written.what] and rejection.predictor == TASKS[written.task]["name"]
    assert rejection.text in written.text and (rejection.text or not written.text)
