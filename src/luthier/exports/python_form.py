"""One Python file of the standard library alone: per predictor ``messages(**inputs)`` and ``parse(answer)``.

The messages that never change are written out; the code that fills in inputs and reads answers is luthier's own.
"""

from __future__ import annotations

import dataclasses
import keyword
from collections.abc import Mapping
from typing import Any

from luthier._version import __version__
from luthier.exports.frame import before
from luthier.exports.lift import lift
from luthier.exports.literals import block, literal
from luthier.exports.parts import Part, Parts
from luthier.program.render import text
from luthier.program.shape import Choice, Kind, Member, Shape
from luthier.program.values import output_shapes, result_shape, value_to_json
from luthier.types import Endpoint

_HEAD = '''"""Tuned prompts, as luthier sends them. Standard library only; Python 3.11 or later.

For each predictor:

    NAME.messages(**inputs)   the chat messages, for any OpenAI-compatible client
    NAME.text(**inputs)       the same as one text, where the prompts were tuned for a base model
    NAME.options              further fields of the request, such as temperature; the model's name is yours to add
    NAME.parse(answer)        the value the answer gives; raises Unparseable

PREDICTORS has them by name; TEXTS, where there are some, the texts of templates and tools.
`python FILE NAME '{"input": "value"}'` prints messages as JSON.
"""

from __future__ import annotations

'''


def as_python(parts: Parts) -> str:
    """Return the file's text."""
    lifted = lift("luthier.exports.standalone", "Predictor", "Signature", "Field", "Shape", "filled", "main")
    constant = {part.name: _constant(part) for part in parts.parts}
    taken = {*lifted.names, "PREDICTORS", "TEXTS", "_CONSTANT", *lifted.imports.split()}
    named = {part.name: identifier(part.name, taken) for part in parts.parts}
    made = "".join(f"    {part.name!r}: {_predictor(part)},\n" for part in parts.parts)
    names = "".join(f"{name} = PREDICTORS[{key!r}]\n" for key, name in named.items() if name)
    return (
        f"{_HEAD}{lifted.imports}\n"
        f"# luthier {__version__}, from {parts.origin!a}, candidate {parts.candidate.key}.\n\n"
        "# --- the prompts: all that is the same for every input\n\n"
        f"_CONSTANT: dict[str, Any] = {literal(constant)}\n\n{texts(parts)}\n"
        f"# --- how inputs are filled in and answers read, as in luthier\n\n\n{lifted.code}\n\n"
        f"# --- the predictors\n\nPREDICTORS = {{\n{made}}}\n{names}\n"
        'if __name__ == "__main__":\n    raise SystemExit(main(PREDICTORS, sys.argv[1:]))\n'
    )


def texts(parts: Parts) -> str:
    """Return the texts of template regions and tools as a mapping; nothing where there are none."""
    return f"TEXTS = {literal(dict(parts.texts))}\n\n" if parts.texts else ""


def _constant(part: Part) -> dict[str, Any]:
    completions = part.lm is not None and part.lm.endpoint is Endpoint.COMPLETIONS
    first = part.signature.answer_names[0]
    return {
        "messages": before(part),
        "text": text(part.signature, part.prompt, {}).removesuffix(f"{first}:") if completions else None,
        "defaults": dict(part.defaults),
        "options": dict(part.options),
    }


def identifier(name: str, taken: set[str]) -> str:
    """Return a predictor's name as a variable that hides nothing; none where it cannot be one."""
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
        return ""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _predictor(part: Part) -> str:
    signature = part.signature
    record = result_shape(signature)
    shapes = [f"{name!r}: {_shape(shape, 16)}" for name, shape in output_shapes(signature).items()]
    fields = block(
        "Signature(",
        [
            repr(signature.name),
            block("(", [f"Field({field.name!r})" for field in signature.inputs], ")", 12),
            block("(", [f"Field({field.name!r})" for field in signature.outputs], ")", 12),
            repr(signature.reasoning),
            block("{", shapes, "}", 12),
            "None" if record is None else _shape(record, 12),
        ],
        ")",
        8,
    )
    keys = ("messages", "text", "defaults", "options")
    return block("Predictor(", [fields, *(f"_CONSTANT[{part.name!r}][{key!r}]" for key in keys)], ")", 4)


def _shape(shape: Shape, indent: int) -> str:
    """Return a shape as source; classes become dicts, enums their texts."""
    inner = indent + 4
    said = [f"Kind.{shape.kind.name}"]
    if shape.optional:
        said.append("optional=True")
    if shape.choices:
        said.append(block("choices=(", map(_choice, shape.choices), ",)" if len(shape.choices) == 1 else ")", inner))
    if shape.item is not None:
        said.append(f"item={_shape(shape.item, inner)}")
    if shape.members:
        members = [_member(member, inner + 4) for member in shape.members]
        said.append(block("members=(", members, ",)" if len(members) == 1 else ")", inner))
    if shape.variants:
        variants = [_shape(variant, inner + 4) for variant in shape.variants]
        said.append(block("variants=(", variants, ")", inner))
    if shape.form:
        said.append(f"form={shape.form!r}")
    if shape.unique:
        said.append("unique=True")
    if shape.kind is Kind.RECORD:
        said.append(f"make=filled({literal(_defaults(shape.type), inner)})")
    return block("Shape(", said, ")", indent)


def _choice(choice: Choice) -> str:
    value = value_to_json(choice.json)
    return f"Choice({choice.text!r}, {value!r}, {value!r}, {choice.aliases!r})"


def _member(member: Member, indent: int) -> str:
    said = [repr(member.name), "None", _shape(member.shape, indent + 4), repr(member.required)]
    if member.aliases:
        said.append(f"aliases={member.aliases!r}")
    return block("Member(", said, ")", indent)


def _defaults(cls: Any) -> Mapping[str, Any]:
    """Return the members of a record that have a default, which an answer may leave out, as JSON."""
    if (info := getattr(cls, "model_fields", None)) is not None:
        found = {name: f.get_default(call_default_factory=True) for name, f in info.items() if not f.is_required()}
        return {name: value_to_json(value) for name, value in found.items()}
    defaults = {}
    for field in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
        if field.default is not dataclasses.MISSING:
            defaults[field.name] = value_to_json(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = value_to_json(field.default_factory())
    return defaults
