"""DSPy's examples as rows, and DSPy's metrics as they are."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from luthier.canonical import canonical_json, content_hash
from luthier.errors import DataError, Unparseable
from luthier.evaluation.rollout import Score
from luthier.program.values import value_to_json

_MEDIA = tuple(getattr(dspy, name) for name in ("Image", "Audio", "File") if hasattr(dspy, name))


@dataclass(frozen=True, slots=True)
class Answered:
    """What a DSPy program returned, and DSPy's trace of it where a metric may ask for one."""

    prediction: Any
    trace: list[Any] | None = None


class Examples:
    """DSPy examples by what is in them: rows are JSON, programs and metrics get the examples themselves."""

    def __init__(self) -> None:
        self._by_columns: dict[str, Any] = {}
        self._by_inputs: dict[str, Any] = {}
        self.input_names: tuple[str, ...] = ()

    def rows(self, examples: Sequence[Any], where: str) -> list[dict[str, Any]]:
        """Return examples as rows of plain JSON.

        Raises:
            DataError: an example does not say what its inputs are, or they differ from the others'.
        """
        return [self._row(example, f"{where}[{number}]") for number, example in enumerate(examples)]

    def example(self, columns: Mapping[str, Any]) -> Any:
        """Return the example that a row was made of."""
        return self._by_columns[content_hash(dict(columns))]

    def inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs of the example that a row's inputs were made of."""
        found = self._by_inputs.get(content_hash(dict(inputs)))
        return dict(inputs) if found is None else {name: found[name] for name in inputs}

    def _row(self, example: Any, where: str) -> dict[str, Any]:
        if not isinstance(example, dspy.Example):
            raise DataError(f"{where} is no dspy.Example but a {type(example).__name__}")
        if getattr(example, "_input_keys", None) is None:
            raise DataError(f"{where} does not say what its inputs are: make it with .with_inputs(...)")
        names = tuple(name for name in example.keys() if name in example._input_keys)  # noqa: SIM118 - not a mapping
        if set(names) != set(self.input_names or names):
            raise DataError(f"{where} has the inputs {', '.join(names)}, others have {', '.join(self.input_names)}")
        self.input_names = self.input_names or names
        row = {name: _json(example[name], f"{where}.{name}") for name in example.keys()}  # noqa: SIM118
        self._by_columns.setdefault(content_hash(row), example)
        self._by_inputs.setdefault(content_hash({name: row[name] for name in names}), example)
        return row


def metric_for(metric: Callable[..., Any], examples: Examples, settings: Callable[[], Any]) -> Callable[..., Any]:
    """Return a DSPy metric as luthier calls it: ``trace`` is None, but for a teacher's runs, as in DSPy.

    Args:
        metric: ``metric(example, prediction, trace=None)``; returns a bool, a number, or a
            ``dspy.Prediction(score=..., feedback=...)``.
        examples: where the examples themselves are.
        settings: opens DSPy's settings for the LM calls that a metric makes.
    """

    def scored(example: Any, answered: Any) -> Any:
        with settings():
            return _score(metric, examples.example(example), answered)

    # Hashed together with the user's metric, and named like it.
    scored.__module__ = getattr(metric, "__module__", None) or "__main__"
    scored.__qualname__ = getattr(metric, "__qualname__", type(metric).__qualname__)
    return scored


def program_for(module: Any, run: Callable[..., Any], *, is_async: bool, parts: tuple[Any, ...]) -> Callable[..., Any]:
    """Return a DSPy module as a function of an example's inputs.

    Args:
        module: gives the function its name.
        run: takes the parts and the inputs, and runs the module.
        is_async: whether ``run`` is awaited.
        parts: the user's own functions in it, named by what follows, so that manifests hash and proposers read them.
    """

    def program(**inputs: Any) -> Any:
        return run(parts, inputs)

    async def awaited(**inputs: Any) -> Any:
        return await run(parts, inputs)

    made: types.FunctionType = awaited if is_async else program  # type: ignore[assignment]
    kind = type(module)
    # A class of DSPy's own must not make DSPy user code.
    made.__module__ = "dspy_program" if kind.__module__.partition(".")[0] == "dspy" else kind.__module__
    made.__qualname__ = kind.__qualname__
    return made


def _score(metric: Callable[..., Any], example: Any, answered: Answered) -> Any:
    try:
        if answered.trace is None:
            returned = metric(example, answered.prediction)
        else:
            returned = metric(example, answered.prediction, answered.trace)
    except AdapterParseError as error:
        raise Unparseable(f"the metric could not read its judge: {error}", text=str(error.lm_response)) from error
    if isinstance(returned, dspy.Prediction) or (isinstance(returned, Mapping) and "score" in returned):
        return Score(float(returned["score"]), str(returned.get("feedback") or ""))
    return returned


def _json(value: Any, where: str) -> Any:
    if isinstance(value, _MEDIA):
        text = canonical_json(value_to_json(value)).encode()
        return f"{type(value).__name__.lower()} {hashlib.sha256(text).hexdigest()[:16]}"
    if isinstance(value, list | tuple):
        return [_json(item, where) for item in value]
    try:
        made = value_to_json(value)
        canonical_json(made)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} cannot be written as JSON: {error}") from error
    return made
