"""Reads a predictor's signature off a function."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from luthier.errors import SignatureError
from luthier.program.offered import Reply
from luthier.program.output_type import shape_of
from luthier.program.shape import Kind, Shape, description_of, is_constrained, split_annotated, type_text
from luthier.program.signature import REASONING, Field, Private, Signature
from luthier.types import AUTO, Auto


def signature_of(
    function: Callable[..., Any],
    *,
    name: str,
    instruction: str | Auto | None = None,
    reasoning: bool = False,
    output: str | None = None,
    strict: bool = True,
    local_names: Mapping[str, Any] | None = None,
) -> Signature:
    """Return the signature of a predictor's function.

    Unless ``strict``, outputs of any type are welcome: for bodies that make their own call.

    Raises:
        SignatureError: there is no instruction, an input has no name, or an output's type is not supported.
        NameError: an annotation names what is not defined yet.
    """
    hints = _Hints(function, local_names)
    inputs = tuple(_input(parameter, hints) for parameter in input_parameters(function, name))
    result = hints.result(name)
    try:
        shape = shape_of(result, strict=strict)
        record = shape.kind is Kind.RECORD and not shape.optional and result is not Reply
        single = str if result is Reply else hints.raw_result
        outputs = _record_fields(shape) if record else (_field(output or function.__name__, single, strict),)
    except SignatureError as error:
        raise SignatureError(f"predictor {name!r}: {error}") from error
    if record and any(member.name == REASONING for member in shape.members):
        reasoning = True
    signature = Signature(name, "", inputs, outputs, reasoning, result)
    _check_names(signature)
    return replace(signature, instruction=original_instruction(function, signature, instruction))


def input_parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    """Return the parameters that are inputs: all but the instance of a method.

    Raises:
        SignatureError: the function takes ``*args`` or ``**kwargs``.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and takes_instance(function):
        parameters = parameters[1:]
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise SignatureError(f"predictor {name!r}: every input needs a name of its own, {parameter} has none")
    return parameters


def takes_instance(function: Callable[..., Any]) -> bool:
    """Whether the function was written in a class, with ``self`` or ``cls`` first."""
    first = next(iter(inspect.signature(function).parameters), "")
    return "." in local_qualname(function) and first in ("self", "cls")


def local_qualname(function: Callable[..., Any]) -> str:
    """Return ``Class.method`` or the function's name, without the functions around it."""
    return ".".join(function.__qualname__.rsplit("<locals>.", 1)[-1].split(".")[-2:])


def original_instruction(function: Callable[..., Any], signature: Signature, given: str | Auto | None) -> str:
    """Return the instruction given, the derived one, or the docstring.

    Raises:
        SignatureError: there is none.
    """
    if isinstance(given, str):
        return given
    if given is AUTO:
        inputs = ", ".join(f"`{field.name}`" for field in signature.inputs)
        outputs = ", ".join(f"`{field.name}`" for field in signature.outputs)
        return f"Given the fields {inputs}, produce the fields {outputs}."
    if function.__doc__ is None:
        raise SignatureError(
            f"predictor {signature.name!r} has no instruction: give it a docstring, instruction=..., or "
            "instruction=lt.AUTO (python -OO strips docstrings)"
        )
    return inspect.cleandoc(function.__doc__)


class _Hints:
    """Annotations, resolved one by one, so that one that cannot be does not spoil the others."""

    def __init__(self, function: Callable[..., Any], local_names: Mapping[str, Any] | None) -> None:
        self._annotations: Mapping[str, Any] = getattr(function, "__annotations__", {})
        self._globals: dict[str, Any] = getattr(function, "__globals__", {})
        self._locals = {**_closure(function), **(local_names or {})}
        self.raw_result: Any = None

    def result(self, name: str) -> Any:
        if "return" not in self._annotations:
            raise SignatureError(f"predictor {name!r}: say what it returns, for example `-> str`")
        self.raw_result = self._resolve("return")
        bare, metadata = split_annotated(self.raw_result)
        return self.raw_result if is_constrained(metadata) else bare

    def parameter(self, name: str) -> Any:
        if name not in self._annotations:
            return Any
        try:
            return self._resolve(name)
        except NameError:
            # Inputs of any type are rendered alike; a name that only type checkers see is no harm.
            return self._annotations[name]

    def _resolve(self, name: str) -> Any:
        holder = types.SimpleNamespace(__annotations__={name: self._annotations[name]})
        return typing.get_type_hints(holder, self._globals, self._locals, include_extras=True)[name]


def _closure(function: Callable[..., Any]) -> dict[str, Any]:
    cells = getattr(function, "__closure__", None) or ()
    names = function.__code__.co_freevars if hasattr(function, "__code__") else ()
    found = {}
    for name, cell in zip(names, cells, strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    return found


def _input(parameter: inspect.Parameter, hints: _Hints) -> Field:
    annotation, metadata = split_annotated(hints.parameter(parameter.name))
    return Field(
        parameter.name,
        annotation,
        description_of(metadata),
        private=_is_private(metadata),
        type_text=type_text(annotation),
    )


def _field(name: str, annotation: Any, strict: bool, description: str = "") -> Field:
    bare, metadata = split_annotated(annotation)
    kept = annotation if is_constrained(metadata) else bare
    shape = shape_of(kept, strict=strict)
    return Field(
        name,
        kept,
        description or description_of(metadata),
        private=_is_private(metadata),
        choices=tuple(choice.text for choice in shape.choices),
        type_text=type_text(bare),
    )


def _record_fields(shape: Shape) -> tuple[Field, ...]:
    members = [member for member in shape.members if member.name != REASONING]
    return tuple(_field(member.name, member.type, False, member.description) for member in members)


def _is_private(metadata: tuple[Any, ...]) -> bool:
    return any(entry is Private or isinstance(entry, Private) for entry in metadata)


def _check_names(signature: Signature) -> None:
    names = [field.name for field in (*signature.inputs, *signature.outputs)]
    if signature.reasoning:
        names.append(REASONING)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SignatureError(
            f"predictor {signature.name!r}: two fields are called {twice[0]!r}; name the output with output=..."
        )
    if not signature.outputs:
        raise SignatureError(f"predictor {signature.name!r} returns nothing but its reasoning")
