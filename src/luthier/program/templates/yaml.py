"""YAML: a value is a region where a comment ``# tune: NAME`` stands at the end of its line, or on the line above.

The tag ``!tune:NAME`` before the value says the same. A list of messages (``role``, ``content``) is a chat; a comment
``# demos`` between two messages is where demos go. Strings are filled in as ``str.format`` has it, or as Jinja has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.errors import ConfigError
from luthier.program.render import demo_answer
from luthier.program.templates.regions import DEMOS, NAME, Filler, Placeholders, Region, core, once
from luthier.program.wording import Shown

_COMMENT = re.compile(rf"(?:^|(?<=[ \t]))\#[ \t]*(tune:[ \t]*{NAME}|{DEMOS})[ \t]*(?=\r?$)", re.MULTILINE)
_TAG = re.compile(rf"!tune:({NAME})")
_ROLES = ("system", "developer", "user", "assistant")
_PRINTABLE = re.compile("[\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]*")
_BREAKS = re.compile("[\x85\u2028\u2029\ufeff]")
_SHORT = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class _Value:
    """A string in the file."""

    path: tuple[str | int, ...]
    start: int
    """Of the string itself: after tag and anchor."""
    end: int
    style: str | None
    text: str
    tag: str


class YamlFile:
    """A YAML file with marks.

    Args:
        placeholders: how its strings are filled in; made for each source, whose lines end as they end.
    """

    def __init__(self, placeholders: Placeholders) -> None:
        self._placeholders = placeholders

    def regions(self, source: str) -> tuple[Region, ...]:
        """Return the marked values, in order.

        Raises:
            ConfigError: the source is no YAML, a mark stands at no value, or a name comes twice.
        """
        values = _values(source)
        marked = {value: found[1] for value in _each_once(values) if (found := _TAG.fullmatch(value.tag)) is not None}
        for comment in _comments(source, values):
            if comment[1] == DEMOS:
                continue
            value = _value_at(comment, source, values)
            if value is None or value in marked or value.path[-1:] == ("role",):
                raise ConfigError(
                    f"{comment[0].strip()!r} stands at no value: put it at the end of the value's first line"
                )
            marked[value] = re.sub(r"tune:[ \t]*", "", comment[1])
        once(marked.values())
        return tuple(self._region(marked[value], value) for value in values if value in marked)

    def takes_demos(self, source: str) -> bool:
        """Whether ``# demos`` is there."""
        return any(comment[1] == DEMOS for comment in _comments(source, _values(source)))

    def written(self, source: str, region: Region, text: str) -> str:
        """Return the value as YAML: a block stays a block where the text can be one, else it is quoted."""
        value = next(value for value in _values(source) if value.start == region.start)
        said = self._placeholders.write(text, region.fields)
        whole = source[value.start : value.end]
        begin, end = core(value.text, 0, len(value.text))
        meant = value.text[:begin] + said + value.text[end:]
        block = _block(whole, said) if value.style in ("|", ">") else None
        if block is not None and _text_at(value.start, f"{source[: value.start]}{block}{source[value.end :]}") == meant:
            return block
        quoted = _quoted(meant)
        if value.style not in ("|", ">"):
            return quoted
        header, lines = _header(whole)
        comment = header.find("#")
        after = "" if comment < 0 else f" {header[comment:].rstrip()}"
        newline = "\r\n" if header.endswith("\r\n") else "\n"
        trailing = len(lines) - len(_without_blank_end(lines))
        return f"{quoted}{after}{newline}{''.join(lines[len(lines) - trailing :])}"

    def compiled(self, source: str) -> Filler:
        """Return the file's data, its strings ready to be filled in."""
        values = _values(source)
        slots = [comment.start() for comment in _comments(source, values) if comment[1] == DEMOS]
        fills = {value.path: self._placeholders.fill(value.text) for value in values}
        return _YamlFiller(_data(source), fills, _before(slots, values))

    def _region(self, name: str, value: _Value) -> Region:
        begin, end = core(value.text, 0, len(value.text))
        text, fields = self._placeholders.read(value.text[begin:end])
        return Region(name, value.start, value.end, text, fields)


