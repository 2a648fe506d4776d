"""The exported Python file: luthier's messages and luthier's reading, without luthier."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luthier as lt
from luthier.errors import Unparseable
from luthier.exports.forms import unchecked_export
from luthier.exports.parts import parts_of
from luthier.lm.request import Completion
from luthier.program.candidate import Candidate
from luthier.program.parse import parse
from luthier.program.predictor import Predictor
from luthier.program.program import discover
from luthier.program.render import messages, text
from luthier.program.values import value_to_json
from tests.lengths import examples, times

from .programs import PREDICTORS, TEXTS, cases, program

ORIGINAL = discover(program).original


@contextmanager
def exported(source: Candidate, **settings: Any) -> Iterator[ModuleType]:
    """Run an exported file as a module."""
    code = unchecked_export(parts_of(source, program=program, **settings), "python")
    module = ModuleType("exported_prompts")
    sys.modules[module.__name__] = module
    try:
        exec(compile(code, "exported_prompts.py", "exec", dont_inherit=True), module.__dict__)
        yield module
    finally:
        sys.modules.pop(module.__name__, None)


@pytest.fixture(scope="module")
def original() -> Iterator[ModuleType]:
    with exported(ORIGINAL) as module:
        yield module


@settings(deadline=None, max_examples=times(60, 1500))
@given(cases())
def test_its_messages_are_luthiers_to_the_byte(case: tuple[Predictor[..., Any], lt.Prompt, dict[str, Any]]) -> None:
    predictor, prompt, inputs = case
    with exported(Candidate({predictor.name: prompt})) as module:
        turns = module.PREDICTORS[predictor.name].messages(**inputs)
    assert turns == [
        {"role": turn.role, "content": turn.content} for turn in messages(predictor.signature, prompt, inputs)
    ]


@settings(deadline=None, max_examples=times(20, 500))
@given(cases())
def test_its_text_is_luthiers_where_the_model_is_a_base_model(
    case: tuple[Predictor[..., Any], lt.Prompt, dict[str, Any]],
) -> None:
    predictor, prompt, inputs = case
    base = lt.LM(lambda request: "", endpoint="completions")
    with exported(Candidate({predictor.name: prompt}), lm=base) as module:
        assert module.PREDICTORS[predictor.name].text(**inputs) == text(predictor.signature, prompt, inputs)


ANSWERS = st.one_of(
    TEXTS,
    st.sampled_from(
        [
            *(
                "billing",
                "**Billing**",
                "queue: billing\n\nbecause",
                "billing or delivery",
                "42",
                "about 1,200.5",
                "B2",
            ),
            *("none", "yes", "No.", "furious", "CALM", "2", "- a\n- b", "1. a\n2. b", '["a", "b", "a"]', "[1"),
            *('{"a": 1}', '{"a": 1.5}', '```json\n{"holds": true, "score": 1, "reasoning": "x"}\n```'),
            '{"names": ["x"], "year": null, "mood": "CALM"}',
            '{"names": ["x"], "year": "1999", "mood": "angry", "note": "n", "tags": []}',
            '{"to": {"street": "s"}, "weights": [1, 2.5]}',
            '{"to": {"street": "s", "number": "x"}, "weights": []}',
            "<think>hm</think>reasoning: so\n\nanswer: yes\nand no",
            "reasoning: a\n\nholds: true\n\nscore: 0.5",
        ]
    ),
    st.text(alphabet="{}[]\"':,.0123 billingyesno\n", max_size=30),
)


@settings(deadline=None, max_examples=examples(600))
@given(st.sampled_from(PREDICTORS), ANSWERS, st.sampled_from(["stop", "length", "content_filter"]))
def test_it_reads_an_answer_as_luthier_does(
    original: ModuleType, predictor: Predictor[..., Any], answer: str, finish: Any
) -> None:
    exported = original.PREDICTORS[predictor.name]
    try:
        wanted = parse(predictor.signature, Completion(answer, finish))
    except Unparseable as refused:
        if predictor.name == "parcel":
            return  # a pydantic model checks more than its types; a dict cannot
        with pytest.raises(original.Unparseable) as found:
            exported.parse(answer, finish_reason=finish)
        assert str(found.value) == str(refused)
        return
    value = exported.parse(answer, finish_reason=finish)
    assert json.dumps(value_to_json(value), sort_keys=True) == json.dumps(value_to_json(wanted.value), sort_keys=True)
    if finish == "stop":
        assert exported.reasoning(answer) == wanted.reasoning


def test_inputs_that_have_a_default_may_be_left_out_and_no_others(original: ModuleType) -> None:
    assert original.queue.messages(complaint="c", hints=["h"])[-1]["content"] == "complaint: c\nhints: 1. h\ntries: 2"
    with pytest.raises(TypeError, match="hints"):
        original.queue.messages(complaint="c")
    with pytest.raises(TypeError, match="colour"):
        original.queue.messages(complaint="c", hints=[], colour="red")


def test_sampling_settings_are_the_predictors(original: ModuleType) -> None:
    assert original.queue.options == {"temperature": 0.3, "max_tokens": 20, "stop": ["\n\n"]}
    with exported(ORIGINAL, lm=lt.LM("m", base_url="http://localhost:1/v1", top_p=0.5)) as module:
        options = module.verdict.options
    assert options["top_p"] == 0.5
    assert options["response_format"]["json_schema"]["schema"]["required"] == ["reasoning", "holds", "score"]


def test_a_server_with_schemas_is_asked_for_json_where_luthier_would(original: ModuleType) -> None:
    assert "Reply in this form" in original.verdict.messages(claim="c")[0]["content"]
    with exported(ORIGINAL, lm=lt.LM("m", base_url="http://localhost:1/v1")) as module:
        assert "JSON object with the keys" in module.verdict.messages(claim="c")[0]["content"]


def test_a_name_that_is_no_identifier_is_found_by_name(original: ModuleType) -> None:
    assert original.PREDICTORS["Desk.urgency"].parse("2") == 2
    names = Candidate({"parse": ORIGINAL.prompts["complaint"], "class": ORIGINAL.prompts["complaint"]})
    code = unchecked_export(parts_of(names), "python")
    assert "\nparse_ = PREDICTORS['parse']\n" in code
    assert "\nclass" not in code.split("# --- the predictors")[1]


def test_it_runs_with_nothing_but_the_standard_library(tmp_path: Path) -> None:
    file = tmp_path / "prompts.py"
    file.write_text(lt.export(ORIGINAL, "python", program=program), encoding="utf-8")
    inputs = json.dumps({"ticket": 'a "quoted"\nline'})
    command = [sys.executable, "-I", "-S", str(file), "complaint", inputs]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[-1] == {"role": "user", "content": 'ticket:\n  a "quoted"\n  line'}
    refused = subprocess.run([*command[:4], "nobody", "{}"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "luthier" not in "".join(line for line in file.read_text(encoding="utf-8").splitlines() if "import" in line)


def test_two_exports_of_one_candidate_are_the_same_file() -> None:
    made = {unchecked_export(parts_of(ORIGINAL, program=program), "python") for _ in range(2)}
    assert len(made) == 1
