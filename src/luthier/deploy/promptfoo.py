"""A promptfoo configuration: each predictor's prompt as chat JSON with ``{{ variables }}``, and tests from examples.

promptfoo fills prompts in with Nunjucks. What looks like a template in an instruction, a demonstration, or an
example is written so that Nunjucks gives it back unchanged. Variables are texts: a list would be taken for many tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from luthier._version import __version__
from luthier.deploy.frame import before, texts
from luthier.deploy.parts import Part, Parts

PROVIDER = "openai:chat:your-model"


def as_promptfoo(parts: Parts, rows: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the configuration; a row makes a test for each predictor whose inputs and single output it has."""
    lines = [
        "# yaml-language-server: $schema=https://promptfoo.dev/config-schema.json",
        f"description: {_quoted(f'luthier {__version__}: {parts.origin}, candidate {parts.candidate.key}')}",
        "prompts:",
    ]
    for part in parts.parts:
        lines += [f"  - label: {_quoted(part.name)}", "    raw: |-"]
        lines += [f"      {line}" for line in chat_template(part).split("\n")]
    lines += ["providers:", f"  - {_provider(parts)}", "tests:" if any(_tests(parts, rows)) else "tests: []"]
    for test in _tests(parts, rows):
        lines += test
    return "\n".join(lines) + "\n"


def chat_template(part: Part) -> str:
    """Return a prompt's messages as JSON in which Nunjucks finds the inputs."""
    turns = [{"role": turn["role"], "content": escaped(turn["content"])} for turn in before(part)]
    last = "\n".join(_placeholder(field.name) for field in part.signature.inputs)
    return _json([*turns, {"role": "user", "content": last}])


def escaped(text: str) -> str:
    """Return a text that Nunjucks renders as this one."""
    return re.sub(r"\{(?=[{%#])", "{{ '{' }}", text)


def _placeholder(name: str) -> str:
    """Return ``name: value`` as a template: several lines go below the name, indented."""
    value = f"({name} | string)"
    several = f"'\\n  ' + ({value} | replace('\\n', '\\n  '))"
    return f"{name}:{{{{ ({several}) if '\\n' in {value} else (' ' + {value} if {value} else '') }}}}"


def _tests(parts: Parts, rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    found = []
    for part in parts.parts:
        outputs = [field.name for field in part.signature.outputs]
        names = {field.name for field in part.signature.inputs} - set(part.defaults)
        for row in rows:
            if names <= set(row):
                shown = texts(part, {**part.defaults, **row})
                test = [f"  - vars: {{{', '.join(f'{_quoted(k)}: {_quoted(escaped(v))}' for k, v in shown.items())}}}"]
                test.append(f"    prompts: [{_quoted(part.name)}]")
                if len(outputs) == 1 and not part.signature.reasoning and outputs[0] in row:
                    expected = _quoted(escaped(str(row[outputs[0]])))
                    test.append(f"    assert: [{{type: equals, value: {expected}}}]")
                found.append(test)
    return found


def _provider(parts: Parts) -> str:
    if parts.lm is None or parts.lm.address is None:
        return _quoted(PROVIDER)
    config = {"apiBaseUrl": parts.lm.address.base_url}
    return f"id: {_quoted(f'openai:chat:{parts.lm.address.model}')}\n    config: {_json(config, None)}"


def _quoted(text: str) -> str:
    """Return a YAML scalar: JSON is one, if nothing unprintable stands in it as it is."""
    return _json(text, None)


def _json(value: Any, indent: int | None = 2) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
