"""Rewrites the instructions of predictors in a Python file, and not a byte else.

An instruction is a docstring, or the text of ``instruction="…"``. What cannot be rewritten without a doubt is refused:
afterwards the file is read again, and must be the same program with the new instructions.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from luthier.errors import CandidateError

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_PREFIX = re.compile(r"(?i)([rub]*)(\"\"\"|'''|\"|')")
_DECORATOR = "predictor"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an instruction is expected to be, and what it shall become."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A file's new source."""

    source: bytes
    found: tuple[str, ...]
    """Names of the predictors that the file has."""


def rewrite(source: bytes, wanted: Mapping[str, Wanted], where: str) -> Rewritten:
    """Return a file with new instructions; one that is there already stays as it is.

    Args:
        source: the file.
        wanted: by predictor.
        where: the file's name, for messages.

    Raises:
        CandidateError: an instruction has changed since, or cannot be rewritten safely; the message names it.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        text = source.decode(encoding)
        tree = ast.parse(text)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise CandidateError(f"{where} is no Python file that can be read: {error}") from error
    found = [each for each in _predictors(tree, where) if each.name in wanted]
    _check_names(found, tree, wanted, where)
    edits = [(_span(each.literal, text), _new_literal(each, text, wanted[each.name], where)) for each in found]
    after = text
    for (start, end), literal in sorted(edits, reverse=True):
        after = after[:start] + literal + after[end:]
    _verify(text, after, found, wanted, where)
    return Rewritten(after.encode(encoding), tuple(each.name for each in found))


@dataclass(frozen=True, slots=True)
class _Found:
    name: str
    function: _Function
    literal: ast.Constant
    is_docstring: bool

    @property
    def instruction(self) -> str:
        value = str(self.literal.value)
        return inspect.cleandoc(value) if self.is_docstring else value


def _predictors(tree: ast.Module, where: str) -> Iterator[_Found]:
    for function, around in _functions(tree, ""):
        call = next((each for each in function.decorator_list if _is_decorator(each)), None)
        if call is None:
            continue
        given = {word.arg: word.value for word in call.keywords} if isinstance(call, ast.Call) else {}
        name = given.get("name", ast.Constant(f"{around}{function.name}"))
        if not isinstance(name, ast.Constant):
            continue  # computed: nobody can tell which predictor this is
        literal = given.get("instruction")
        if literal is None:
            first = function.body[0]
            literal = first.value if isinstance(first, ast.Expr) else None
        if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
            yield _Found(str(name.value), function, literal, "instruction" not in given)
        elif "instruction" in given:
            yield _Found(str(name.value), function, ast.Constant(None), False)


def _functions(node: ast.AST, around: str) -> Iterator[tuple[_Function, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Function):
            yield child, around
            yield from _functions(child, "")
        else:
            yield from _functions(child, f"{child.name}." if isinstance(child, ast.ClassDef) else around)


def _is_decorator(node: ast.expr) -> bool:
    called = node.func if isinstance(node, ast.Call) else node
    return (isinstance(called, ast.Name) and called.id == _DECORATOR) or (
        isinstance(called, ast.Attribute) and called.attr == _DECORATOR
    )


def _check_names(found: list[_Found], tree: ast.Module, wanted: Mapping[str, Wanted], where: str) -> None:
    twins = {
        node.func.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "named"
        and isinstance(node.func.value, ast.Name)
    }
    names = [each.name for each in found]
    for each in found:
        old, new = wanted[each.name].old, wanted[each.name].new
        place = f"{where}, line {each.function.lineno}"
        if names.count(each.name) > 1:
            raise CandidateError(f"{where} has two predictors called {each.name!r}: rename one, or apply by hand")
        if each.literal.value is None:
            raise CandidateError(f"{place}: the instruction of {each.name!r} is computed; save prompts in a directory")
        if each.instruction not in (old, new):
            raise CandidateError(
                f"{place}: the instruction of {each.name!r} has changed since the study. It tuned {old!r}, and here is "
                f"{each.instruction!r}: put the old text back, tune again, or save prompts in a directory"
            )
        if old != new and each.function.name in twins:
            raise CandidateError(
                f"{place}: {each.name!r} is used again under another name (.named), whose instruction would change, "
                "too: save prompts in a directory"
            )


# --- literals ------------------------------------------------------------------------------------------------------


def _span(literal: ast.Constant, text: str) -> tuple[int, int]:
    """Return where a literal begins and ends, in characters: the parser counts bytes of UTF-8."""
    lines = _LINE.findall(text.removeprefix("\ufeff"))
    starts = [len(text) - len(text.removeprefix("\ufeff"))]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def place(number: int, column: int) -> int:
        return starts[number - 1] + len(lines[number - 1].encode()[:column].decode())

    assert literal.end_lineno is not None
    assert literal.end_col_offset is not None
    return place(literal.lineno, literal.col_offset), place(literal.end_lineno, literal.end_col_offset)


def _new_literal(found: _Found, text: str, wanted: Wanted, where: str) -> str:
    start, end = _span(found.literal, text)
    before = text[start:end]
    if found.instruction == wanted.new:
        return before
    margin = text[: text.rfind("\n", 0, start) + 1]
    indent = re.match(r"[ \t]*", text[len(margin) : start])
    room = (indent.group() if indent else "") if found.is_docstring else ""
    if found.is_docstring and text[len(margin) : start].strip():
        room = " " * (found.function.col_offset + 4)  # on the line of its `def`
    line_end = "\r\n" if "\r\n" in text else "\n"
    for literal in _spellings(before, wanted.new, room, docstring=found.is_docstring):
        if _reads_as(literal, docstring=found.is_docstring) == wanted.new:
            return literal.replace("\n", line_end)
    raise CandidateError(
        f"{where}, line {found.function.lineno}: the new instruction of {found.name!r} cannot be a docstring (blanks "
        "or tabs that Python takes out of one): save prompts in a directory"
    )


def _reads_as(literal: str, *, docstring: bool) -> str | None:
    try:
        value = ast.literal_eval(literal)
    except (SyntaxError, ValueError):
        return None
    return inspect.cleandoc(value) if docstring else str(value)


def _spellings(before: str, new: str, room: str, *, docstring: bool) -> Iterator[str]:
    """Yield ways to write a text as a literal, the one most like the old literal first."""
    match = _PREFIX.match(before)
    assert match is not None
    prefix, quote = match.group(1), match.group(2)
    if not docstring:
        mark = quote[0]
        yield f"{mark}{_escaped(new, mark).replace(chr(10), chr(92) + 'n')}{mark}"
        return
    three = quote if "\n" not in new or len(quote) == 3 else quote * 3
    own_line = before[match.end() :].startswith(("\n", "\r"))
    closing = "\n" not in before or before[: -len(quote)].rstrip(" \t").endswith("\n")
    raw = "r" in prefix.lower()
    for opening in dict.fromkeys((own_line, False, True)):
        for body, kept in [(new, prefix)] * raw + [(_escaped(new, three), re.sub("(?i)r", "", prefix))]:
            if "\n" not in body and not opening:
                yield f"{kept}{three}{body}{three}"
            mark = three if len(three) == 3 else three * 3
            lines = [room + line if line else line for line in body.split("\n")]
            text = f"\n{chr(10).join(lines)}" if opening else "\n".join([body.split("\n")[0], *lines[1:]])
            yield f"{kept}{mark}{text}{chr(10) + room if closing or opening else ''}{mark}"


def _escaped(text: str, quote: str) -> str:
    """Return a text as it stands between quotes, all that an eye would miss written out."""
    text = text.replace("\\", "\\\\")
    # In a run of as many quotes as would end the literal, and at the end, each is escaped.
    runs = f"{quote[0]}{{{len(quote)},}}|{quote[0]}+$(?!\n)"
    text = re.sub(runs, lambda found: f"\\{quote[0]}" * len(found.group()), text)
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _verify(before: str, after: str, found: list[_Found], wanted: Mapping[str, Wanted], where: str) -> None:
    """Hold the new file to being the old program with the new instructions."""
    old, new = ast.parse(before), ast.parse(after)
    names = {each.name for each in found}
    for tree in (old, new):
        for each in _predictors(tree, where):
            if each.name in names:
                if tree is new and each.instruction != wanted[each.name].new:
                    raise CandidateError(f"{where}: {each.name!r} could not be rewritten safely; nothing was changed")
                each.literal.value = ""
    if ast.dump(old) != ast.dump(new):
        raise CandidateError(f"{where} could not be rewritten without changing more than that; nothing was changed")
