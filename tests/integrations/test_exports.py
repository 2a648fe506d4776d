"""Exports read by what they are for: LangChain, DSPy, Nunjucks, and promptfoo itself."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import luthier as lt
from luthier.exports.dspy_form import state_names
from luthier.exports.forms import checked_export, unchecked_export
from luthier.exports.frame import sent, texts
from luthier.exports.parts import parts_of
from luthier.program.candidate import Candidate
from luthier.program.predictor import Predictor
from luthier.program.program import discover
from luthier.program.render import messages
from tests.lengths import examples

from ..exports.programs import PREDICTORS, cases, program, prompts_of
from ..lm.server import OpenAIServer

pytestmark = pytest.mark.integrations

Case = tuple[Predictor[..., Any], lt.Prompt, dict[str, Any]]
SETTINGS = settings(deadline=None, max_examples=examples(100), suppress_health_check=[HealthCheck.too_slow])
ROLES = {"human": "user", "ai": "assistant", "system": "system"}


@pytest.fixture(scope="module")
def langchain() -> Any:
    return pytest.importorskip("langchain_core")


@pytest.fixture(scope="module")
def dspy() -> Any:
    return pytest.importorskip("dspy")


@pytest.fixture(scope="module")
def nunjucks() -> Path:
    """A folder in which npm has installed Nunjucks, or promptfoo, which brings it."""
    return node_modules("nunjucks")


def node_modules(package: str) -> Path:
    found = os.environ.get("LUTHIER_NODE_MODULES")
    if found and (Path(found) / "node_modules" / package).is_dir():
        return Path(found)
    pytest.skip(f"npm install {package} in a folder, and name it with LUTHIER_NODE_MODULES")


@pytest.fixture(scope="module")
def exported_module() -> Iterator[Any]:
    def run(code: str) -> ModuleType:
        module = ModuleType("exported_langchain")
        sys.modules[module.__name__] = module
        exec(compile(code, "exported_langchain.py", "exec", dont_inherit=True), module.__dict__)
        return module

    yield run
    sys.modules.pop("exported_langchain", None)


@SETTINGS
@given(case=cases())
def test_langchain_formats_the_messages_that_luthier_sends(langchain: Any, exported_module: Any, case: Case) -> None:
    predictor, prompt, inputs = case
    source = Candidate({predictor.name: prompt})
    template = exported_module(unchecked_export(parts_of(source, program=program), "langchain")).PROMPTS[predictor.name]
    wanted = [(turn.role, turn.content) for turn in messages(predictor.signature, prompt, inputs)]
    for turns in (template.format_messages(**inputs), template.invoke(inputs).to_messages()):
        assert [(ROLES[turn.type], turn.content) for turn in turns] == wanted
    assert sorted(template.input_variables) == sorted(inputs)


def test_a_partly_filled_langchain_prompt_writes_its_values_alike(langchain: Any, exported_module: Any) -> None:
    module = exported_module(lt.export(discover(program).original, "langchain", program=program))
    whole = module.answer.format_messages(context=["a", "b"], question="q\nr")
    assert module.answer.partial(context=["a", "b"]).format_messages(question="q\nr") == whole


def test_langchain_and_its_model_ask_what_luthier_asks(langchain: Any, exported_module: Any) -> None:
    chat = pytest.importorskip("langchain_openai").ChatOpenAI
    with OpenAIServer(lambda body: "billing") as server:
        module = exported_module(lt.export(discover(program).original, "langchain", program=program))
        model = chat(model="m", base_url=server.url, api_key="none", temperature=0, max_retries=0)
        (module.queue | model).invoke({"complaint": "two\nlines {x}", "hints": ["a"], "tries": 1})
        ours = lt.bind(program.__globals__["queue"], lm=lt.LM("m", base_url=server.url, api_key="none"))
        ours(complaint="two\nlines {x}", hints=["a"], tries=1)
        theirs, own = server.requests
    assert theirs["messages"] == own["messages"]


@settings(deadline=None, max_examples=examples(40), phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data())
def test_dspy_loads_the_state_and_says_it_back(
    dspy: Any, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    named = [predictor for predictor in PREDICTORS if "." not in predictor.name]
    found = {each.name: each for each in data.draw(st.lists(st.sampled_from(named), min_size=1, max_size=3))}
    prompts = {name: data.draw(prompts_of(predictor)) for name, predictor in found.items()}
    parts = parts_of(Candidate(prompts), program=program)
    file = tmp_path_factory.mktemp("dspy") / "state.json"
    text = unchecked_export(parts, "dspy")
    try:
        file.write_text(text, encoding="utf-8")
    except UnicodeEncodeError:
        return  # DSPy's JSON has no half characters
    module = student(dspy, found)
    module.load(file)
    state = json.loads(text)
    del state["metadata"]
    for each in state.values():  # DSPy keeps instructions as docstrings
        each["signature"]["instructions"] = inspect.cleandoc(each["signature"]["instructions"])
    dumped = json.loads(json.dumps(module.dump_state()))
    assert dumped == {name: state[name] for name in dumped}
    for part in parts.parts:
        (inner,) = [each for name, each in module.named_predictors() if name in state_names(part)]
        assert inner.signature.instructions == inspect.cleandoc(part.prompt.instruction)
        assert len(inner.demos) == len(part.prompt.demos)


def student(dspy: Any, found: dict[str, Predictor[..., Any]]) -> Any:
    """Return the DSPy program that a user would have written for these predictors."""
    module = dspy.Module()
    for name, predictor in found.items():
        fields = {
            **{field.name: (Any, dspy.InputField()) for field in predictor.signature.inputs},
            **{field.name: (Any, dspy.OutputField()) for field in predictor.signature.outputs},
        }
        kind = dspy.ChainOfThought if predictor.signature.reasoning else dspy.Predict
        setattr(module, name, kind(dspy.make_signature(fields, "Do.")))
    return module


def test_a_dspy_program_tuned_here_loads_its_exported_state(dspy: Any, tmp_path: Path) -> None:
    from luthier.integrations.dspy import tuned

    class Program(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.think = dspy.ChainOfThought("question -> answer")
            self.plain = dspy.Predict("question -> reasoning, answer")

    demo = lt.Demo({"question": "q"}, {"answer": "a"}, "because")
    candidate = Candidate({name: lt.Prompt(f"Do {name}.", (demo,)) for name in ("think.predict", "plain")})
    candidate.save(tmp_path / "prompts")
    (tmp_path / "state.json").write_text(lt.export(tmp_path / "prompts", "dspy"), encoding="utf-8")
    loaded = Program()
    loaded.load(tmp_path / "state.json")
    ours = tuned(Program(), candidate).dump_state()
    for name, state in loaded.dump_state().items():
        assert state["signature"]["instructions"] == ours[name]["signature"]["instructions"] == f"Do {name}."
        assert [dict(each) for each in state["demos"]] == [
            {key: value for key, value in each.items() if key != "augmented"} for each in ours[name]["demos"]
        ]


def test_dspy_titles_fields_as_the_state_does(dspy: Any) -> None:
    from dspy.signatures.signature import infer_prefix

    from luthier.exports.dspy_form import _title

    for name in ("question", "short_answer", "camelCase", "text2number", "HTMLParser", "x1", "a_b2c", "URL"):
        assert infer_prefix(name).removesuffix(":") == _title(name)


def test_nunjucks_renders_the_messages_that_luthier_sends(nunjucks: Path) -> None:
    asked, wanted = [], []

    @settings(database=None, deadline=None, max_examples=examples(300), derandomize=True)
    @given(cases())
    def collect(case: Case) -> None:
        predictor, prompt, inputs = case
        (part,) = parts_of(Candidate({predictor.name: prompt}), program=program).parts
        config = yaml.safe_load(
            unchecked_export(parts_of(Candidate({predictor.name: prompt}), program=program), "promptfoo")
        )
        turns = json.loads(config["prompts"][0]["raw"])
        asked.append([[turn["content"] for turn in turns], texts(part, inputs)])
        wanted.append([turn["content"] for turn in sent(part, inputs)])

    collect()
    script = Path(__file__).with_name("exports.mjs")
    done = subprocess.run(
        [shutil.which("node") or "node", str(script), str(nunjucks)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == wanted


def test_promptfoo_itself_asks_the_server_what_luthier_asks(tmp_path: Path) -> None:
    folder = node_modules("promptfoo")
    rows = [
        {"ticket": "two\nlines {{ ticket }} {% if %} {# #}", "complaint": "ok"},
        {"ticket": "{one} \"quoted\" 'line' \\n #}", "complaint": "not ok"},
        {"ticket": "file://nowhere 7", "complaint": "ok"},
        {"ticket": "{{ env.HOME }} {{{ticket}}}\n", "complaint": "{{ not }} {% ok %}"},
    ]
    tuned = discover(program).original.with_prompt(
        "complaint",
        lt.Prompt(
            'Say {{ what }} is "wanted" {% raw %}.\nMind {{ env.HOME }} and {braces}.',
            (lt.Demo({"ticket": "a\n{{ b }}"}, {"complaint": "c #}"}),),
        ),
    )
    source = Candidate({"complaint": tuned.prompts["complaint"]})
    with OpenAIServer(lambda body: "ok") as server:
        lm = lt.LM("m", base_url=server.url, api_key="none")
        config = tmp_path / "promptfooconfig.yaml"
        text, _ = checked_export(parts_of(source, program=program, lm=lm), "promptfoo", rows)
        config.write_text(text, encoding="utf-8")
        done = run_promptfoo(folder, tmp_path, "eval", "-c", str(config), "-o", str(tmp_path / "out.json"), "-j", "1")
        theirs = [body["messages"] for body in server.requests]
        server.requests.clear()
        ours = lt.bind(program.__globals__["complaint"], lm=lm, candidate=source)
        for row in rows:
            ours(ticket=row["ticket"])
        own = [body["messages"] for body in server.requests]
    assert theirs == own, done.stdout + done.stderr
    stats = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["results"]["stats"]
    assert (stats["successes"], stats["failures"], stats["errors"]) == (2, 2, 0)


def run_promptfoo(folder: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    node = os.environ.get("LUTHIER_NODE") or shutil.which("node") or "node"
    entry = folder / "node_modules" / "promptfoo" / "dist" / "src" / "entrypoint.js"
    quiet = {"PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1", "PROMPTFOO_CONFIG_DIR": str(home)}
    return subprocess.run(
        [node, str(entry), *arguments, "--no-cache", "--no-progress-bar", "--no-table"],
        cwd=home,
        env={**os.environ, **quiet, "OPENAI_API_KEY": "none", "CI": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
