"""Grammars (GBNF) and JSON schemas that hold an answer to its form."""

from __future__ import annotations

import functools
import json
from typing import Any

from luthier.program.shape import Kind, Shape
from luthier.program.signature import REASONING, Signature
from luthier.program.values import output_shapes

# Bounded, so that a model that has lost its way cannot fill the whole answer with one number.
_INTEGER = '"-"? [0-9] [0-9]{0,17}'
_NUMBER = '"-"? [0-9] [0-9]{0,17} ("." [0-9] [0-9]{0,17})?'
_LINE = r"[^\n] [^\n]*"
# In the completion form, as demos show it: on the name's own line, or below it and indented.
_TEXT = rf'(" " {_LINE} | ("\n  " {_LINE})+)'
_LAST_TEXT = r'(" " | "\n") [^\n] ([^\n] | "\n" [^\n])* "\n\n"?'
_JSON_RULES = {
    "string": r'"\"" ([^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\""',
    "integer": _INTEGER,
    "number": _NUMBER,
    "value": 'object | array | string | number | "true" | "false" | "null"',
    "object": r'"{" (string ":" " "? value ("," " "? string ":" " "? value)*)? "}"',
    "array": r'"[" (value ("," " "? value)*)? "]"',
}
_NEEDS = {"value": ("object", "array", "string", "number"), "object": ("value",), "array": ("value",)}
_INTEGER_TOKENS = 24


def output_grammar(signature: Signature, *, completions: bool, json_form: bool) -> str | None:
    """Return the GBNF grammar of an answer, None where free text is all that is asked for.

    A completion of several texts has one, too: a model often ends its answer where it should write the next name.
    """
    shapes = output_shapes(signature)
    free = all(shape.kind is Kind.TEXT for shape in shapes.values())
    if free and not json_form and not (completions and len(signature.answer_names) > 1):
        return None
    rules = _Rules()
    if json_form:
        members = [(REASONING, "string")] if signature.reasoning else []
        members += [(name, rules.json(shape)) for name, shape in shapes.items()]
        root = rules.object(members)
    else:
        root = _sections(signature, shapes, rules, completions)
    return rules.text(root)


def longest_answer(signature: Signature) -> int | None:
    """Return how many tokens the longest answer can take, None where nothing bounds it."""
    if signature.reasoning or len(signature.outputs) != 1:
        return None
    shape = output_shapes(signature)[signature.outputs[0].name]
    if shape.kind is Kind.INTEGER:
        return _INTEGER_TOKENS
    if shape.kind is not Kind.CHOICE:
        return None
    # No token is shorter than a byte; the space in front and the end of the answer take one each.
    return max(len(text.encode()) for text in _choice_texts(shape)) + 2


def possible_answers(signature: Signature, *, completions: bool) -> tuple[str, ...]:
    """Return all texts that the grammar of an answer allows outside of JSON, none where they are not a few choices."""
    if signature.reasoning or len(signature.outputs) != 1:
        return ()
    shape = output_shapes(signature)[signature.outputs[0].name]
    return tuple(" " * completions + text for text in _choice_texts(shape))


def output_schema(signature: Signature) -> dict[str, Any]:
    """Return the JSON schema of the object that holds all outputs."""
    shapes = output_shapes(signature)
    properties: dict[str, Any] = {REASONING: {"type": "string"}} if signature.reasoning else {}
    definitions: dict[str, Any] = {}
    for field in signature.outputs:
        schema = schema_of(shapes[field.name], field.description)
        own = schema.pop("$defs", {})
        if any(definitions.get(name, kept) != kept for name, kept in own.items()):
            # Another class of that name.
            text = json.dumps([schema, own])
            for name in own:
                text = text.replace(f'"#/$defs/{name}"', f'"#/$defs/{field.name}_{name}"')
            schema, own = json.loads(text)
            own = {f"{field.name}_{name}": kept for name, kept in own.items()}
        properties[field.name] = schema
        definitions.update(own)
    whole = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {**whole, "$defs": definitions} if definitions else whole


