"""What a program can return: found from its types, and from code that passes a predictor's value on unchanged."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any, get_type_hints

from luthier.program.output_type import shape_of
from luthier.program.predictor import BoundPredictor, Predictor
from luthier.program.program import Program
from luthier.program.shape import Kind, Shape
from luthier.program.values import output_shapes, result_shape

AnyPredictor = Predictor[..., Any]


@dataclass(frozen=True, slots=True)
class Returned:
    """What a program returns for one column of its data."""

    shape: Shape
    by: str
    """Who returns it, for messages."""
    is_certain: bool
    """Whether nothing else can come; otherwise a predictor's output merely has the column's name."""


def returned_for(program: Program, column: str) -> Returned | None:
    """Return what a program returns for a column of labels: its value, or the field of that name; None: nobody knows.

    Code that passes the value of a predictor on unchanged says it for certain, and so does a return type of choices.
    Less certain are a predictor's output of the column's name, and any other return type.
    """
    found = _passed_on(program.function)
    if found is not None:
        shape = found.shape if found.shape.kind is not Kind.RECORD else _member(found.shape, column)
        return None if shape is None else Returned(shape, found.by, found.is_certain)
    declared = _declared(program.function)
    if declared is not None and declared.kind is Kind.CHOICE:
        return Returned(declared, "the program", is_certain=True)
    named = [
        Returned(output_shapes(predictor.signature)[column], f"the predictor {predictor.name!r}", is_certain=False)
        for predictor in program.predictors
        if any(field.name == column for field in predictor.signature.outputs)
    ]
    if len(named) == 1 and (declared is None or declared.kind in (Kind.TEXT, Kind.JSON, named[0].shape.kind)):
        return named[0]
    if declared is not None and declared.kind in (Kind.TEXT, Kind.INTEGER, Kind.NUMBER, Kind.LIST):
        return Returned(declared, "the program", is_certain=False)
    return None


def returns_nothing(function: Callable[..., Any]) -> bool:
    """Say whether a program is annotated to return None."""
    return _hint(function) is type(None)


def _passed_on(function: Any) -> Returned | None:
    """Return what the code returns where that is one predictor's value on every way out."""
    if isinstance(function, Predictor | BoundPredictor):
        return _value_of(function, ())
    code, instance = _plain_function(function)
    tree = None if code is None else _tree(code)
    if code is None or tree is None:
        return None
    reader = _Reader(code, instance, tree)
    found = [reader.read(value) for value in reader.returned]
    if not found or any(one is None or one != found[0] for one in found):
        return None
    assert found[0] is not None
    return _value_of(*found[0])


def _value_of(thing: AnyPredictor | BoundPredictor[..., Any], fields: tuple[str, ...]) -> Returned | None:
    predictor: AnyPredictor = thing.predictor if isinstance(thing, BoundPredictor) else thing
    signature = predictor.signature
    if hasattr(signature.result, "luthier_json"):  # a whole reply
        return None
    shape: Shape | None = result_shape(signature) or next(iter(output_shapes(signature).values()))
    for name in fields:
        shape = None if shape is None else _member(shape, name)
    # A body that makes its own call may return something else than it is annotated to.
    certain = not predictor.makes_own_call
    return None if shape is None else Returned(shape, f"the predictor {predictor.name!r}", certain)


def _member(shape: Shape, name: str) -> Shape | None:
    return next((member.shape for member in shape.members if member.name == name), None)


def _declared(function: Any) -> Shape | None:
    hint = _hint(function)
    return None if hint is None else shape_of(hint, strict=False)


def _hint(function: Any) -> Any:
    code, _ = _plain_function(function)
    try:
        return get_type_hints(code, include_extras=True).get("return")
    except (NameError, TypeError, AttributeError, SyntaxError):
        return None


def _plain_function(function: Any) -> tuple[FunctionType | None, Any]:
    """Return the function that runs, and what its ``self`` is; None where a decorator may change what it returns."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, MethodType):
        plain: Any = function.__func__
        instance: Any = function.__self__
    elif isinstance(function, FunctionType):
        plain, instance = function, None
    else:
        plain, instance = inspect.getattr_static(type(function), "__call__", None), function
    if not isinstance(plain, FunctionType) or "__wrapped__" in vars(plain):
        return None, instance
    return plain, instance


def _tree(function: FunctionType) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | None:
    """Return a function's own syntax tree, None where its source is not there or does not tell it apart."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # typed at a prompt, or a lambda in the middle of a call
        return None
    wanted = function.__code__
    count = wanted.co_argcount + wanted.co_kwonlyargcount
    found = [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == wanted.co_name)
        or (
            isinstance(node, ast.Lambda)
            and wanted.co_name == "<lambda>"
            and tuple(argument.arg for argument in _arguments(node)) == wanted.co_varnames[:count]
        )
    ]
    return found[0] if len(found) == 1 else None


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> list[ast.arg]:
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


class _Reader:
    """Follows what a function returns back to the predictor that it comes from."""

    def __init__(
        self, function: FunctionType, instance: Any, tree: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    ) -> None:
        self._names = _names_of(function)
        arguments = [argument.arg for argument in _arguments(tree)]
        self._own = {arguments[0]: instance} if arguments and instance is not None else {}
        body = [tree.body] if isinstance(tree, ast.Lambda) else tree.body
        nodes = [node for statement in body for node in _own_nodes(statement)]
        self._assigned: dict[str, list[ast.expr | None]] = {name: [None] for name in arguments}
        for node in nodes:
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self._assigned.setdefault(node.id, []).append(_assigned_to(node, nodes))
        is_generator = any(isinstance(node, ast.Yield | ast.YieldFrom) for node in nodes)
        returned = body if isinstance(tree, ast.Lambda) else [n.value for n in nodes if isinstance(n, ast.Return)]
        self.returned: list[Any] = [] if is_generator else list(returned)

    def read(self, value: Any) -> tuple[AnyPredictor | BoundPredictor[..., Any], tuple[str, ...]] | None:
        """Return the predictor whose value an expression is, and the fields taken of it."""
        match value:
            case ast.Await():
                return self.read(value.value)
            case ast.Call():
                target = self._thing(value.func)
                return (target, ()) if isinstance(target, Predictor | BoundPredictor) else None
            case ast.Attribute():
                inner = self.read(value.value)
                return None if inner is None else (inner[0], (*inner[1], value.attr))
            case ast.Name() if value.id in self._assigned:
                # Assigned once, and not to itself: nothing can have come between.
                once = self._assigned[value.id]
                return self.read(once[0]) if len(once) == 1 and isinstance(once[0], ast.Await | ast.Call) else None
        return None

    def _thing(self, expression: ast.expr) -> Any:
        if isinstance(expression, ast.Name):
            if expression.id in self._own:
                return self._own[expression.id]
            return None if expression.id in self._assigned else self._names.get(expression.id)
        if isinstance(expression, ast.Attribute) and (owner := self._thing(expression.value)) is not None:
            return inspect.getattr_static(owner, expression.attr, None)
        return None


def _names_of(function: FunctionType) -> Mapping[str, Any]:
    names = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    return names


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and what is in it, but for what functions and classes inside it do."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return
    for child in ast.iter_child_nodes(node):
        yield from _own_nodes(child)


def _assigned_to(name: ast.Name, nodes: list[ast.AST]) -> ast.expr | None:
    """Return what a plain assignment gives a name; None for loops, unpacking, and the like."""
    for node in nodes:
        if (isinstance(node, ast.Assign) and node.targets == [name]) or (
            isinstance(node, ast.AnnAssign) and node.target is name
        ):
            return node.value
    return None
