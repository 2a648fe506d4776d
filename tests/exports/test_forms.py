"""The other forms, each held to the messages that luthier sends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from jinja2.sandbox import SandboxedEnvironment

import luthier as lt
from luthier.errors import CandidateError, ConfigError
from luthier.exports.forms import FORMS, checked_export, unchecked_export
from luthier.exports.langchain_form import literal_turns
from luthier.exports.parts import parts_of
from luthier.exports.placed import placed
from luthier.exports.promptfoo_form import escaped, variable
from luthier.exports.verify import check
from luthier.program.candidate import Candidate
from luthier.program.predictor import Predictor
from luthier.program.program import discover
from luthier.program.render import messages
from tests.lengths import examples

from ..report.fixture import journal, study
from .programs import TEXTS, cases, program

ORIGINAL = discover(program).original
DEMOS = (
    lt.Demo({"ticket": "I was {twice} charged.\nTwice!"}, {"complaint": "A {{refund}}."}),
    lt.Demo({"ticket": "Where is it?"}, {"complaint": "The parcel, {% now %}."}),
)
TUNED = ORIGINAL.with_instruction("complaint", 'Say {what} is "wanted".\n{{ Mind }} this.').with_demos(
    "complaint", DEMOS
)
ROWS = [{"ticket": "Hello {{ you }}\nthere", "complaint": "a {% greeting %}"}, {"ticket": "x", "complaint": "y"}]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_made_and_holds_what_it_is_held_to(form: str) -> None:
    text, checked = checked_export(parts_of(TUNED, program=program), form, ROWS)
    assert text.endswith("\n")
    assert checked.sentence
    assert text == lt.export(TUNED, form, program=program, data=ROWS)


@pytest.mark.parametrize("form", ["python", "openai", "promptfoo", "dspy", "json"])
def test_an_export_that_sends_something_else_is_refused(form: str) -> None:
    parts, others = parts_of(TUNED, program=program), parts_of(ORIGINAL, program=program)
    with pytest.raises(CandidateError):
        check(unchecked_export(others, form), form, parts)


def test_a_form_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'word' is no form.*python"):
        lt.export(TUNED, "word")


@settings(deadline=None, max_examples=examples(100))
@given(cases())
def test_langchains_templates_give_back_the_messages(
    case: tuple[Predictor[..., Any], lt.Prompt, dict[str, Any]],
) -> None:
    predictor, prompt, inputs = case
    (part,) = parts_of(Candidate({predictor.name: prompt}), program=program).parts
    # str.format_map is what LangChain's f-string templates are.
    filled = [template.format_map(placed(inputs)) for _, template in eval(literal_turns(part))]
    assert filled == [turn.content for turn in messages(predictor.signature, prompt, inputs)]


@settings(deadline=None)
@given(TEXTS)
def test_a_text_escaped_for_nunjucks_is_rendered_as_itself(text: str) -> None:
    lines = text.replace("\r", "")  # this engine turns line ends of templates; Nunjucks does not
    engine = SandboxedEnvironment(keep_trailing_newline=True)
    assert engine.from_string(escaped(lines)).render() == lines


def test_a_promptfoo_configuration_is_yaml_with_a_prompt_and_tests_for_each_predictor() -> None:
    read = yaml.safe_load(lt.export(TUNED, "promptfoo", program=program, data=ROWS))
    assert [prompt["label"] for prompt in read["prompts"]] == sorted(ORIGINAL.prompts)
    tests = [test for test in read["tests"] if test["prompts"] == ["complaint"]]
    engine = SandboxedEnvironment()
    assert [test["vars"]["ticket"] for test in tests] == [{"text": ["Hello {", "{ you }}\nthere"]}, "x"]
    assert variable("file://x") == {"text": ["file://x"]}
    assert tests[0]["assert"][0]["type"] == "equals"
    assert engine.from_string(tests[0]["assert"][0]["value"]).render() == "a {% greeting %}"
    unlabelled = yaml.safe_load(lt.export(TUNED, "promptfoo", program=program, data=[{"ticket": "x"}]))
    assert "assert" not in unlabelled["tests"][0]
    assert yaml.safe_load(lt.export(TUNED, "promptfoo", program=program, data=[{"other": "y"}]))["tests"] == []


def test_promptfoo_asks_the_server_that_the_prompts_are_for() -> None:
    lm = lt.LM("my-model", base_url="http://localhost:8000/v1", api_key="sk-secret-secret-secret")
    text = lt.export(TUNED, "promptfoo", program=program, lm=lm)
    assert yaml.safe_load(text)["providers"] == [
        {"id": "openai:chat:my-model", "config": {"apiBaseUrl": "http://localhost:8000/v1"}}
    ]
    assert "sk-secret" not in text


def test_dspys_state_has_instructions_fields_and_demos_by_the_names_dspy_gives() -> None:
    prompt = lt.Prompt("Answer well.", (lt.Demo({"context": ["a"], "question": "q"}, {"answer": "yes"}, "because"),))
    state = json.loads(lt.export(Candidate({"answer": prompt}), "dspy", program=program))
    assert state["answer"] == state["answer.predict"]  # of a dspy.Predict that reasons, and of a dspy.ChainOfThought
    assert state["answer"] == {
        "traces": [],
        "train": [],
        "demos": [{"context": ["a"], "question": "q", "reasoning": "because", "answer": "yes"}],
        "signature": {
            "instructions": "Answer well.",
            "fields": [
                {"prefix": "Context:", "description": "${context}"},
                {"prefix": "Question:", "description": "what to answer"},
                {"prefix": "Reasoning:", "description": "${reasoning}"},
                {"prefix": "Answer:", "description": "${answer}"},
            ],
        },
        "lm": None,
    }


def test_private_fields_leave_in_no_form_that_shows_demonstrations() -> None:
    demo = lt.Demo({"document": "d", "secret": "zq-private"}, {"names": [], "year": 1, "mood": "CALM"})
    source = Candidate({"facts": lt.Prompt("List.", (demo,))})
    for form in ("python", "openai", "langchain", "dspy", "promptfoo"):
        assert "zq-private" not in lt.export(source, form, program=program), form


def test_prompts_are_taken_from_a_study_and_from_a_directory_alike(tmp_path: Path) -> None:
    directory = study(tmp_path / "s", journal(decision="adopt"))
    best = parts_of(directory).candidate
    best.save(tmp_path / "prompts")
    openai = lt.export(directory, "openai")
    assert openai == lt.export(tmp_path / "prompts", "openai") == lt.export(best, "openai")
    assert "{complaint}" in openai


def test_prompts_of_another_program_are_refused_by_name(tmp_path: Path) -> None:
    stranger = Candidate({"elsewhere": lt.Prompt("Do.")})
    with pytest.raises(CandidateError, match="elsewhere"):
        lt.export(stranger, "python", program=program)


def test_what_no_form_can_say_is_refused_where_messages_are_sent() -> None:
    @lt.predictor
    def chat(history: list[lt.Message], question: str) -> str:
        """Answer."""
        return lt.predict()

    @lt.predictor
    def free(question: str) -> lt.Reply:
        """Use tools."""
        return lt.predict()

    for predictor, said in ((chat, "conversations or images"), (free, "offers tools")):
        source = Candidate({predictor.name: predictor.original})
        for form in ("python", "openai", "langchain", "promptfoo"):
            with pytest.raises(ConfigError, match=said):
                lt.export(source, form, program=predictor)
        for form in ("dspy", "json", "markdown"):
            assert lt.export(source, form, program=predictor)