class _YamlFiller:
    """The data of a file, ready to be filled in."""

    def __init__(
        self, data: Any, fills: Mapping[tuple[str | int, ...], Callable[[Mapping[str, Any]], str]], slot: int | None
    ) -> None:
        self._data = data
        self._fills = fills
        self._slot = slot

    def text(self, inputs: Mapping[str, Any], shown: Shown | None) -> str:
        """Return the contents of all messages, a blank line between them; the only string where there is one."""
        if isinstance(self._data, str):
            return str(self.data(inputs))
        return "\n\n".join(str(message["content"]) for message in self.messages(inputs, shown))

    def data(self, inputs: Mapping[str, Any]) -> Any:
        """Return the data with its strings filled in."""
        return self._filled(self._data, (), inputs)

    def messages(self, inputs: Mapping[str, Any], shown: Shown | None) -> list[dict[str, Any]]:
        """Return the messages; a demo is what follows its place, filled in with its inputs, and its answer."""
        turns = _turns(self.data(inputs))
        if self._slot is None or shown is None:
            return turns
        demos: list[dict[str, Any]] = []
        for demo in shown.demos:
            answer = demo_answer(shown.signature, demo, json_form=shown.json_form)
            if answer is not None:
                given = {**dict.fromkeys(inputs, ""), **demo.inputs}
                demos += [*_turns(self.data(given))[self._slot :], {"role": "assistant", "content": answer}]
        return [*turns[: self._slot], *demos, *turns[self._slot :]]

    def _filled(self, data: Any, path: tuple[str | int, ...], inputs: Mapping[str, Any]) -> Any:
        if isinstance(data, dict):
            return {key: self._filled(item, (*path, str(key)), inputs) for key, item in data.items()}
        if isinstance(data, list):
            return [self._filled(item, (*path, place), inputs) for place, item in enumerate(data)]
        fill = self._fills.get(path)
        return fill(inputs) if fill is not None and isinstance(data, str) else data


def _turns(data: Any) -> list[dict[str, Any]]:
    if isinstance(data, dict) and isinstance(data.get("messages"), list):
        data = data["messages"]
    if isinstance(data, dict) and data and set(data) <= set(_ROLES):
        data = [{"role": role, "content": content} for role, content in data.items()]
    if isinstance(data, str):
        data = [{"role": "user", "content": data}]
    if not isinstance(data, list) or not all(isinstance(one, dict) and {"role", "content"} <= set(one) for one in data):
        raise ConfigError(
            "the YAML template is no chat: it must be a list of messages with role and content, a mapping with such a "
            "list under `messages`, or one from system, user, assistant to their texts; .data(…) gives any other"
        )
    return [dict(one) for one in data]


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ConfigError("YAML templates need pyyaml: pip install 'luthier[templates]'") from error
    return yaml


def _data(source: str) -> Any:
    yaml = _yaml()

    loader: Any = type("TuneLoader", (yaml.SafeLoader,), {})  # so that no other reader learns the tag
    loader.add_multi_constructor("!tune:", lambda made, suffix, node: made.construct_scalar(node))
    return yaml.load(source, loader)


def _values(source: str) -> list[_Value]:
    """Return the strings that are values, in order."""
    yaml = _yaml()
    try:
        root = yaml.compose(source, Loader=yaml.SafeLoader)
        tokens = {
            token.end_mark.index: token.start_mark.index
            for token in yaml.scan(source)
            if isinstance(token, yaml.ScalarToken)
        }
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {error}") from error
    found = []
    for path, node in _scalars(yaml, root, ()):
        if node.tag == "tag:yaml.org,2002:str" or node.tag.startswith("!tune:"):
            end = node.end_mark.index
            found.append(_Value(path, tokens.get(end, node.start_mark.index), end, node.style, node.value, node.tag))
    return sorted(found, key=lambda value: value.start)


