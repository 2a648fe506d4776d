"""What a function's code mentions, without running it: from its source, or from its bytecode where there is none.

Source says the same in every version of Python; bytecode changes with each.
"""

from __future__ import annotations

import ast
import builtins
import dis
import importlib
import importlib.util
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

from luthier.program.predictor import Predictor

IsUser = Callable[[str | None], bool]
"""Whether a module of that name is the user's."""


@dataclass(frozen=True, slots=True)
class Mention:
    """Something that a function's code names, and the instance it is an attribute of."""

    thing: Any
    owner: Any = None


def mentions(function: FunctionType, instance: Any, is_user: IsUser) -> Iterator[Mention]:
    """Follow every chain such as ``module.thing.method`` or ``self.stage`` as far as it can be followed.

    Args:
        function: whose code is read.
        instance: what its first parameter is; None where nobody knows.
        is_user: asked before a module that the code imports is imported.
    """
    code = function.__code__
    names = {**function.__globals__, **_closure(function)}
    first = code.co_varnames[:1] if code.co_argcount else ()
    own = {first[0]: instance} if first and instance is not None else {}
    node = _definition(function)
    if node is None:
        yield from _in_bytecode(code, names, own)
    else:
        yield from _Reader(names, own, is_user).read(node)


def _closure(function: FunctionType) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    return found


# --- Source --------------------------------------------------------------------------------------------------------

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def _definition(function: FunctionType) -> _Function | None:
    """Return where a function is defined, None where there is no source, or not the one it was compiled from."""
    try:
        lines, start = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError, ValueError):  # typed at a prompt, or a lambda amid an expression
        return None
    code = function.__code__
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, _Function) and getattr(node, "name", "<lambda>") == code.co_name
        if _first_line(node) + start - 1 == code.co_firstlineno and _arguments(node) == _given(code)
    ]
    return found[0] if len(found) == 1 and _names_the_same(found[0], code) else None


def _first_line(node: _Function) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _arguments(node: _Function) -> list[str]:
    a = node.args
    stars = [one for one in (a.vararg, a.kwarg) if one is not None]
    return [argument.arg for argument in (*a.posonlyargs, *a.args, *a.kwonlyargs, *stars)]


def _given(code: CodeType) -> list[str]:
    stars = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + stars])


def _names_the_same(node: _Function, code: CodeType) -> bool:
    """Say whether all globals of the code stand in the source, which may have been edited since it was compiled."""
    named = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    used = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    return used - {"AssertionError"} <= named


