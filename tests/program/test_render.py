"""Rendering: what the LM reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from hypothesis import given
from hypothesis import strategies as st

import luthier as lt
from luthier.lm.doubles import ScriptedLM
from luthier.lm.request import Request
from luthier.program.candidate import Demo, Prompt
from luthier.program.predictor import Predictor
from luthier.program.render import CallSettings, messages, render, text


@lt.predictor(output="species")
def classify(length: float, colour: str) -> Literal["setosa", "virginica"]:
    """Name the iris."""


@lt.predictor(reasoning=True)
def answer(context: list[str], question: Annotated[str, "what to answer"]) -> str:
    """Answer the question."""


@lt.predictor
def rephrase(line: str) -> str:
    """Say it otherwise."""


@dataclass
class Facts:
    names: list[str]
    year: int | None


@lt.predictor
def facts(document: str) -> Facts:
    """List the facts."""


@dataclass
class Verdict:
    reasoning: str
    holds: bool
    score: int


@lt.predictor
def verdict(claim: str, secret: Annotated[str, lt.Private]) -> Verdict:
    """Judge the claim."""


DEMOS = (
    Demo({"length": 1.4, "colour": "white"}, {"species": "setosa"}),
    Demo({"length": 5.1, "colour": "blue\n\nspecies: rose"}, {"species": "virginica"}),
)


class GrammarLM(ScriptedLM):
    supports_grammar = True


class SchemaLM(ScriptedLM):
    supports_schema = True


def request_of(
    predictor: Predictor[..., Any], inputs: dict[str, Any], lm: lt.LM, demos: tuple[Demo, ...] = ()
) -> Request:
    prompt = Prompt(predictor.signature.instruction, demos)
    return render(predictor.signature, prompt, inputs, lm=lm, settings=predictor.settings)


def chat(double: type[ScriptedLM] = ScriptedLM) -> lt.LM:
    return lt.LM(double(lambda request: ""), max_tokens=300)


def plain(double: type[ScriptedLM] = ScriptedLM) -> lt.LM:
    return lt.LM(double(lambda request: ""), endpoint="completions", max_tokens=300)


def test_the_completion_form_is_blocks_of_short_lines() -> None:
    request = request_of(classify, {"length": 1.5, "colour": "red"}, plain(), DEMOS)
    assert request.prompt == (
        "Name the iris.\n\n- length: a number\n".replace("- length: a number\n", "")
        + "- species: one of setosa, virginica\n\n"
        "length: 1.4\ncolour: white\nspecies: setosa\n\n"
        "length: 5.1\ncolour:\n  blue\n  \n  species: rose\nspecies: virginica\n\n"
        "length: 1.5\ncolour: red\nspecies:"
    )
    assert request.stop == ("\n\n", "\nlength:")
    assert request.messages == ()


def test_the_chat_form_shows_demos_as_turns_with_the_bare_value() -> None:
    turns = messages(classify.signature, Prompt("Name it.", DEMOS), {"length": 2, "colour": "red"})
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert turns[0].text == (
        "Name it.\n\n- species: one of setosa, virginica\n\nReply with the species and nothing else."
    )
    assert [turns[2].text, turns[4].text] == ["setosa", "virginica"]
    assert turns[-1].text == "length: 2\ncolour: red"


def test_each_prompt_of_many_is_shown_as_its_own_at_every_call() -> None:
    # Rendered once for all calls: a prompt that is gone must not lend its turns to another at the same address.
    for number in range(300):
        demo = Demo({"length": number, "colour": "white"}, {"species": "setosa"})
        prompt = Prompt(f"Name flower {number}.", (demo,))
        for length in (1, 2):
            turns = messages(classify.signature, prompt, {"length": length, "colour": "red"})
            assert turns[0].text.startswith(f"Name flower {number}.")
            assert turns[1].text == f"length: {number}\ncolour: white"
            assert turns[-1].text == f"length: {length}\ncolour: red"
        in_json = messages(classify.signature, prompt, {"length": 1, "colour": "red"}, json_form=True)
        assert json.loads(in_json[2].text) == {"species": "setosa"}


def test_reasoning_and_answer_are_sections() -> None:
    demo = Demo({"context": ["a", "b"], "question": "q"}, {"answer": "yes"}, "because")
    turns = messages(answer.signature, Prompt("Do.", (demo,)), {"context": [], "question": "r"})
    assert turns[1].text == "context:\n  1. a\n  2. b\nquestion: q"
    assert turns[2].text == "reasoning: because\n\nanswer: yes"
    assert "reasoning: your reasoning, step by step\n\nanswer: the answer" in turns[0].text
    assert text(answer.signature, Prompt("Do."), {"context": [], "question": "r"}).endswith("question: r\nreasoning:")


def test_a_demo_without_reasoning_has_no_reasoning_line() -> None:
    demo = Demo({"context": ["a"], "question": "q"}, {"answer": "yes"})
    block = text(answer.signature, Prompt("", (demo,)), {"context": ["b"], "question": "r"}).split("\n\n")[1]
    assert block == "context: 1. a\nquestion: q\nanswer: yes"


def test_structured_answers_are_json_objects_in_chat_and_json_lines_in_completions() -> None:
    demo = Demo({"document": "d"}, {"names": ["x", "y"], "year": None})
    turns = messages(facts.signature, Prompt("", (demo,)), {"document": "e"})
    assert json.loads(turns[2].text) == {"names": ["x", "y"], "year": None}
    assert 'the keys "names", "year"' in turns[0].text
    assert 'names: ["x", "y"]\nyear: none' in text(facts.signature, Prompt("", (demo,)), {"document": "e"})


def test_private_fields_are_asked_about_but_never_shown_in_demos() -> None:
    demo = Demo({"claim": "c", "secret": "hidden"}, {"holds": True, "score": 1}, "so")
    prompt = Prompt("", (demo,))
    inputs = {"claim": "c", "secret": "live"}
    for rendered in (str(messages(verdict.signature, prompt, inputs)), text(verdict.signature, prompt, inputs)):
        assert "hidden" not in rendered
        assert "live" in rendered


def test_instructions_and_values_are_inserted_never_interpreted() -> None:
    nasty = "{question} %s $x {{0}} \\n"
    turns = messages(answer.signature, Prompt(nasty), {"context": [nasty], "question": nasty})
    assert turns[0].text.startswith(nasty)
    assert nasty in turns[-1].text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
demos = st.builds(
    Demo,
    st.fixed_dictionaries({}, optional={"context": json_values, "question": json_values}),
    st.fixed_dictionaries({}, optional={"answer": json_values}),
    st.none() | st.text(),
)


@given(st.text(), st.lists(demos, max_size=3), json_values, json_values)
def test_all_that_is_constant_comes_before_all_that_varies(
    instruction: str, shown: list[Demo], first: Any, second: Any
) -> None:
    prompt = Prompt(instruction, tuple(shown))
    inputs = [{"context": [value], "question": value} for value in (first, second)]
    a, b = (messages(answer.signature, prompt, values) for values in inputs)
    assert a[:-1] == b[:-1]
    c, d = (text(answer.signature, prompt, values) for values in inputs)
    shared = text(answer.signature, prompt, {}).removesuffix("reasoning:")
    assert c.startswith(shared)
    assert d.startswith(shared)


@given(st.text(), st.text())
def test_no_value_can_be_taken_for_a_field_or_the_end_of_a_block(context: str, question: str) -> None:
    rendered = text(answer.signature, Prompt("Do."), {"context": context, "question": question})
    last = rendered.removeprefix("Do.\n\n- question: what to answer\n\n")
    assert "\n\n" not in last
    names = [line.split(":")[0] for line in last.split("\n") if not line.startswith("  ")]
    assert names == ["context", "question", "reasoning"]


def test_a_choice_gets_a_grammar_and_room_for_its_longest_value() -> None:
    request = request_of(classify, {"length": 1, "colour": "red"}, plain(GrammarLM))
    assert request.grammar == 'root ::= " " ("setosa" | "virginica")'
    assert request.max_tokens == len("virginica") + 2
    assert request_of(classify, {"length": 1, "colour": "red"}, chat(GrammarLM)).grammar == (
        'root ::= ("setosa" | "virginica")'
    )
    assert request_of(classify, {"length": 1, "colour": "red"}, chat()).max_tokens == 300


def test_free_text_gets_no_grammar_and_sections_one_that_keeps_their_order() -> None:
    assert request_of(rephrase, {"line": "c"}, plain(GrammarLM)).grammar is None
    assert request_of(answer, {"context": [], "question": ""}, chat(GrammarLM)).grammar is None
    request = request_of(verdict, {"claim": "c", "secret": ""}, plain(GrammarLM))
    assert request.grammar is not None
    line = r"[^\n] [^\n]*"
    assert request.grammar.startswith(
        rf'root ::= (" " {line} | ("\n  " {line})+) "\n" "\n"? "holds: " ("true" | "false") "\n" "\n"? "score: " '
    )


def test_a_completion_of_several_texts_must_go_on_to_the_next_and_may_leave_a_blank_line_before_it() -> None:
    inputs = {"context": [], "question": ""}
    request = request_of(answer, inputs, plain(GrammarLM))
    assert request.grammar is not None and r' "\n" "\n"? "answer:" (" " | "\n") [^\n]' in request.grammar
    assert request.stop == ("\ncontext:",), "a blank line would end it where the answer should begin"
    assert request_of(answer, inputs, plain()).stop == ("\ncontext:",), "no demo shows where the answer stands"
    shown = (Demo(inputs, {"answer": "a"}, reasoning="r"),)
    assert request_of(answer, inputs, plain(), shown).stop == ("\n\n", "\ncontext:")
    assert request_of(rephrase, {"line": "c"}, plain(GrammarLM)).stop == ("\n\n", "\nline:")


def test_a_server_with_schemas_is_sent_one_and_asked_for_json() -> None:
    request = request_of(verdict, {"claim": "c", "secret": ""}, chat(SchemaLM))
    assert request.schema is not None
    assert list(request.schema.schema["properties"]) == ["reasoning", "holds", "score"]
    assert "one JSON object" in request.messages[0].text
    assert request_of(answer, {"context": [], "question": ""}, chat(SchemaLM)).schema is None


def test_a_grammar_and_a_schema_are_never_sent_together() -> None:
    class Both(ScriptedLM):
        supports_grammar = True
        supports_schema = True

    request = request_of(facts, {"document": "d"}, chat(Both))
    assert request.schema is None
    assert request.grammar is not None
    assert '"{" "\\"names\\": "' in request.grammar


def test_settings_overrule_the_lm() -> None:
    lm = lt.LM(ScriptedLM(lambda request: ""), temperature=0.3, max_tokens=9, top_p=0.5)
    prompt = Prompt("")
    plain_request = render(answer.signature, prompt, {}, lm=lm, settings=CallSettings())
    assert (plain_request.temperature, plain_request.max_tokens, plain_request.top_p) == (0.3, 9, 0.5)
    request = render(answer.signature, prompt, {}, lm=lm, settings=CallSettings(0.0, 4, 0.1, ("x",)))
    assert (request.temperature, request.max_tokens, request.top_p, request.stop) == (0.0, 4, 0.1, ("x",))
    assert request.affinity == "answer"
