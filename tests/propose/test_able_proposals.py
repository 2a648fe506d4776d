"""What able proposers write passes, and what is no instruction does not.

The two lists of thirty in ``proposals/`` were written from luthier's meta-prompts for six invented programs, and frozen
before a guard was changed. They stay as they are: an instruction found later becomes a test of its own.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from luthier.evaluation.data import Example, Row
from luthier.lm.request import Completion
from luthier.program.candidate import Demo
from luthier.program.signature import Field, Signature
from luthier.propose import instructions as instructions_module
from luthier.propose.cleaning import clean
from luthier.propose.demo_sets import demo_set
from luthier.propose.grounding import Grounding, GroundingSettings
from luthier.propose.instructions import InstructionPool, propose_instructions
from luthier.propose.wording import words_of
from tests.propose.world import program, proposer
from tests.propose.world import rows as petals

FOLDER = Path(__file__).parent / "proposals"
TASKS: dict[str, Any] = json.loads((FOLDER / "tasks.json").read_text(encoding="utf-8"))
KINDS = ["rules", "formats", "labels", "examples", "checklists", "personas"]


class Written(NamedTuple):
    """A proposer's answer, and what it is for."""

    task: str
    what: str
    finish: Literal["stop", "length"]
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
    task: str,
    answer: str,
    finish: Literal["stop", "length"] = "stop",
    *,
    count: int = 1,
    settings: GroundingSettings | None = None,
) -> InstructionPool:
    """Return what is made of an answer by a proposer that was shown all there is to know of a task."""
    facts = TASKS[task]
    outputs = tuple(
        Field(name, int) if told == "int" else Field(name, str, choices=tuple(told))
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


LABELS = "card payment fee charged, lost or stolen card, pending cash withdrawal, request refund"


@pytest.mark.parametrize(
    ("task", "text"),
    [
        # A first person that is no refusal.
        ("labels", "I can't overstate this: a fee is never goods, so a fee is never a refund request."),
        ("labels", "I won't tell you how likely each label is; judge each message by itself and name the intent."),
        ("personas", "As an AI language model trained on hotel talk, you reply to reviews in a warm and brief voice."),
        ("rules", "Never write \"I'm sorry, but I can't help with that\": choose the likeliest queue instead."),
        ("checklists", "I will give you a clause of a contract. You will rate how risky it is for the buyer."),
        # Form: braces, tags, fences, code.
        ("formats", "Reply with {} where the invoice is empty, else with the five keys {vendor, number, date}."),
        ("formats", "Write <vendor>…</vendor> and <total>…</total>, and [date in ISO form] between them."),
        ("formats", "Fill in:\n\n```\nvendor: [insert the name here]\ntotal: <your number>\n```\n\nThen stop."),
        ("examples", "Think like this:\n```python\nreturn boxes * per_box\n```\nThen write the number."),
        ("examples", "Put your thoughts in <think> tags, end them with </think>, and write the number after them."),
        # Lists of labels, and rules of one pattern.
        ("labels", f"Pick from {LABELS}."),
        ("labels", "\n".join(f"{n}. If the message mentions word{n}, answer {LABELS[: 20 + n]}." for n in range(60))),
        ("rules", "QUEUES: billing, outage, security.\nTIP: downtime of enterprise customers is always outage."),
        ("rules", "Answer with the name and nothing else: no title, no quotation marks, no explanation."),
        ("checklists", "This is a high-stakes situation that hangs on the answer. Read twice, then rate the clause."),
        # Facts that the meta-prompt was filled with.
        ("personas", str(TASKS["personas"]["dataset"])),
        ("rules", f"{TASKS['rules']['original']} {TASKS['rules']['dataset']}"),
        ("examples", f"Work like this. {TASKS['examples']['rows'][0][0]['problem']} The answer is 31."),
        # Languages, some of which write no spaces.
        ("labels", "判断客户消息的意图。"),
        ("labels", "顧客のメッセージの意図を一つ選んでください。"),
        ("labels", "ระบุเจตนาของลูกค้าจากข้อความ"),
        ("labels", "Назови намерение клиента; отвечай только меткой."),
        # A last line without a full stop.
        ("rules", "Route the ticket to the queue that the customer is waiting for"),
        ("rules", "Think twice; if nothing decides, take option A"),
        ("examples", "Solve it, and end with a line of this form:\nAnswer:"),
    ],
)
def test_what_good_instructions_are_made_of_is_no_fault(task: str, text: str) -> None:
    pool = proposed(task, text)
    assert pool.rejected == {}
    assert [one.text for one in pool.predictors[TASKS[task]["name"]][1:]] == [text]


@pytest.mark.parametrize(
    ("task", "text", "reason"),
    [
        ("rules", "I am sorry, I cannot assist with this.", "refusal"),
        ("rules", "As an AI, I don't have access to support tickets.", "refusal"),
        ("labels", "抱歉，我无法完成这个请求。", "refusal"),
        ("formats", "Sure, here's what I need. Could you share the invoice?", "chatter only"),
        ("formats", "I understand. Please provide the details of the module.", "chatter only"),
        ("personas", "Thank you! I hope this helps. Let me know if you want changes.", "chatter only"),
        ("rules", "The answer is security.", "answer instead of instruction"),
        ("rules", "**queue**: feature request", "answer instead of instruction"),
        ("checklists", "risk: high\nreason: Liability is capped at the fees paid.", "answer instead of instruction"),
        ("checklists", '{"risk": "low", "reason": "It is capped."}', "answer instead of instruction"),
        ("examples", "31", "answer instead of instruction"),
        ("rules", "Choose the queue for the", "cut"),
        ("rules", "Choose the queue by these rules: billing for invoices, outage for downtime,", "cut"),
        ("formats", "Answer like this:\n```json\n{}", "cut"),
        ("formats", "[Insert your instruction here]", "placeholder"),
        ("formats", "<new instruction>", "placeholder"),
        ("formats", "def extract(invoice):\n    return {}", "code"),
        ("formats", '<thinking>What is asked?</thinking>\n"""', "empty"),
        ("labels", "Classify. " * 90, "repeats itself"),
        ("labels", "请判断客户的意图。" * 30, "repeats itself"),
        (
            "labels",
            "Name the intent. The model will see the instruction and none of these facts: put into it every rule.",
            "echoes the meta-prompt",
        ),
    ],
)
def test_what_is_no_instruction_is_rejected(task: str, text: str, reason: str) -> None:
    assert proposed(task, text).rejected == {reason: 1}


@pytest.mark.parametrize(
    ("answer", "instruction"),
    [
        ("# Improved Prompt\n\nName it well.", "Name it well."),
        ("New instruction for the `x` module:\nName it well.", "Name it well."),
        ("**New instruction for `x`:** Name it well.", "Name it well."),
        ("## Instructions\nName it well.\n## Rules\n- none", "Name it well.\n## Rules\n- none"),
        ("BASIC INSTRUCTION:\nName it well.", "Name it well."),
        ("## Task\nName it well.", "## Task\nName it well."),
        ("Great! Here is the revised prompt for the step:\n\nName it well.", "Name it well."),
        ("Hm.\n</think>\nName it well.", "Name it well."),
        ("<think>a</think><think>b</think>Name it well.", "Name it well."),
        (
            "<think>a</think>\nThink in <think></think> tags, then name it.",
            "Think in <think></think> tags, then name it.",
        ),
        ("1. Open with <thinking>, and close it.\n2. Name it.", "1. Open with <thinking>, and close it.\n2. Name it."),
        ("Well, petals.</think>Name it well.", "Name it well."),
        ("Well.\n<think>petals</think>\nName it well.", "Name it well."),
        ("Name it well.\n\nKey improvements:\n- shorter\n\n- clearer", "Name it well."),
        ('In JSON:\n\n{\n  "rationale": "why"\n}', 'In JSON:\n\n{\n  "rationale": "why"\n}'),
        ("Name it well.\n\nLet me know if you want it shorter!", "Name it well."),
        ("Name it as in\n```json\n{}\n```", "Name it as in\n```json\n{}\n```"),
        ("```json\n{}\n```\nis the form; name it well.", "```json\n{}\n```\nis the form; name it well."),
        ("Write two lines.\n\nReasoning: why\nAnswer: what", "Write two lines.\n\nReasoning: why\nAnswer: what"),
        ("Follow these instructions with care:\nname it.", "Follow these instructions with care:\nname it."),
    ],
)
def test_what_a_proposer_puts_around_an_instruction_is_cut_off_and_nothing_else(answer: str, instruction: str) -> None:
    assert clean(answer) == instruction


class TestReporting:
    def test_every_rejected_proposal_is_kept_with_its_text_and_reason(self) -> None:
        pool = proposed("labels", "lost or stolen card", count=3, settings=GroundingSettings(tries=2))
        assert [(one.predictor, one.text, one.reason) for one in pool.rejections] == [
            ("intent", "lost or stolen card", "answer instead of instruction")
        ] * 6
        assert InstructionPool.from_json(json.loads(json.dumps(pool.to_json()))) == pool

    def test_more_than_half_rejected_is_a_warning(self) -> None:
        pool = proposed("labels", "Name the intent with care.", count=2, settings=GroundingSettings(tries=3))
        assert pool.rejected == {"duplicate": 3}
        (warning,) = pool.warnings
        assert "'intent'" in warning and "3 of 4" in warning and "duplicate" in warning

    def test_a_quotation_is_reported_and_refused_only_where_asked(self) -> None:
        message, label = TASKS["personas"]["rows"][0][0]["review"], "Reply to reviews such as this one"
        pool = quoting(message, label, GroundingSettings(tries=1))
        assert pool.rejected == {} and [one.quotes for one in pool.predictors["reply"]] == [False, True]
        pool = quoting(message, label, GroundingSettings(tries=1, refuse_quotes=True))
        assert pool.rejected == {"quotes training data": 1}

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            ("Mind the petals of Secret Owner Number 7, and name the species.", "holds a private value"),
            (Completion("Mind the petals of Secret Owner Number 7, and", finish_reason="length"), "cut"),
            ("Mind the petals of Secret Owner Number 7, and", "cut"),
            ("I'm sorry, but I can't tell of Secret Owner Number 7.", "refusal"),
            ("<think>Secret Owner Number 7 has petals</think>", "empty"),
            ("Sure, here is the instruction for Secret Owner Number 7:", "empty"),
        ],
    )
    def test_a_private_value_is_rejected_and_not_shown(self, answer: Completion | str, reason: str) -> None:
        asked, _ = proposer(lambda request: answer)
        made = propose_instructions(
            asked,
            program(),
            Grounding(),
            (),
            petals(30),
            wanted={"species": (1,)},
            settings=GroundingSettings(tries=1),
            seed=0,
        )
        pool = asyncio.run(made)
        assert pool.rejected == {reason: 1}
        assert "Secret" not in json.dumps(pool.to_json())


def quoting(message: str, label: str, settings: GroundingSettings) -> InstructionPool:
    facts = TASKS["personas"]
    signature = Signature(
        "reply", facts["original"], tuple(Field(name, str) for name in facts["inputs"]), (Field("reply", str),)
    )
    rows = [
        Row(f"{n}", Example({**given, **labels}, list(labels)), given, labels, "")
        for n, (given, labels) in enumerate(facts["rows"])
    ]
    asked, _ = proposer(lambda request: f"{label}: {message}")
    made = propose_instructions(
        asked, program(signature), Grounding(), (), rows, wanted={"reply": (1,)}, settings=settings, seed=0
    )
    return asyncio.run(made)
