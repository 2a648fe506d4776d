"""Holds an export to its promise: it sends the very messages that luthier sends, byte for byte.

Each form is put to work by what will read it (a bare Python, LangChain, DSPy, a template engine), on inputs chosen to
break it: braces, quotes, line ends, lists, other scripts; and on the demonstrations' and the given examples' inputs.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import CandidateError
from luthier.exports.dspy_form import demos_of, state_names
from luthier.exports.frame import sent, texts
from luthier.exports.parts import Part, Parts
from luthier.program.candidate import Candidate
from luthier.program.values import value_to_json

Turns = list[dict[str, Any]]
Cases = list[tuple[Part, dict[str, Any], Turns]]
"""Predictor, inputs, and the messages that luthier sends for them."""

HARD: tuple[Any, ...] = (
    "plain words",
    "",
    "two\nlines\n",
    "  indented, and a colon: reasoning: no",
    "{braces} {{two}} {% if x %} {# no #} }} {0} %s $x \\n \\",
    '"double" \'single\' """three""" `code`',
    "naïve café, 漢字, \U0001f3bb, \u2028 and \u202e",
    "\r\nwindows\r\n\ttabs",
    ["first", "second\nline", 3],
    [],
    {"key": "{value}", "n": 1.5},
    7,
    0.25,
    True,
    None,
)


@dataclass(frozen=True, slots=True)
class Checked:
    """What was compared, and how."""

    compared: int
    """Message lists; 0 where there is nothing here to read the form with."""
    how: str

    @property
    def sentence(self) -> str:
        """One sentence for people."""
        if not self.compared:
            return f"not checked: {self.how}"
        return f"checked {self.how}: {self.compared} times the very messages that luthier sends"


def check(text: str, form: str, parts: Parts, rows: Sequence[Mapping[str, Any]] = ()) -> Checked:
    """Compare what an export sends with what luthier sends.

    Args:
        text: the export.
        form: its form.
        parts: what was exported.
        rows: examples whose columns may be inputs.

    Raises:
        CandidateError: they differ; the message says where.
    """
    plain = [part for part in parts.parts if not part.beyond]
    cases = [(part, inputs, sent(part, inputs)) for part in plain for inputs in _samples(part, rows)]
    return _CHECKS[form](text, parts, cases)


def _samples(part: Part, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    names = [field.name for field in part.signature.inputs]
    hard = [
        {name: HARD[(index + offset) % len(HARD)] for offset, name in enumerate(names)} for index in range(len(HARD))
    ]
    shown = [dict(demo.inputs) for demo in part.prompt.demos if set(demo.inputs) == set(names)]
    known = [{name: value_to_json(row[name]) for name in names} for row in rows if set(names) <= set(row)]
    return [*hard, *shown, *known] if names else [{}]


def _compare(part: Part, inputs: Mapping[str, Any], found: object, wanted: object) -> None:
    if found != wanted:
        asked, gives, right = (json.dumps(value, default=str) for value in (dict(inputs), found, wanted))
        raise CandidateError(
            f"the export of {part.name!r} does not send what luthier sends, which is a fault in luthier: "
            f"for {asked} it gives {gives}, not {right}"
        )


_RUN = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("exported", sys.argv[1])
module = sys.modules["exported"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
cases = json.load(sys.stdin)
print(json.dumps([module.PREDICTORS[name].messages(**inputs) for name, inputs in cases]))
"""


def _check_python(text: str, parts: Parts, cases: Cases) -> Checked:
    answers = _run_python(text, _RUN, cases, "-I", "-S")
    for (part, inputs, wanted), found in zip(cases, answers, strict=True):
        _compare(part, inputs, found, wanted)
    return Checked(len(cases), "by a Python that has nothing but its standard library")