def schema_of(shape: Shape, description: str = "") -> dict[str, Any]:
    """Return the JSON schema of one shape."""
    if shape.schema is not None:
        schema = dict(shape.schema)
    elif shape.kind is Kind.CHOICE:
        schema = {"enum": [choice.json for choice in shape.choices]}
    else:
        schema = dict(_PLAIN.get(shape.kind, {}))
    if shape.optional and shape.schema is None:
        schema = {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "description": description} if description else schema


_PLAIN = {Kind.TEXT: {"type": "string"}, Kind.INTEGER: {"type": "integer"}, Kind.NUMBER: {"type": "number"}}


class _Rules:
    """The rules of one grammar, as they are needed."""

    def __init__(self) -> None:
        self._needed: dict[str, None] = {}

    def json(self, shape: Shape) -> str:
        """Return an expression for a value as JSON."""
        match shape.kind:
            case Kind.TEXT:
                body = self._named("string")
            case Kind.INTEGER:
                body = self._named("integer")
            case Kind.NUMBER:
                body = self._named("number")
            case Kind.CHOICE:
                body = " | ".join(_quoted(json.dumps(choice.json, ensure_ascii=False)) for choice in shape.choices)
            case Kind.JSON:
                body = " | ".join(map(self.json, shape.variants)) or self._named("value")
            case Kind.RECORD:
                body = self.object([(member.name, self.json(member.shape)) for member in shape.members])
            case _:
                body = self._container(shape)
        return f'({body} | "null")' if shape.optional else f"({body})"

    def object(self, members: list[tuple[str, str]]) -> str:
        """Return an expression for an object with these members, in this order."""
        if any(expression == "string" for _, expression in members):
            self._named("string")
        pairs = [_quoted(json.dumps(name, ensure_ascii=False) + ": ") + f" {body}" for name, body in members]
        return '"{" ' + ' ", " '.join(pairs) + ' "}"'

    def text(self, root: str) -> str:
        """Return the grammar: the root and every rule it needs."""
        lines = [f"root ::= {root}", *(f"{name} ::= {_JSON_RULES[name]}" for name in self._needed)]
        return "\n".join(lines)

    def _container(self, shape: Shape) -> str:
        if shape.item is None:
            return '"[" ' + ' ", " '.join(self.json(member.shape) for member in shape.members) + ' "]"'
        item = self.json(shape.item)
        if shape.kind is Kind.LIST:
            return f'"[" ({item} (", " {item})*)? "]"'
        name = self._named("string")
        return f'"{{" ({name} ": " {item} (", " {name} ": " {item})*)? "}}"'

    def _named(self, name: str) -> str:
        if name not in self._needed:
            self._needed[name] = None
            for other in _NEEDS.get(name, ()):
                self._named(other)
        return name


def _sections(signature: Signature, shapes: dict[str, Shape], rules: _Rules, completions: bool) -> str:
    names = signature.answer_names
    gap = r'"\n" "\n"?' if completions else r'"\n\n"'
    parts = []
    for position, name in enumerate(names):
        # In the completion form the prompt ends with the first name and its colon.
        named = len(names) > 1 and (position > 0 or not completions)
        label, shape = f"{name}:" * named, shapes.get(name)
        if completions and (shape is None or shape.kind is Kind.TEXT):
            body = _LAST_TEXT if name == names[-1] else _TEXT
        else:
            label += " " * (completions or named)
            body = _section_value(shape, rules)
        parts += [*([gap] if position else []), *([_quoted(label)] if label else []), body]
    return " ".join(parts)


def _section_value(shape: Shape | None, rules: _Rules) -> str:
    if shape is None or shape.kind is Kind.TEXT:
        return _LINE
    if shape.structured:
        return rules.json(shape)
    if shape.kind is Kind.CHOICE:
        return f"({' | '.join(map(_quoted, _choice_texts(shape)))})"
    nothing = ' | "none"' if shape.optional else ""
    return f"({_INTEGER if shape.kind is Kind.INTEGER else _NUMBER}{nothing})"


def _choice_texts(shape: Shape) -> list[str]:
    nothing = ["none"] if shape.optional and shape.kind is Kind.CHOICE else []
    return [choice.text for choice in shape.choices] + nothing


@functools.cache
def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
