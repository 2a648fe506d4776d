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
from luthier.exports.frame import before, texts
from luthier.exports.parts import Part, Parts

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
    # It trips over the end of a comment that never began, too.
    return re.sub(r"\{(?=[{%#])|#(?=\})", lambda found: f"{{{{ '{found.group()}' }}}}", text)


def variable(text: str) -> str | dict[str, list[str]]:
    """Return a variable's value that stands for this text.

    promptfoo opens addresses, fills in what looks like another variable, and drops a last line end, but only in plain
    texts; so such a text is given in pieces, which the template joins.
    """
    if "{{" not in text and not text.startswith(("file:", "package:")) and not text.endswith("\n"):
        return text
    return {"text": re.split(r"(?<=\{)(?=\{)", text)}


def _placeholder(name: str) -> str:
    """Return ``name: value`` as a template: several lines go below the name, indented."""
    value = f"{{% set v = ({name}.text | join('')) if {name}.text is defined else ({name} | string) %}}"
    behind = "('\\n  ' + (v | replace('\\n', '\\n  '))) if '\\n' in v else (' ' + v if v else '')"
    return f"{value}{name}:{{{{ {behind} }}}}"


def _tests(parts: Parts, rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    found = []
    for part in parts.parts:
        outputs = [field.name for field in part.signature.outputs]
        names = {field.name for field in part.signature.inputs} - set(part.defaults)
        for row in rows:
            if names <= set(row):
                shown = texts(part, {**part.defaults, **row})
                test = [
                    f"  - vars: {{{', '.join(f'{_quoted(k)}: {_json(variable(v), None)}' for k, v in shown.items())}}}"
                ]
                test.append(f"    prompts: [{_quoted(part.name)}]")
                if len(outputs) == 1 and not part.signature.reasoning and outputs[0] in row:
                    expected = _quoted(escaped(str(row[outputs[0]])))
                    test.append(f"    assert: [{{type: equals, value: {expected}}}]")
                found.append(test)
    return found


def _provider(parts: Parts) -> str:
    address = next((part.lm.address for part in parts.parts if part.lm is not None), None)
    if address is None:
        return _quoted(PROVIDER)
    config = {"apiBaseUrl": address.base_url}
    return f"id: {_quoted(f'openai:chat:{address.model}')}\n    config: {_json(config, None)}"


def _quoted(text: str) -> str:
    """Return a YAML scalar: JSON is one, if nothing unprintable stands in it as it is."""
    return _json(text, None)


def _json(value: Any, indent: int | None = 2) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
