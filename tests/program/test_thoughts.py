"""What a model thinks before it answers is no part of the answer, however it is marked."""

from __future__ import annotations

from typing import Literal

import pytest

import luthier as lt
from luthier.errors import Unparseable
from luthier.lm.request import Completion, Usage
from luthier.program.thoughts import unfinished_thought, without_thoughts


@lt.predictor
def queue(ticket: str) -> Literal["billing", "delivery"]:
    """Choose the queue."""
    return lt.predict()


@lt.predictor
def note(ticket: str) -> str:
    """Write a note."""
    return lt.predict()


SPELLINGS = [
    "Money, not delivery.\n</think>\n\nbilling",  # DeepSeek-R1 and Qwen3 behind servers without a parser
    "<think>\nx\n</think>\n\nbilling",
    "<thinking>delivery?</thinking>\nbilling",
    "<THINK>x</THINK>billing",
    "</think>billing",
    "<thought>\nx</thought>\nbilling",  # Gemini's summaries, EXAONE
    "<reasoning>delivery?</reasoning>billing",
    "x\n</reasoning>\nbilling",
    "<seed:think>x</seed:think>billing",  # Seed-OSS
    "[THINK]delivery?[/THINK]billing",  # Magistral
    "◁think▷x◁/think▷billing",  # Kimi
    "<|START_THINKING|>x<|END_THINKING|><|START_RESPONSE|>billing<|END_RESPONSE|>",  # Command A
    "<|begin_of_thought|>x<|end_of_thought|>\n<|begin_of_solution|>billing<|end_of_solution|>",  # OpenThinker
    "<|channel|>analysis<|message|>delivery?<|end|><|start|>assistant<|channel|>final<|message|>billing<|return|>",
    "<|channel>thought\nx<channel|>billing",  # Gemma 4
    "<unused94>thought\nx<unused95>billing",  # MedGemma
    "Here are my reasoning steps:\nx\n[BEGIN FINAL RESPONSE]\nbilling\n[END FINAL RESPONSE]",  # Apriel
    "Here is my thought process:\nx\nHere is my response:\nbilling",  # Granite
    "<think>a<think>b</think>c</think>billing",
    "<think>a</think>\n<think>b</think>\nbilling",
    "Well.\n<think>delivery?</think>\nbilling",
    "<think>x</think>\n<answer>billing</answer>",  # Hunyuan
    "billing\n<think>delivery would be wrong</think>",
    "billing\n<think>but maybe",
    "billing<|im_end|>",
]


@pytest.mark.parametrize("reply", SPELLINGS)
def test_thoughts_are_no_part_of_a_choice_nor_of_a_text(reply: str) -> None:
    with lt.use(lt.LM(lambda request: reply)):
        assert queue(ticket="x") == "billing"
        assert note(ticket="x") == "billing"


@pytest.mark.parametrize(
    "reply",
    [
        "Close thoughts with `</think>`, then answer.",
        'A tag "<think>" opens them.',
        "I think </b> ends bold text.",
        "Here is my response: no.",
        "Thinking: a hobby. <i>Reasoning</i>, too.",
        "1 < 2 and 3 > 2",
        '{"html": "<think>a</think>b"}',
        '```json\n{"html": "a</think>b"}\n```',
        "First reason inside <thinking> tags, then give the answer.",
        "Put your thoughts in <think> tags, end them with </think>, and write the number after them.",
        "Think inside <thinking></thinking> tags. Then write the queue.",
        "1. Open a <scratchpad> for your notes.\n2. Close it with </scratchpad>.\n3. Answer with one word.",
        "Say <reasoning>why</reasoning>\nand then the queue.",
    ],
)
def test_a_text_about_tags_stays_whole(reply: str) -> None:
    assert without_thoughts(reply) == reply


@pytest.mark.parametrize(
    ("thoughts", "answer"),
    [
        ("<think>x</think>\n", '{"html": "use </think> to end"}'),
        ("It is HTML.\n</think>\n\n", '```json\n{"html": "use </think> to end"}\n```'),
        ("<think>I could ask for <think> tags here.</think>\n", "Reason inside <thinking> tags first."),
        ("Should I use <think> tags?\nNo.\n</think>\n\n", "Choose the queue."),
    ],
)
def test_thoughts_end_where_the_answer_speaks_of_tags(thoughts: str, answer: str) -> None:
    assert without_thoughts(thoughts + answer).strip() == answer


@pytest.mark.parametrize("reply", ["<think>so far", "<thinking>\nbilling", "[THINK]billing", "<think>a</think>"])
def test_an_answer_that_never_left_its_thoughts_is_none(reply: str) -> None:
    with lt.use(lt.LM(lambda request: reply)):
        for predictor in (queue, note):
            with pytest.raises(Unparseable):
                predictor(ticket="x")


def test_a_thought_that_never_ends_is_known() -> None:
    assert unfinished_thought("<reasoning>so far")
    assert not unfinished_thought("<reasoning>so</reasoning> done")
    assert not unfinished_thought("done")


@pytest.mark.parametrize(
    "completion",
    [
        Completion("", "length", Usage(9, 1024, 0, 1, 1000)),
        Completion("bill", "length", Usage(9, 1024, 0, 1, 1000)),
        Completion("<think>it is", "length", Usage(9, 1024, 0, 1)),
        Completion("", "length"),
    ],
)
def test_an_answer_cut_by_thinking_says_so(completion: Completion) -> None:
    with lt.use(lt.LM(lambda request: completion)), pytest.raises(Unparseable, match=r"reasoning.*max_tokens"):
        note(ticket="x")


def test_an_answer_that_is_only_too_long_does_not_blame_thinking() -> None:
    completion = Completion("a long no", "length", Usage(9, 1024, 0, 1))
    with lt.use(lt.LM(lambda request: completion)), pytest.raises(Unparseable) as raised:
        note(ticket="x")
    assert "reasoning" not in str(raised.value)


def test_a_conversation_does_not_carry_thoughts_on() -> None:
    @lt.predictor
    def chat(turns: list[lt.Message]) -> lt.Reply:
        """Answer."""
        return lt.predict()

    with lt.use(lt.LM(lambda request: "hm</think>hello")):
        assert chat(turns=[lt.Message("user", "hi")]).text == "hello"