_RUN_LANGCHAIN = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("exported", sys.argv[1])
module = sys.modules["exported"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
roles = {"human": "user", "ai": "assistant", "system": "system"}
cases = json.load(sys.stdin)
turns = [module.PROMPTS[name].format_messages(**inputs) for name, inputs in cases]
print(json.dumps([[{"role": roles[turn.type], "content": turn.content} for turn in each] for each in turns]))
"""


def _check_langchain(text: str, parts: Parts, cases: Cases) -> Checked:
    if importlib.util.find_spec("langchain_core") is None:
        return Checked(0, "langchain-core is not installed here")
    answers = _run_python(text, _RUN_LANGCHAIN, cases)
    for (part, inputs, wanted), found in zip(cases, answers, strict=True):
        _compare(part, inputs, found, wanted)
    return Checked(len(cases), "by LangChain's own format_messages")


def _run_python(text: str, code: str, cases: Cases, *options: str) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "exported.py"
        file.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, *options, "-c", code, str(file)],
            input=json.dumps([[part.name, inputs] for part, inputs, _ in cases]),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
    if done.returncode != 0:
        raise CandidateError(
            f"the exported file does not run, which is a fault in luthier: {done.stderr.strip()[-800:]}"
        )
    answers: list[Any] = json.loads(done.stdout)
    return answers


def _check_openai(text: str, parts: Parts, cases: Cases) -> Checked:
    read = json.loads(text)
    compared = 0
    for part, inputs, wanted in cases:
        shown = texts(part, inputs)
        if any("\n" in value or not value for value in shown.values()):
            continue  # a placeholder cannot say that several lines are indented
        *constant, last = read[part.name]
        pieces = last["content"].split("\n")
        for index, name in enumerate(shown):
            pieces[index] = pieces[index].replace(f"{{{name}}}", shown[name])
        _compare(part, inputs, [*constant, {**last, "content": "\n".join(pieces)}], wanted)
        compared += 1
    return Checked(compared, "with inputs of one line, which is what placeholders can say,")


def _check_dspy(text: str, parts: Parts, cases: Cases) -> Checked:
    read = json.loads(text)
    for part in parts.parts:
        for name in state_names(part):
            _compare(part, {}, read[name]["signature"]["instructions"], part.prompt.instruction)
            _compare(part, {}, read[name]["demos"], json.loads(json.dumps(demos_of(part))))
    return Checked(0, "DSPy writes its own messages; instructions and demonstrations are all there")


def _check_promptfoo(text: str, parts: Parts, cases: Cases) -> Checked:
    if importlib.util.find_spec("jinja2") is None or importlib.util.find_spec("yaml") is None:
        return Checked(0, "there is no template engine here (pip install 'luthier[templates]')")
    import yaml
    from jinja2.sandbox import SandboxedEnvironment

    engine = SandboxedEnvironment(autoescape=False, keep_trailing_newline=True)
    templates = {prompt["label"]: json.loads(prompt["raw"]) for prompt in yaml.safe_load(text)["prompts"]}
    for part, inputs, wanted in cases:
        filled = [engine.from_string(turn["content"]).render(texts(part, inputs)) for turn in templates[part.name]]
        # Unlike Nunjucks, this engine turns the line ends of its templates.
        _compare(part, inputs, list(map(_lf, filled)), [_lf(turn["content"]) for turn in wanted])
    return Checked(len(cases), "by a template engine of Nunjucks' kind")


def _lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check_json(text: str, parts: Parts, cases: Cases) -> Checked:
    again = Candidate.from_json(json.loads(text))
    if again.key != parts.candidate.key:
        raise CandidateError("the exported JSON is not the candidate, which is a fault in luthier")
    return Checked(len(cases), "by reading it back")


def _check_markdown(text: str, parts: Parts, cases: Cases) -> Checked:
    return Checked(0, "a page for people")


_CHECKS: Mapping[str, Callable[[str, Parts, Cases], Checked]] = {
    "json": _check_json,
    "markdown": _check_markdown,
    "openai": _check_openai,
    "python": _check_python,
    "langchain": _check_langchain,
    "dspy": _check_dspy,
    "promptfoo": _check_promptfoo,
}
