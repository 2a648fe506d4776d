"""Renders a predictor's prompt: pure functions from signature, prompt, and inputs to text.

What is constant for a prompt (instruction, field descriptions, demos) comes before all that varies with the
inputs, byte for byte, so that servers reuse the prefix. Text is inserted, never interpreted.

Two forms. *Chat*: a system message, the demos as user and assistant turns, the inputs as the last user turn.
*Completion*, for base models: the instruction, then one block of ``name: value`` lines per demo, and an open last
block that ends with the name of what the model is to write. A value of several lines stands below its name,
indented by two spaces, so no text inside a value can be taken for a field.

A demo without reasoning under ``reasoning=True`` shows no reasoning line at all: an empty one would teach the model
to leave it empty, while the open ``reasoning:`` of the last block, or the system message, still asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.lm.request import Message, OutputSchema, Request
from luthier.program.candidate import Demo, Prompt
from luthier.program.inspect_signature import REASONING
from luthier.program.shape import Kind, Shape
from luthier.program.signature import Field, Signature
from luthier.program.values import input_text, output_shapes, output_text, result_shape, value_to_json
from luthier.program.wording import Shown, Wording
from luthier.types import Endpoint

if TYPE_CHECKING:
    from luthier.lm.lm import LM


@dataclass(frozen=True, slots=True)
class CallSettings:
    """Sampling settings of one predictor; None leaves a setting to the LM."""

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()


def render(
    signature: Signature,
    prompt: Prompt,
    inputs: Mapping[str, Any],
    *,
    lm: LM,
    settings: CallSettings,
    wording: Wording | None = None,
) -> Request:
    """Return the request that asks the LM for a predictor's outputs, in the words of a template where there is one."""
    from luthier.program.grammar import longest_answer, output_grammar, output_schema, possible_answers

    completions = lm.endpoint is Endpoint.COMPLETIONS
    json_form = not completions and uses_json(signature, schema=lm.supports_schema and not lm.supports_grammar)
    grammar = output_grammar(signature, completions=completions, json_form=json_form) if lm.supports_grammar else None
    schema = None
    if json_form and lm.supports_schema and grammar is None:
        schema = OutputSchema(_schema_name(signature.name), output_schema(signature))
    max_tokens = lm.max_tokens if settings.max_tokens is None else settings.max_tokens
    if settings.max_tokens is None and grammar is not None and (longest := longest_answer(signature)) is not None:
        max_tokens = min(max_tokens, longest)
    return Request(
        endpoint=lm.endpoint,
        messages=() if completions else messages(signature, prompt, inputs, json_form=json_form, wording=wording),
        prompt=text(signature, prompt, inputs, wording=wording) if completions else None,
        temperature=lm.temperature if settings.temperature is None else settings.temperature,
        top_p=lm.top_p if settings.top_p is None else settings.top_p,
        max_tokens=max_tokens,
        stop=(*_stops(signature), *settings.stop) if completions else settings.stop,
        schema=schema,
        grammar=grammar,
        choices=possible_answers(signature, completions=completions) if grammar and not json_form else (),
        affinity=signature.name,
    )


def uses_json(signature: Signature, *, schema: bool = False) -> bool:
    """Whether a chat answer is one JSON object: a value is structured, or a record meets a server with schemas."""
    shapes = output_shapes(signature).values()
    return any(shape.structured for shape in shapes) or (schema and result_shape(signature) is not None)


def messages(
    signature: Signature,
    prompt: Prompt,
    inputs: Mapping[str, Any],
    *,
    json_form: bool | None = None,
    wording: Wording | None = None,
) -> tuple[Message, ...]:
    """Return the chat form of a prompt; ``json_form`` tells whether answers are JSON objects (None: by the types)."""
    json_form = uses_json(signature) if json_form is None else json_form
    if wording is not None:
        return wording.turns(inputs, Shown(signature, prompt.demos, json_form))
    turns = [Message("system", _system(signature, prompt.instruction, json_form))]
    for demo in prompt.demos:
        answer = demo_answer(signature, demo, json_form=json_form)
        if answer is not None:
            turns.append(Message("user", _lines(_demo_inputs(signature, demo), between="\n")))
            turns.append(Message("assistant", answer))
    turns.append(Message("user", varying(signature, inputs)))
    return tuple(turns)


def varying(signature: Signature, inputs: Mapping[str, Any]) -> str:
    """Return the last turn of the chat form: all of it that varies with the inputs."""
    return _lines(_inputs(signature, inputs), between="\n")


def text(signature: Signature, prompt: Prompt, inputs: Mapping[str, Any], *, wording: Wording | None = None) -> str:
    """Return the completion form of a prompt, which ends where the model is to go on."""
    if wording is not None:
        return wording.written(inputs, Shown(signature, prompt.demos))
    blocks = [block for block in (prompt.instruction, _descriptions(signature)) if block]
    blocks += demo_blocks(signature, prompt.demos)
    first = REASONING if signature.reasoning else signature.outputs[0].name
    # The space after the colon is left to the model: with it, most tokenizers split words as they never do in text.
    blocks.append("\n".join([*(_line(*pair) for pair in _inputs(signature, inputs)), f"{first}:"]))
    return "\n\n".join(blocks)