class _Reader(ast.NodeVisitor):
    """Reads one function; a scope is the names that are local to it, with what they are where that is known."""

    def __init__(self, names: Mapping[str, Any], own: Mapping[str, Any], is_user: IsUser) -> None:
        self._names = names
        self._own = own
        self._is_user = is_user
        self._scopes: list[dict[str, Any]] = []
        self._found: list[Mention] = []

    def read(self, node: _Function) -> Iterator[Mention]:
        self._enter(node, {name: Mention(thing) for name, thing in self._own.items()})
        yield from self._found

    def _enter(self, node: _Function, known: Mapping[str, Any]) -> None:
        body = node.body if isinstance(node.body, list) else [node.body]
        local = dict.fromkeys([*_arguments(node), *_assigned(body)])
        self._scopes.append({**local, **known})
        for step in body:
            self.visit(step)
        self._scopes.pop()

    def _nested(self, node: _Function) -> None:
        for part in (*getattr(node, "decorator_list", ()), *node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(part)
        self._enter(node, {})

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._nested(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._nested(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._nested(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Import(self, node: ast.Import) -> None:
        for name in node.names:
            module, top = self._module(name.name), name.name.partition(".")[0]
            if module is not None:
                self._bind(name.asname or top, sys.modules[top] if name.asname is None else module)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = self._module("." * node.level + (node.module or ""))
        if module is None:
            return
        for name in node.names:
            thing = getattr(module, name.name, None)
            if thing is None:
                thing = self._module(f"{module.__name__}.{name.name}")
            if thing is not None:
                self._bind(name.asname or name.name, thing)

    def visit_Name(self, node: ast.Name) -> None:
        self._resolve(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self._resolve(node) is None:
            self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        """Visit the parts; what a comprehension names is local to it."""
        if isinstance(node, _Comprehension):
            self._scopes.append(dict.fromkeys(_assigned(node.generators)))
            super().generic_visit(node)
            self._scopes.pop()
        else:
            super().generic_visit(node)

    def _bind(self, name: str, thing: Any) -> None:
        self._scopes[-1][name] = Mention(thing)
        self._found.append(Mention(thing))

    def _resolve(self, node: ast.expr) -> Mention | None:
        """Return what an expression is, where it is a chain of names, and note every part of it."""
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if not isinstance(node, ast.Attribute):
            return None
        if (above := _super_arguments(node.value)) is not None:
            return self._inherited(node.attr, above)
        base = self._resolve(node.value)
        return None if base is None else self._attribute(base.thing, node.attr)

    def _name(self, name: str) -> Mention | None:
        for scope in reversed(self._scopes):
            if name in scope:
                known: Mention | None = scope[name]
                return known  # of the function itself, so nothing that it mentions
        if name not in self._names:
            return None
        found = Mention(self._names[name])
        self._found.append(found)
        return found

    def _attribute(self, owner: Any, name: str) -> Mention | None:
        found = attribute(owner, name)
        if found is not None:
            self._found.append(found)
        return found

    def _inherited(self, name: str, arguments: list[ast.expr]) -> Mention | None:
        after = self._names.get("__class__")
        if arguments and (given := self._resolve(arguments[0])) is not None:
            after = given.thing
        instance = next(iter(self._own.values()), None)
        found = inherited(after, instance, name)
        if found is not None:
            self._found.append(found)
        return found

    def _module(self, name: str) -> ModuleType | None:
        """Return a module that the code imports; one of the user's is imported, as the code would do, too."""
        package = self._names.get("__package__") or ""
        try:
            whole = importlib.util.resolve_name(name, package)
            if whole not in sys.modules and self._is_user(whole) and importlib.util.find_spec(whole) is not None:
                importlib.import_module(whole)
        except Exception:  # noqa: BLE001 - whatever a module raises, the run will show it
            return None
        return sys.modules.get(whole)


def _assigned(nodes: list[Any]) -> Iterator[str]:
    """Yield the names that code gives a value to, nested functions and comprehensions aside."""
    outside: set[str] = set()
    found: list[str] = []

    def look(node: ast.AST) -> None:
        match node:
            case ast.Name(ctx=ast.Store() | ast.Del()):
                found.append(node.id)
            case ast.Global() | ast.Nonlocal():
                outside.update(node.names)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found.append(node.name)
                return
            case ast.Import() | ast.ImportFrom():
                found.extend(name.asname or name.name.partition(".")[0] for name in node.names)
            case ast.ExceptHandler(name=str(name)):
                found.append(name)
            case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                found.extend(n.target.id for n in ast.walk(node) if isinstance(n, ast.NamedExpr))
                return
        for child in ast.iter_child_nodes(node):
            look(child)

    for node in nodes:
        look(node)
    yield from (name for name in found if name not in outside)


def _super_arguments(node: ast.expr) -> list[ast.expr] | None:
    """Return what ``super`` is called with, None where the expression is no call of it."""
    is_super = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
    return node.args if is_super and isinstance(node, ast.Call) else None


# --- Bytecode ------------------------------------------------------------------------------------------------------

_LOADS = re.compile("LOAD_(GLOBAL|NAME|DEREF|CLASSDEREF|FAST)|STORE_FAST_LOAD_FAST")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "LOAD_SUPER_METHOD")
_QUIET = ("PUSH_NULL", "CACHE", "PRECALL", "EXTENDED_ARG", "COPY_FREE_VARS", "NOP")


def _in_bytecode(code: CodeType, names: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[Mention]:
    current: Mention | None = None
    above = False  # what comes next is looked up behind a call of ``super``
    for step in dis.get_instructions(code):
        if _LOADS.match(step.opname):
            # From 3.13 on one step may load two names; the last is what comes next.
            name = step.argval[-1] if isinstance(step.argval, tuple) else step.argval
            above = above or (name == "super" and name not in names)
            current = _loaded(name, {} if "FAST" in step.opname else names, own)
            yield from [] if current is None or name in own else [current]
        elif step.opname in _ATTRIBUTES:
            current = _attribute_in(current, step.argval, names if above else None, own)
            above = False
            yield from [] if current is None else [current]
        elif step.opname not in _QUIET and not (above and step.opname.startswith("CALL")):
            current = None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _in_bytecode(constant, names, own)


def _attribute_in(
    base: Mention | None, name: str, above: Mapping[str, Any] | None, own: Mapping[str, Any]
) -> Mention | None:
    if above is not None:
        return inherited(above.get("__class__"), next(iter(own.values()), None), name)
    return None if base is None else attribute(base.thing, name)


def _loaded(name: Any, names: Mapping[str, Any], own: Mapping[str, Any]) -> Mention | None:
    scope = own if name in own else names
    return Mention(scope[name]) if name in scope else None


# --- Attributes ----------------------------------------------------------------------------------------------------


def attribute(owner: Any, name: str) -> Mention | None:
    """Return an attribute, found without running anything; None where there is none."""
    try:
        found = inspect.getattr_static(owner, name)
        if isinstance(found, MemberDescriptorType) and not isinstance(owner, type):
            found = found.__get__(owner)  # of a class with ``__slots__``
    except AttributeError:
        return None
    is_part = isinstance(found, FunctionType | Predictor) and not isinstance(owner, type | ModuleType)
    return Mention(found, owner if is_part else None)


def in_slots(instance: Any) -> Iterator[Any]:
    """Yield what an instance of a class with ``__slots__`` holds."""
    for kind in type(instance).__mro__:
        for name, member in vars(kind).items():
            if isinstance(member, MemberDescriptorType) and (found := attribute(instance, name)) is not None:
                yield found.thing


def inherited(after: Any, instance: Any, name: str) -> Mention | None:
    """Return what ``super()`` in a class finds under a name."""
    if not isinstance(after, type):
        return None
    order = type(instance).__mro__ if isinstance(instance, after) else after.__mro__
    for kind in order[order.index(after) + 1 :]:
        if name in vars(kind) and kind is not builtins.object:
            return Mention(vars(kind)[name], instance)
    return None
