"""Renders a predictor's prompt: pure functions from signature, prompt, and inputs to text.

What is constant for a prompt (instruction, field descriptions, demos) comes before all that varies with the
inputs, byte for byte, so that servers reuse the prefix. Text is inserted, never interpreted.

Two forms. *Chat*: a system message, the demos as user and assistant turns, the inputs as the last user turn. An input
that is a conversation (``list[lt.Message]``) becomes turns of the chat itself, between a user turn of the inputs
declared before it and one of those after; an image is a part of its turn.
*Completion*, for base models: the instruction, then one block of ``name: value`` lines per demo, and an open last
block that ends with the name of what the model is to write. A value of several lines stands below its name,
indented by two spaces, so no text inside a value can be taken for a field. A conversation is a value of one line a
turn; there is no place for images.

A demo without reasoning under ``reasoning=True`` shows no reasoning line at all: an empty one would teach the model
to leave it empty, while the open ``reasoning:`` of the last block, or the system message, still asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.errors import ConfigError
from luthier.lm.images import Image
from luthier.lm.request import Message, OutputSchema, Part, Request, TextPart
from luthier.lm.turns import turn_of
from luthier.program.candidate import Demo, Prompt
from luthier.program.shape import Kind, Shape
from luthier.program.signature import REASONING, Field, Form, Signature
from luthier.program.values import input_text, output_shapes, output_text, result_shape, value_to_json
from luthier.program.wording import Shown, Wording
from luthier.types import Endpoint

if TYPE_CHECKING:
    from luthier.lm.lm import LM


RENDERER = 1
"""Version of the renderers; raised when the same candidate and inputs become another request, or an answer is read
otherwise: a study in the midst of its search would compare what cannot be compared."""

_OPENINGS: dict[tuple[int, int, bool], tuple[Signature, Prompt, tuple[Message, ...]]] = {}
_MOST_OPENINGS = 64


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
        max_tokens = longest if max_tokens is None else min(max_tokens, longest)
    return Request(
        endpoint=lm.endpoint,
        messages=() if completions else messages(signature, prompt, inputs, json_form=json_form, wording=wording),
        prompt=text(signature, prompt, inputs, wording=wording) if completions else None,
        temperature=lm.temperature if settings.temperature is None else settings.temperature,
        top_p=lm.top_p if settings.top_p is None else settings.top_p,
        max_tokens=max_tokens,
        stop=(*_stops(signature, taught=bool(prompt.demos), guided=bool(grammar)), *settings.stop)
        if completions
        else settings.stop,
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
        only_texts(signature, "has a template, which fills in text")
        return wording.turns(inputs, Shown(signature, prompt.demos, json_form))
    return (*_opening(signature, prompt, json_form), *_asked(signature, inputs))


def varying(signature: Signature, inputs: Mapping[str, Any]) -> str:
    """Return the last turn of the chat form where all inputs are text: all of it that varies with them."""
    return _lines(_inputs(signature, inputs), between="\n")


def text(signature: Signature, prompt: Prompt, inputs: Mapping[str, Any], *, wording: Wording | None = None) -> str:
    """Return the completion form of a prompt, which ends where the model is to go on."""
    if wording is not None:
        return wording.written(inputs, Shown(signature, prompt.demos))
    blocks = [block for block in (prompt.instruction, _descriptions(signature)) if block]
    blocks += demo_blocks(signature, prompt.demos)
    # The space after the colon is left to the model: with it, most tokenizers split words as they never do in text.
    blocks.append("\n".join([*(_line(*pair) for pair in _as_text(signature, inputs)), f"{signature.answer_names[0]}:"]))
    return "\n\n".join(blocks)


def demo_blocks(signature: Signature, demos: Iterable[Demo]) -> list[str]:
    """Return demos as blocks of ``name: value`` lines."""
    blocks = []
    for demo in demos:
        answer = _demo_fields(signature, demo)
        if any(name != REASONING or not signature.reasoning for name, _ in answer):
            blocks.append(_lines([*_demo_inputs(signature, demo), *answer], between="\n"))
    return blocks


def only_texts(signature: Signature, why: str) -> None:
    """Refuse a signature with an input that is a conversation or an image.

    Raises:
        ConfigError: there is one.
    """
    if odd := [field.name for field in signature.inputs if field.form is not Form.TEXT]:
        raise ConfigError(f"predictor {signature.name!r} {why}, but its input {odd[0]!r} is none")


def _opening(signature: Signature, prompt: Prompt, json_form: bool) -> tuple[Message, ...]:
    """Return the turns before the inputs, made once for all calls of a prompt: with demos they are most of the work."""
    # By identity: prompts are values that nobody changes, and to compare them takes as long as to render them.
    key = (id(signature), id(prompt), json_form)
    kept = _OPENINGS.get(key)
    if kept is None:
        turns = [Message("system", _system(signature, prompt.instruction, json_form))]
        for demo in prompt.demos:
            answer = demo_answer(signature, demo, json_form=json_form)
            if answer is not None:
                shown = {
                    f.name: demo.inputs[f.name] for f in signature.inputs if f.name in demo.inputs and not f.private
                }
                turns += [*_asked(signature, shown), Message("assistant", answer)]
        if len(_OPENINGS) >= _MOST_OPENINGS:
            _OPENINGS.clear()
        # Both are kept as well: an address in use is nobody else's.
        kept = _OPENINGS[key] = (signature, prompt, tuple(turns))
    return kept[2]


def _asked(signature: Signature, inputs: Mapping[str, Any]) -> list[Message]:
    """Return the turns that show the inputs, in the order in which they are declared."""
    turns: list[Message] = []
    parts: list[Part] = []
    chats = 0
    for field in signature.inputs:
        if field.name not in inputs:
            continue
        value = inputs[field.name]
        if field.form is Form.CHAT:
            chats += 1
            turns += [*_user_turn(parts), *(turn_of(turn) for turn in value or ())]
            parts = []
        elif field.form is Form.IMAGE and value is not None:
            parts.append(TextPart(f"{field.name}:"))
            parts += [Image.of(one).part for one in (value if isinstance(value, list | tuple) else [value])]
        else:
            parts.append(TextPart(_line(field.name, input_text(value_to_json(value)))))
    return [*turns, *_user_turn(parts)] if parts or chats else [Message("user", "")]


def _user_turn(parts: Sequence[Part]) -> list[Message]:
    """Return one turn, its runs of text joined; none where there is nothing to say."""
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, TextPart) and joined and isinstance(last := joined[-1], TextPart):
            joined[-1] = TextPart(f"{last.text}\n{part.text}")
        else:
            joined.append(part)
    if len(joined) == 1 and isinstance(only := joined[0], TextPart):
        return [Message("user", only.text)]
    return [Message("user", tuple(joined))] if joined else []


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
    if shape.form:
        return f"{_FORMS.get(shape.form, shape.form)}{nothing}"
    return f"text{nothing}" if nothing else ""


_FORMS = {
    "date": "a date, YYYY-MM-DD",
    "date-time": "a date and time, YYYY-MM-DDTHH:MM:SS",
    "time": "a time, HH:MM:SS",
    "duration": "a duration in ISO 8601, such as P1DT2H",
    "uuid": "a UUID",
    "uri": "a URL",
    "email": "an e-mail address",
    "binary": "text",
}


def _directions(signature: Signature, json_form: bool) -> str:
    if signature.is_free:
        return ""
    names = signature.answer_names
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


def _as_text(signature: Signature, inputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(f.name, _value_text(f, inputs[f.name])) for f in signature.inputs if f.name in inputs]


def _demo_inputs(signature: Signature, demo: Demo) -> list[tuple[str, str]]:
    return [
        (f.name, _value_text(f, demo.inputs[f.name]))
        for f in signature.inputs
        if f.name in demo.inputs and not f.private
    ]


def _value_text(field: Field, value: Any) -> str:
    if field.form is Form.IMAGE and value is not None:
        raise ConfigError(f"{field.name!r} is an image, which only chat can show: leave out endpoint='completions'")
    if field.form is Form.CHAT:
        return "\n".join(_turn_text(turn_of(turn)) for turn in value or ())
    return input_text(value_to_json(value))


def _turn_text(turn: Message) -> str:
    calls = "".join(f" {call.name}({call.arguments})" for call in turn.tool_calls)
    return f"{turn.role}: {turn.text}{calls}".replace("\n", "\n  ")


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


def _stops(signature: Signature, *, taught: bool, guided: bool) -> tuple[str, ...]:
    # A blank line ends a block; a model that forgets it starts the next block with its first input. Where no demo shows
    # that the next name stands right below, or a grammar makes the model go on to it, a blank line may stand before it.
    blank = ("\n\n",) if len(signature.answer_names) == 1 or (taught and not guided) else ()
    return (*blank, *(f"\n{field.name}:" for field in signature.inputs[:1]))


def _schema_name(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in name)[:64] or "answer"
