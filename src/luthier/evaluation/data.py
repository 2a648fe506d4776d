"""Data: anything tabular becomes rows, each with an id, inputs, and labels."""

from __future__ import annotations

import datetime
import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from luthier.canonical import canonical_json, content_hash
from luthier.errors import DataError
from luthier.evaluation.sources import Columns, read_source

if TYPE_CHECKING:
    from luthier.program.program import Program

FEW = 20
"""A label of at most so many distinct values counts as a class."""
_REPR_LIMIT = 80


class Example(Mapping[str, Any]):
    """One row as metrics see it: a read-only mapping whose columns are attributes, too.

    A column named like a method of mappings (``items``, ``keys``, …) is reached as ``example["items"]`` only.
    Lists and mappings are handed out as copies, so nothing a metric does can change the data.
    """

    __slots__ = ("_columns", "_labels")

    def __init__(self, columns: Mapping[str, Any], labels: Sequence[str] = ()) -> None:
        object.__setattr__(self, "_columns", dict(columns))
        object.__setattr__(self, "_labels", tuple(labels))

    def __getitem__(self, name: str) -> Any:
        return fresh(self._columns[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._columns:
            known = ", ".join(self._columns)
            raise AttributeError(f"the example has no column {name!r}; it has: {known}")
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("an example is read-only")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("an example is read-only")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._columns]

    def __copy__(self) -> Example:
        return self

    def __deepcopy__(self, memo: Any) -> Example:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Example, (self._columns, self._labels)

    def __repr__(self) -> str:
        return "Example(" + ", ".join(f"{name}={_short(value)}" for name, value in self._columns.items()) + ")"


def label_columns(example: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the columns that are labels; for a plain mapping, of all its columns."""
    if isinstance(example, Example):
        labels: tuple[str, ...] = example._labels
        return labels
    return tuple(example)


@dataclass(frozen=True, slots=True)
class Row:
    """One example with what luthier knows about it."""

    id: str
    """Content hash of the inputs; ``#2``, ``#3``, … for further rows with the same inputs."""
    example: Example
    inputs: Mapping[str, Any]
    labels: Mapping[str, Any]
    stratum: str = ""
    """The class: the value, as text, of the first label column with few values; empty where there is none."""
    group: str = ""
    """Rows of one group never cross a cut; empty where there is none."""
    number: int = 0
    """Its place in the data it came from, counted from 1."""

    @property
    def content(self) -> str:
        """What rows with equal inputs share: the id without its number."""
        return self.id.partition("#")[0]


@dataclass(frozen=True, slots=True)
class Table:
    """A whole data set: rows, and which columns are inputs and which labels."""

    rows: tuple[Row, ...]
    input_names: tuple[str, ...]
    label_names: tuple[str, ...]


def load_rows(
    data: Any,
    parameters: Sequence[inspect.Parameter],
    *,
    inputs: Sequence[str] | None = None,
    group: str | None = None,
    where: str = "data",
) -> list[Row]:
    """Return the rows of a data set for a program with these parameters.

    Args:
        data: mappings, a JSONL / JSON / CSV / TSV / Parquet path, a pandas or polars frame, or a Hugging Face data set.
        parameters: the program's; each is filled from the column of its name.
        inputs: the columns to feed, where names alone do not decide.
        group: a column whose equal values belong together.
        where: what error messages call the data.

    Raises:
        DataError: the data cannot be read, are empty or ragged, lack a column, or would leak a label.
    """
    return list(load_table(data, parameters, inputs=inputs, group=group, where=where).rows)


def load_table(
    data: Any,
    parameters: Sequence[inspect.Parameter],
    *,
    inputs: Sequence[str] | None = None,
    group: str | None = None,
    where: str = "data",
) -> Table:
    """Return a data set as a table; see ``load_rows``.

    Raises:
        DataError: as ``load_rows``.
    """
    return tables_of({where: data}, parameters, inputs=inputs, group=group)[where]


def tables_of(
    parts: Mapping[str, Any],
    parameters: Sequence[inspect.Parameter],
    *,
    inputs: Sequence[str] | None = None,
    group: str | None = None,
) -> dict[str, Table]:
    """Return several parts of one data set as tables: same columns, classes found over all, ids numbered over all.

    Raises:
        DataError: as ``load_rows``, or the parts have different columns.
    """
    if isinstance(inputs, str):
        raise DataError(f"inputs must be a list of column names, not the text {inputs!r}: write inputs=[{inputs!r}]")
    texts = frozenset(p.name for p in parameters if _is_text(p.annotation))
    sources = {where: read_source(data, where, texts) for where, data in parts.items()}
    columns = _shared_columns(sources)
    first = next(iter(sources))
    input_names = _input_names(columns, parameters, inputs, first)
    if group is not None and group not in columns:
        raise DataError(f"{first} has no column {group!r} to group by; it has: {', '.join(columns)}")
    label_names = tuple(name for name in columns if name not in input_names and name != group)
    cleaned = {where: [_clean(row, where, i) for i, row in enumerate(s.rows)] for where, s in sources.items()}
    stratum = _stratum_column([row for rows in cleaned.values() for row in rows], label_names)
    seen: dict[str, int] = {}
    tables = {}
    for where, rows in cleaned.items():
        made = [
            replace(_row(columns, input_names, label_names, stratum, group, seen), number=number)
            for number, columns in enumerate(rows, start=1)
        ]
        tables[where] = Table(tuple(made), input_names, label_names)
    return tables


def parameters_of(program: Program) -> tuple[inspect.Parameter, ...]:
    """Return all of a program's parameters; its own list leaves out ``**columns``, which takes any input."""
    return tuple(inspect.signature(program.function).parameters.values())


def fresh(value: Any) -> Any:
    """Return a JSON value whose lists and mappings are copies."""
    if isinstance(value, list):
        return [fresh(item) for item in value]
    if isinstance(value, dict):
        return {name: fresh(item) for name, item in value.items()}
    return value


def _is_text(annotation: Any) -> bool:
    """Say whether a parameter wants text, ``Annotated`` and annotations kept as text included."""
    if hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    return annotation is str or (
        isinstance(annotation, str) and annotation.replace(" ", "").split("[")[-1][:3] == "str"
    )


def _shared_columns(sources: Mapping[str, Columns]) -> tuple[str, ...]:
    first_name, first = next(iter(sources.items()))
    for name, source in sources.items():
        if source.rows and set(source.names) != set(first.names):
            odd = sorted(set(source.names) ^ set(first.names))
            raise DataError(
                f"{name} and {first_name} must have the same columns; these are in one only: {', '.join(odd)}"
            )
    return first.names


def _input_names(
    columns: Sequence[str], parameters: Sequence[inspect.Parameter], inputs: Sequence[str] | None, where: str
) -> tuple[str, ...]:
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    has = f"{where} has the columns: {', '.join(columns)}"
    for parameter in named:
        if parameter.default is parameter.empty and parameter.name not in columns:
            raise DataError(
                f"the program's parameter {parameter.name!r} needs a column of that name; {has}. Rename one of them"
            )
    if inputs is not None:
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        return _chosen(inputs, columns, named, takes_any=takes_any, has=has)
    for parameter in named:
        if (name := parameter.name) in columns and parameter.default is not parameter.empty:
            raise DataError(
                f"the column {name!r} of {where} would feed the program's parameter {name!r}, which has a default. "
                f"That is how labels leak into a program. Say which columns are inputs: inputs=[…], "
                f"with {name!r} if it is meant, without it if it is a label"
            )
    if not (names := tuple(p.name for p in named if p.name in columns)):
        raise DataError(f"no column of {where} feeds the program; {has}. Give its function a parameter, or inputs=[…]")
    return names


def _chosen(
    inputs: Sequence[str], columns: Sequence[str], named: Sequence[inspect.Parameter], *, takes_any: bool, has: str
) -> tuple[str, ...]:
    for name in inputs:
        if name not in columns:
            raise DataError(f"inputs names the column {name!r}, which is not there; {has}")
        if not takes_any and name not in {p.name for p in named}:
            raise DataError(f"inputs names {name!r}, but the program has no parameter of that name")
    for parameter in named:
        name = parameter.name
        if parameter.default is parameter.empty and name not in inputs:
            raise DataError(f"the program's parameter {name!r} has no default, so inputs must name the column {name!r}")
    return tuple(dict.fromkeys(inputs))


def _clean(row: Mapping[str, Any], where: str, index: int) -> dict[str, Any]:
    cleaned = {}
    for name, value in row.items():
        try:
            cleaned[name] = _plain(value)
            canonical_json([name, cleaned[name]]).encode()  # a lone half of a character pair has no bytes
        except (TypeError, ValueError) as error:
            if _is_nan(value):
                raise DataError(
                    f"{where}, row {index + 1}, column {name!r}: the value is missing (NaN); fill it, write None, or "
                    "leave out the row"
                ) from error
            raise DataError(
                f"{where}, row {index + 1}, column {name!r}: {_short(value)} of type {type(value).__name__} "
                f"cannot be kept as JSON ({error}); convert it to text, numbers, lists, or mappings, or drop the column"
            ) from error
    return cleaned


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _plain(value: Any) -> Any:
    """Return a value as JSON: numpy's scalars and arrays, dates, and tuples converted."""
    if value is None or type(value) in (str, bool, int, float):
        return value
    if isinstance(value, str):  # subclasses (enums, numpy's str_ and float64) become the plain type
        return str.__str__(value)
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise TypeError("a mapping's keys must be text")
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return value


def _stratum_column(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> str | None:
    """Return the first label with few values; one with gaps, or all different in a small data set, has no classes."""
    for name in labels:
        if any(row[name] is None for row in rows):
            continue
        distinct = len({canonical_json(row[name]) for row in rows})
        if 2 <= distinct <= min(FEW, max(2, len(rows) // 2)):
            return name
    return None


def _row(
    columns: Mapping[str, Any],
    input_names: Sequence[str],
    label_names: Sequence[str],
    stratum: str | None,
    group: str | None,
    seen: dict[str, int],
) -> Row:
    inputs = {name: columns[name] for name in input_names}
    content = content_hash(inputs)
    seen[content] = number = seen.get(content, 0) + 1
    return Row(
        id=content if number == 1 else f"{content}#{number}",
        example=Example(columns, label_names),
        inputs=inputs,
        labels={name: columns[name] for name in label_names},
        stratum="" if stratum is None else _text(columns[stratum]),
        group="" if group is None or columns[group] is None else _text(columns[group]),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _REPR_LIMIT else text[: _REPR_LIMIT - 1] + "…"
