"""Reads a predictor's outputs out of an answer: tolerant of how it is written, never guessing what was meant."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.errors import Unparseable
from luthier.lm.request import Completion
from luthier.program.shape import Kind, Shape
from luthier.program.signature import REASONING, Signature
from luthier.program.thoughts import cut_by_thinking, without_thoughts
from luthier.program.values import folded, output_shapes, read_json, result_shape, value_of, value_to_json


@dataclass(frozen=True, slots=True)
class Parsed:
    """What an answer says."""

    outputs: dict[str, Any]
    """By field, as JSON."""
    reasoning: str | None
    value: Any
    """What the predictor returns."""


def parse(signature: Signature, completion: Completion) -> Parsed:
    """Return the outputs that an answer gives.

    An answer cut off by its length counts only where the value is complete all the same: a closed JSON object, a
    choice that no longer choice begins with.

    Raises:
        Unparseable: the answer is not in the form asked, is cut, or was refused. Nothing else is ever raised.
    """
    try:
        return _parse(signature, completion)
    except (ValueError, RecursionError) as error:
        why = f"{error}{cut_by_thinking(completion)}"
        raise Unparseable(
            f"the answer to {signature.name!r} cannot be read: {why}", text=completion.text, predictor=signature.name
        ) from error


def _parse(signature: Signature, completion: Completion) -> Parsed:
    if completion.refusal is not None or completion.finish_reason == "content_filter":
        raise ValueError(f"it was refused: {completion.refusal or 'content filter'}")
    cut = completion.finish_reason == "length"
    shapes = output_shapes(signature)
    # NFC: how an accent is spelled, as one sign or two, is nothing that an answer says.
    text = _without_fence(without_thoughts(unicodedata.normalize("NFC", completion.text)))
    found = _from_json(signature, shapes, text)
    if found is None:
        found = _from_text(signature, shapes, text, cut)
    outputs, reasoning = found
    return Parsed(outputs, reasoning, _value(signature, shapes, outputs, reasoning))


def _value(signature: Signature, shapes: Mapping[str, Shape], outputs: dict[str, Any], reasoning: str | None) -> Any:
    record = result_shape(signature)
    if record is None:
        name = signature.outputs[0].name
        return value_of(shapes[name], outputs[name])
    data = dict(outputs)
    if any(member.name == REASONING for member in record.members):
        data[REASONING] = "" if reasoning is None else reasoning
    return value_of(record, data)


def _normalized(shape: Shape, data: Any) -> Any:
    """Return data as the JSON of a value of this shape, e.g. a choice as the program spells it.

    It is checked, but kept as it was written: members with a default stay out.
    """
    value_of(shape, data)
    return value_to_json(read_json(shape, data))


# --- JSON ----------------------------------------------------------------------------------------------------------


def _from_json(
    signature: Signature, shapes: Mapping[str, Shape], text: str
) -> tuple[dict[str, Any], str | None] | None:
    """Return outputs and reasoning from the one JSON object that holds them, None where there is none."""
    data = _answer_object(signature, shapes, text)
    if data is None:
        return None
    keys = {key.casefold(): key for key in data}
    outputs = {}
    required, spelled = _required(signature), _spellings(signature)
    for name, shape in shapes.items():
        key = name if name in data else next((keys[n] for n in spelled[name] if n in keys), None)
        if key is not None:
            try:
                outputs[name] = _normalized(shape, data[key])
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        elif name in required:
            raise ValueError(f"{name} is missing")
    reasoning = data.get(REASONING) if signature.reasoning else None
    return outputs, reasoning if isinstance(reasoning, str) else None


def _answer_object(signature: Signature, shapes: Mapping[str, Shape], text: str) -> dict[str, Any] | None:
    values = list(_json_values(text))
    spelled = _spellings(signature)
    if len(values) == 1 and _is_whole(text) and _keys(values[0]) & {one for names in spelled.values() for one in names}:
        # All there is, so it is the answer, if an incomplete one.
        found: dict[str, Any] = values[0]
        return found
    if not signature.reasoning and [shape.kind for shape in shapes.values()] == [Kind.TEXT]:
        return None  # an object in the middle of a text is part of the text
    required = _required(signature) or set(spelled)
    wanted = [data for data in values if all(_keys(data) & spelled[name] for name in required)]
    if any(data != wanted[0] for data in wanted):
        raise ValueError("it gives several answers")
    return wanted[0] if wanted else None


def _spellings(signature: Signature) -> dict[str, set[str]]:
    """Return what each output may be called, in small letters: its name, and its aliases."""
    record = result_shape(signature)
    aliases = {} if record is None else {member.name: member.aliases for member in record.members}
    return {
        field.name: {name.casefold() for name in (field.name, *aliases.get(field.name, ()))}
        for field in signature.outputs
    }


def _keys(data: Any) -> set[str]:
    return {key.casefold() for key in data} if isinstance(data, dict) else set()


def _is_whole(text: str) -> bool:
    return text[:1] == "{" and text[-1:] == "}"


def _required(signature: Signature) -> set[str]:
    record = result_shape(signature)
    if record is None:
        return {field.name for field in signature.outputs}
    return {member.name for member in record.members if member.required and member.name != REASONING}


_DECODER = json.JSONDecoder()
_START = re.compile(r"[\[{]")
_MAX_STARTS = 64


def _json_values(text: str) -> Iterator[Any]:
    """Yield the JSON objects and lists at the top level of a text."""
    position = 0
    for _ in range(_MAX_STARTS):
        match = _START.search(text, position)
        if match is None:
            return
        try:
            data, position = _DECODER.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            position = match.end()
        else:
            yield data


# --- text ----------------------------------------------------------------------------------------------------------


_CUT = "it was cut off by its length limit"


def _from_text(
    signature: Signature, shapes: Mapping[str, Shape], text: str, cut: bool
) -> tuple[dict[str, Any], str | None]:
    names = [*([REASONING] if signature.reasoning else []), *shapes]
    only_text = len(names) == 1 and shapes[names[0]].kind is Kind.TEXT
    sections = _sections(names, text, only_leading=only_text)
    required = _required(signature)
    outputs = {}
    for name, shape in shapes.items():
        if name not in sections:
            if name in required:
                raise ValueError(f"{_CUT} before {name}" if cut else f"{name} is missing")
            continue
        # Only the last section can be the one that was cut.
        try:
            outputs[name] = _read(shape, sections[name], cut and name == list(sections)[-1])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return outputs, sections.get(REASONING) if signature.reasoning else None


def _sections(names: list[str], text: str, *, only_leading: bool) -> dict[str, str]:
    """Return the text of each field, in the order of the text; text before all names belongs to the first field.

    ``only_leading`` reads a name at the very start only: elsewhere it is part of a text that is the whole answer.
    """
    label = re.compile(
        rf"^[ \u3000]?[*_#`\"' 【「『]{{0,6}}({'|'.join(map(re.escape, names))})[*_`\"'】」』]{{0,3}}[ \u3000]*[:：]"
        r"[*_]{0,3}[ \t\u3000]*",
        re.IGNORECASE | re.MULTILINE,
    )
    spelled = {name.casefold(): name for name in names}
    # Lines of an indented value are part of it, whatever they look like.
    marks = [m for m in label.finditer(text) if not m.group().startswith("  ")]
    if only_leading:
        marks = [mark for mark in marks[:1] if mark.start() == 0]
    before = text[: marks[0].start()] if marks else text
    found: dict[str, str] = {}
    if before.strip() and (not marks or spelled[marks[0].group(1).casefold()] != names[0]):
        found[names[0]] = _dedented(before)
    for position, mark in enumerate(marks):
        end = marks[position + 1].start() if position + 1 < len(marks) else len(text)
        name = spelled[mark.group(1).casefold()]
        value = _dedented(text[mark.end() : end])
        if name in found and found[name] != value:
            raise ValueError(f"it gives {name} more than once")
        found[name] = value
    return found


def _dedented(value: str) -> str:
    """Undo the indentation of a value of several lines."""
    if not value.startswith("\n"):
        return value.strip()
    lines = value.strip("\n").split("\n")
    if all(line.startswith("  ") or not line for line in lines):
        return "\n".join(line[2:] for line in lines).strip()
    return value.strip()


def _read(shape: Shape, text: str, cut: bool) -> Any:
    """Return the JSON of the one value that a text gives."""
    text = _without_fence(text)
    if shape.kind is Kind.CHOICE:
        return _read_choice(shape, text, cut)
    if cut:
        raise ValueError(_CUT)
    if shape.optional and _bare(text).casefold() in _NOTHING:
        return None
    if not text:
        raise ValueError("it is empty")
    match shape.kind:
        case Kind.TEXT:
            return _normalized(shape, _bare(text) if shape.form else text)
        case Kind.INTEGER | Kind.NUMBER:
            return _read_number(shape, text)
        case _:
            return _normalized(shape, _read_structured(shape, text))


_NOTHING = ("none", "null", "n/a", "")
_AROUND = (
    " \t\r\n\"'`*_.,;:!()[]{}<>“”‘’„‚«»‹›…"
    "\u00a0\u3000\u200b\u200e\u200f\ufeff。．｡！，、､；：・「」『』【】〔〕〖〗（）［］｛｝《》〈〉＂＇｢｣﹁﹂﹃﹄،؛۔।¡"
)
_HALF_WIDTH = {0xFEE0 + code: code for code in range(0x21, 0x7F)}


def _bare(text: str) -> str:
    return text.strip(_AROUND)


def _read_choice(shape: Shape, text: str, cut: bool) -> Any:
    whole = _match_choice(shape, text)
    if whole is None:
        # A choice on a line of its own, then an explanation: read, unless that brings another choice up.
        first, _, rest = text.partition("\n")
        whole = _match_choice(shape, first)
        if whole is not None and any(c is not whole and _mentions(rest, c.text) for c in shape.choices):
            raise ValueError("it names several of the choices")
    if whole is None:
        if shape.optional and _bare(text).casefold() in _NOTHING and not cut:
            return None
        raise ValueError(f"it is not one of {', '.join(choice.text for choice in shape.choices)}")
    if cut and any(c is not whole and c.text.casefold().startswith(whole.text.casefold()) for c in shape.choices):
        raise ValueError(_CUT)
    return whole.json


def _match_choice(shape: Shape, text: str) -> Any:
    for form in (text.strip(), _bare(text)):
        exact = [choice for choice in shape.choices if choice.text == form]
        if len(exact) == 1:
            return exact[0]
    forms = [folded(_bare(text)), folded(text.strip())]
    near = [
        choice
        for choice in shape.choices
        if any(_same_word(word, form) for word in (choice.text, *choice.aliases) for form in forms)
    ]
    return near[0] if len(near) == 1 else None


def _same_word(word: str, form: str) -> bool:
    return form in (folded(word), folded(_bare(word))) and bool(form)


def _mentions(text: str, word: str) -> bool:
    if not word:
        return False
    # Chinese and Japanese put no blanks between words.
    before, after = ("" if unicodedata.east_asian_width(end) in "WF" else r"\w" for end in (word[:1], word[-1:]))
    pattern = (f"(?<!{before})" if before else "") + re.escape(word) + (f"(?!{after})" if after else "")
    return re.search(pattern, text, re.IGNORECASE) is not None


# A number is not part of a word (B2, 5k), of a date, or of a fraction; thousands may be separated.
_NUMBER = re.compile(
    r"(?<![\w.,/])[-+−]?(?:\d{1,3}(?:[,_' ]\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,4})?(?![\w/])(?![.,]\d)"
)


def _read_number(shape: Shape, text: str) -> Any:
    text = text.translate(_HALF_WIDTH)
    found = {match.group() for match in _NUMBER.finditer(text)}
    digits = re.findall(r"\d", text)
    if len(found) != 1 or len(digits) > sum(map(str.isdigit, "".join(found))) * text.count(next(iter(found))):
        raise ValueError("it gives no number" if not digits else "it gives no single number")
    plain = re.sub(r"[,_' +]", "", found.pop()).replace("−", "-")
    if shape.form:
        return _normalized(shape, plain)
    if shape.kind is Kind.NUMBER or "." in plain or "e" in plain.casefold():
        return value_of(shape, float(plain))
    return value_of(shape, int(plain))


def _read_structured(shape: Shape, text: str) -> Any:
    values = [data for data in _json_values(text) if isinstance(data, list) == (shape.kind is Kind.LIST)]
    if len(values) == 1:
        return values[0]
    if values:
        raise ValueError("it gives several answers")
    if shape.kind is Kind.LIST:
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        items = [re.match(r"(?:(?:[-*•]|\d{1,4}[.)）])\s+|(?:・|\d{1,4}[、．])\s*)(.*)", line) for line in lines]
        found = [item.group(1) for item in items if item is not None]
        if found and len(found) == len(lines) and shape.item is not None and not shape.item.structured:
            return [_read(shape.item, item, cut=False) for item in found]
    raise ValueError("it holds no JSON of that form")


def _without_fence(text: str) -> str:
    """Drop a code fence around the whole of a text."""
    text = text.strip() if not text.startswith("\n  ") else text.rstrip()
    match = re.fullmatch(r"```[\w+-]*[ \t]*\n(.*?)\n?```", text, re.DOTALL)
    if match is not None and "```" not in match.group(1):
        return match.group(1).strip()
    return text