def _each_once(values: Sequence[_Value]) -> list[_Value]:
    """Leave out what an alias only repeats."""
    return list({value.start: value for value in reversed(values)}.values())[::-1]


def _text_at(start: int, source: str) -> str | None:
    """Return the value that begins at a place; None where the source is no YAML."""
    try:
        return next((value.text for value in _values(source) if value.start == start), None)
    except ConfigError:
        return None


def _scalars(yaml: Any, node: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(node, yaml.ScalarNode):
        yield path, node
    elif isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            yield from _scalars(yaml, item, (*path, place))
    elif isinstance(node, yaml.MappingNode):
        for key, item in node.value:
            yield from _scalars(yaml, item, (*path, key.value))


def _comments(source: str, values: Sequence[_Value]) -> list[re.Match[str]]:
    """Return the comments that are marks; what looks like one inside a string is none."""
    return [comment for comment in _COMMENT.finditer(source) if not any(_holds(v, comment, source) for v in values)]


def _holds(value: _Value, comment: re.Match[str], source: str) -> bool:
    if not value.start <= comment.start() < value.end:
        return False
    return value.style not in ("|", ">") or comment.start() > source.index("\n", value.start)


def _value_at(comment: re.Match[str], source: str, values: Sequence[_Value]) -> _Value | None:
    """Return the value that a comment stands at: on its line, or on the line below."""
    line = source.rfind("\n", 0, comment.start()) + 1
    on_line = [v for v in values if (line <= v.start < comment.start() or line < v.end <= comment.start())]
    if on_line:
        return on_line[-1]
    if source[line : comment.start()].strip():
        return None
    following = [v for v in values if v.start > comment.start()]
    below = source.find("\n", comment.end())
    end = source.find("\n", below + 1)
    return following[0] if following and (end < 0 or following[0].start < end) else None


def _before(slots: Sequence[int], values: Sequence[_Value]) -> int | None:
    """Return before which message demos go."""
    if not slots:
        return None
    above = [value.path for value in values if value.start < slots[0]]
    places = {next(step for step in path if isinstance(step, int)) for path in above if any(map(_is_place, path))}
    return len(places or {path[0] for path in above if path})


def _is_place(step: str | int) -> bool:
    return isinstance(step, int)


def _header(whole: str) -> tuple[str, list[str]]:
    lines = re.findall(r"[^\n]*\n|[^\n]+\Z", whole)
    return lines[0], lines[1:]


def _without_blank_end(lines: Sequence[str]) -> list[str]:
    kept = list(lines)
    while kept and not kept[-1].strip():
        kept.pop()
    return kept


def _block(whole: str, text: str) -> str | None:
    """Return a block with another text, everything around that as it was; None where the text can be no block."""
    header, lines = _header(whole)
    used = _without_blank_end(lines)
    first = next((place for place, line in enumerate(used) if line.strip()), None)
    if first is None or not text or not _PRINTABLE.fullmatch(text) or _BREAKS.search(text):
        return None
    indent = used[first][: len(used[first]) - len(used[first].lstrip(" "))]
    newline = "\r\n" if header.endswith("\r\n") else "\n"
    written = newline.join(f"{indent}{line}" if line else "" for line in text.split("\n"))
    last = used[-1][len(used[-1].rstrip("\r\n")) :]
    # Folded lines would run together.
    return "".join([header.replace(">", "|", 1), *used[:first], written, last, *lines[len(used) :]])


def _quoted(text: str) -> str:
    return '"' + "".join(_SHORT.get(c) or (c if 0x20 <= ord(c) < 0x7F else _escaped(c)) for c in text) + '"'


def _escaped(character: str) -> str:
    if _PRINTABLE.fullmatch(character) and not _BREAKS.search(character) and character != "\xa0":
        return character
    code = ord(character)
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
