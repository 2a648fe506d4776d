"""Takes functions of luthier out of it, with all that they need, as the source of a file that needs no luthier.

So an exported file writes and reads prompts with the very code that did in the study, not with a copy that drifts.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_TOLD = re.compile(r"  # (type: ignore|noqa).*$")
_Scope = _Function | ast.Lambda | ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp


@dataclass(frozen=True, slots=True)
class Lifted:
    """Source without luthier."""

    imports: str
    code: str
    names: frozenset[str]
    """Every name that the code defines at its top."""


@dataclass(slots=True)
class _Module:
    name: str
    lines: list[str]
    definitions: dict[str, _Definition] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """By name: the module, and what of it; None: the module itself."""


def lift(root: str, *names: str) -> Lifted:
    """Return the definitions called ``names`` in the module ``root``, and all of luthier's that they reach.

    What ``root`` defines itself replaces what luthier defines under that name.

    Raises:
        ValueError: what they reach cannot be taken out of its module; the message says what, and where.
    """
    return _Lift(_read(root)).run(names)


class _Lift:
    def __init__(self, root: _Module) -> None:
        self._root = root
        self._homes: dict[str, _Module] = {}
        self._order: list[str] = []
        self._foreign: set[tuple[str, str | None]] = set()

    def run(self, names: tuple[str, ...]) -> Lifted:
        for name in names:
            self._reach(self._root, name)
        # Classes and values first, what they need before them; then functions, each above those it calls.
        values = [name for name in reversed(self._order) if not isinstance(self._node(name), _Function)]
        functions = [name for name in self._order if isinstance(self._node(name), _Function)]
        blocks = [_source(self._homes[name], self._node(name)) for name in [*self._sorted(values), *functions]]
        return Lifted(_import_lines(self._foreign), "\n\n\n".join(blocks) + "\n", frozenset(self._homes))

    def _reach(self, module: _Module, name: str) -> None:
        home = self._root if name in self._root.definitions else module
        if name in home.definitions:
            known = self._homes.setdefault(name, home)
            if known is not home:
                raise ValueError(f"{name} is defined in {known.name} and in {home.name}; rename one of them")
            if name not in self._order:
                self._order.append(name)
                for inner in _names(home.definitions[name]):
                    self._reach(home, inner)
        elif name in module.imports:
            place, what = module.imports[name]
            if not place.startswith("luthier"):
                self._foreign.add((place, what))
            elif what != name:
                raise ValueError(f"{module.name} imports {place} as {name}; import its names as they are")
            else:
                self._reach(_read(place), name)
        elif not hasattr(builtins, name):
            raise ValueError(f"{module.name} does not say where {name} is from, so it cannot be exported")

    def _node(self, name: str) -> _Definition:
        return self._homes[name].definitions[name]

    def _sorted(self, values: list[str]) -> list[str]:
        done: list[str] = []
        met: set[str] = set()  # annotations may name each other in a circle

        def add(name: str) -> None:
            if name not in met:
                met.add(name)
                for inner in _names(self._node(name)):
                    if inner in values:
                        add(inner)
                done.append(name)

        for name in values:
            add(name)
        return done


@cache
def _read(name: str) -> _Module:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ValueError(f"the source of {name} is not there")
    text = Path(spec.origin).read_text(encoding="utf-8")
    module = _Module(name, text.splitlines())
    for node in _top(ast.parse(text).body):
        if isinstance(node, ast.ImportFrom):
            module.imports.update({a.asname or a.name: (node.module or "", a.name) for a in node.names})
        elif isinstance(node, ast.Import):
            module.imports.update({a.asname or a.name: (a.name, None) for a in node.names})
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            module.definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    module.definitions[target.id] = node
    return module


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield from node.body
        else:
            yield node


def _names(node: ast.AST) -> list[str]:
    """Return the names of a module that a definition uses, in the order of the text."""
    found: dict[str, None] = {}
    _collect(node, frozenset(), found)
    return list(found)


def _collect(node: ast.AST, local: frozenset[str], found: dict[str, None]) -> None:
    if isinstance(node, ast.Import | ast.ImportFrom):
        raise ValueError(f"line {node.lineno} imports inside a function, which cannot be exported")
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in local:
        found.setdefault(node.id)
    inside = local
    if isinstance(node, _Scope):
        inside = local | _bound(node)
    elif isinstance(node, ast.ClassDef):
        inside = local | {node.name}
    for child in ast.iter_child_nodes(node):
        _collect(child, inside, found)


def _bound(node: ast.AST) -> frozenset[str]:
    """Return what a scope names itself: arguments, and whatever it assigns."""
    stored = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    arguments = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
    caught = {n.name for n in ast.walk(node) if isinstance(n, ast.ExceptHandler | ast.MatchAs) and n.name}
    inner = {n.name for n in ast.walk(node) if isinstance(n, _Function) and n is not node}
    return frozenset(stored | arguments | caught | inner)


def _source(module: _Module, node: _Definition) -> str:
    """Return a definition's lines, with its decorators and the comment right above it."""
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1
    while first > 0 and module.lines[first - 1].startswith("#") and not module.lines[first - 1].startswith("# ---"):
        first -= 1
    # What our own checkers are told is nobody else's business.
    return "\n".join(_TOLD.sub("", line) for line in module.lines[first : node.end_lineno])


def _import_lines(foreign: set[tuple[str, str | None]]) -> str:
    whole = [f"import {place}" for place, what in sorted(foreign, key=str) if what is None]
    places = sorted({place for place, what in foreign if what is not None})
    parts = [
        f"from {place} import {', '.join(sorted(what for home, what in foreign if home == place and what is not None))}"
        for place in places
    ]
    return "\n".join([*whole, *parts]) + "\n"