def demo_blocks(signature: Signature, demos: Iterable[Demo]) -> list[str]:
    """Return demos as blocks of ``name: value`` lines."""
    blocks = []
    for demo in demos:
        answer = _demo_fields(signature, demo)
        if any(name != REASONING or not signature.reasoning for name, _ in answer):
            blocks.append(_lines([*_demo_inputs(signature, demo), *answer], between="\n"))
    return blocks


def _system(signature: Signature, instruction: str, json_form: bool) -> str:
    blocks = (instruction, _descriptions(signature), _directions(signature, json_form))
    return "\n\n".join(block for block in blocks if block)


def _descriptions(signature: Signature) -> str:
    shapes = output_shapes(signature)
    lines = []
    for field in (*signature.inputs, *signature.outputs):
        said = [field.description] if field.description else []
        if (shape := shapes.get(field.name)) is not None and (form := _form_of(field, shape)):
            said.append(form)
        if said:
            lines.append(f"- {field.name}: {'; '.join(said)}")
    return "\n".join(lines)


def _form_of(field: Field, shape: Shape) -> str:
    nothing = ", or none" if shape.optional else ""
    if shape.kind is Kind.CHOICE:
        return f"one of {', '.join(field.choices)}{nothing}"
    if shape.kind in (Kind.INTEGER, Kind.NUMBER):
        return f"a {shape.kind.value}{nothing}"
    if shape.structured:
        from luthier.program.grammar import schema_of

        return f"JSON, as {json.dumps(schema_of(shape), ensure_ascii=False)}"
    return f"text{nothing}" if nothing else ""


def _directions(signature: Signature, json_form: bool) -> str:
    names = [*([REASONING] if signature.reasoning else []), *(field.name for field in signature.outputs)]
    if json_form:
        keys = ", ".join(json.dumps(name, ensure_ascii=False) for name in names)
        return (
            f"Reply with one JSON object with {'the keys' if len(names) > 1 else 'the key'} {keys}, and nothing else."
        )
    if len(names) == 1:
        return f"Reply with the {names[0]} and nothing else."
    hints = {REASONING: "your reasoning, step by step"} if signature.reasoning else {}
    return "Reply in this form:\n\n" + "\n\n".join(f"{name}: {hints.get(name, f'the {name}')}" for name in names)


def _inputs(signature: Signature, inputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(f.name, input_text(value_to_json(inputs[f.name]))) for f in signature.inputs if f.name in inputs]


def _demo_inputs(signature: Signature, demo: Demo) -> list[tuple[str, str]]:
    return [
        (f.name, input_text(value_to_json(demo.inputs[f.name])))
        for f in signature.inputs
        if f.name in demo.inputs and not f.private
    ]


def _demo_fields(signature: Signature, demo: Demo) -> list[tuple[str, str]]:
    shapes = output_shapes(signature)
    fields = [
        (f.name, output_text(shapes[f.name], value_to_json(demo.outputs[f.name])))
        for f in signature.outputs
        if f.name in demo.outputs and not f.private
    ]
    if signature.reasoning and demo.reasoning:
        fields.insert(0, (REASONING, demo.reasoning))
    return fields


def demo_answer(signature: Signature, demo: Demo, *, json_form: bool) -> str | None:
    """Return what the LM answers in a demo, None where nothing of that may be shown."""
    outputs = {
        f.name: value_to_json(demo.outputs[f.name])
        for f in signature.outputs
        if f.name in demo.outputs and not f.private
    }
    if not outputs:
        return None
    if json_form:
        reasoning = {REASONING: demo.reasoning} if signature.reasoning and demo.reasoning else {}
        return json.dumps({**reasoning, **outputs}, ensure_ascii=False)
    if len(signature.outputs) == 1 and not signature.reasoning:
        return _demo_fields(signature, demo)[0][1]
    return _lines(_demo_fields(signature, demo), between="\n\n")


def _lines(pairs: list[tuple[str, str]], *, between: str) -> str:
    return between.join(_line(name, value) for name, value in pairs)


def _line(name: str, value: str) -> str:
    if "\n" in value:
        return f"{name}:\n" + "\n".join(f"  {line}" for line in value.split("\n"))
    return f"{name}: {value}" if value else f"{name}:"


def _stops(signature: Signature) -> tuple[str, ...]:
    # A blank line ends a block; a model that forgets it starts the next block with its first input.
    if not signature.inputs:
        return ("\n\n",)
    return ("\n\n", f"\n{signature.inputs[0].name}:")


def _schema_name(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in name)[:64] or "answer"
