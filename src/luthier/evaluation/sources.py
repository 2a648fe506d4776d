"""Reading tabular data from files, frames, and lists, without knowing what it is for."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from luthier.errors import DataError
from luthier.evaluation.delimited import read_delimited

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_KINDS = (
    "a list of mappings, a JSONL, JSON, CSV, TSV or Parquet file, a pandas or polars frame, or a Hugging Face data set"
)


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows that all have the same columns."""

    names: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]


def read_source(data: Any, where: str, texts: frozenset[str] = frozenset()) -> Columns:
    """Return the rows of a data set in any of the accepted forms.

    Args:
        data: the data set.
        where: what error messages call it.
        texts: columns that stay text in a CSV file, even where every cell looks like a number.

    Raises:
        DataError: the data cannot be read, are empty, or are ragged.
    """
    if isinstance(data, str | os.PathLike):
        rows = _read_file(Path(data), texts)
        where = f"{where} ({data})"
    else:
        rows = ((f"{where}, row {i + 1}", row) for i, row in enumerate(_records(data, where)))
    return _checked(rows, where)


def _checked(rows: Iterable[tuple[str, Any]], where: str) -> Columns:
    names: tuple[str, ...] = ()
    kept: list[Mapping[str, Any]] = []
    for place, row in rows:
        if not isinstance(row, Mapping):
            raise DataError(f"{place}: a row must be a mapping of columns, not {type(row).__name__}")
        if not kept:
            names = tuple(row)
            if not names or not all(isinstance(name, str) for name in names):
                raise DataError(f"{place}: a row must have columns, named by text; got {list(names)}")
        elif row.keys() != kept[0].keys():
            lacks, extra = sorted(set(names) - set(row)), sorted(map(str, set(row) - set(names)))
            told = [f"lacks {', '.join(lacks)}"] * bool(lacks) + [f"has besides {', '.join(extra)}"] * bool(extra)
            raise DataError(
                f"{place}: every row must have the columns of the first ({', '.join(names)}), "
                f"but this one {' and '.join(told)}; fill missing values with null"
            )
        kept.append(row)
    if not kept:
        raise DataError(f"{where} is empty; at least one row is needed")
    return Columns(names, tuple(kept))


def _records(data: Any, where: str) -> Iterable[Any]:
    """Return the rows of something in memory."""
    if hasattr(data, "to_dicts"):  # polars
        records: Iterable[Any] = data.to_dicts()
        return records
    if hasattr(data, "collect") and hasattr(data, "collect_schema"):  # a lazy polars frame
        return _records(data.collect(), where)
    if hasattr(data, "to_dict") and hasattr(data, "iterrows"):  # pandas
        return _pandas_records(data)
    if hasattr(data, "column_names") and not isinstance(data, Mapping):  # Hugging Face, without importing it
        return _hugging_face_records(data)
    if isinstance(data, Mapping):
        parts = ", ".join(map(str, data))
        if is_dataset_dict(data):
            raise DataError(
                f"{where} is a DatasetDict of {parts}: choose one of them, data[{next(iter(data))!r}]; "
                "to tune on several, name what each is for: lt.Splits(train=…, val=…, test=…)"
            )
        raise DataError(f"{where} is a mapping ({parts}), but must be {_KINDS}; several parts go into lt.Splits(…)")
    if isinstance(data, bytes) or not isinstance(data, Iterable):
        raise DataError(f"{where} is of type {type(data).__name__}, but must be {_KINDS}")
    return list(data)


def is_dataset_dict(data: Any) -> bool:
    """Say whether data are a Hugging Face ``DatasetDict``: data sets by the name of the split."""
    return isinstance(data, Mapping) and bool(data) and all(hasattr(part, "column_names") for part in data.values())


def _hugging_face_records(data: Any) -> list[Any]:
    """Return a data set's rows, the numbers of a ``ClassLabel`` as the names they stand for."""
    features: Any = getattr(data, "features", None) or {}
    named = {column: names for column, feature in features.items() if (names := _class_names(feature)) is not None}
    if not named:
        return list(data)
    return [{**row, **{column: _named(row[column], names) for column, names in named.items()}} for row in data]


def _class_names(feature: Any) -> Sequence[str] | None:
    """Return the names of a ``ClassLabel``, or of a sequence of them; None for any other feature."""
    if hasattr(feature, "names") and hasattr(feature, "int2str"):
        names: Sequence[str] = feature.names
        return names
    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
    return None if inner is None or isinstance(inner, Mapping) else _class_names(inner)


def _named(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None  # -1 is how unlabelled rows are written


def _pandas_records(frame: Any) -> list[dict[str, Any]]:
    """Return a frame's rows, its missing values (NaN, NaT, NA) as None."""
    missing = frame.isna().to_numpy().tolist()
    records = frame.to_dict("records")
    return [
        {name: None if gone else value for (name, value), gone in zip(row.items(), gaps, strict=True)}
        for row, gaps in zip(records, missing, strict=True)
    ]


def _read_file(path: Path, texts: frozenset[str]) -> Iterator[tuple[str, Any]]:
    name = path.name.lower().removesuffix(".gz")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; data is {_KINDS}")
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return _read_json(path, lines=not name.endswith(".json"))
    if name.endswith((".csv", ".tsv", ".tab")):
        return _read_csv(path, texts)
    if name.endswith((".parquet", ".pq")):
        return _read_parquet(path)
    raise DataError(f"{path}: unknown kind of file; the name must end in .jsonl, .json, .csv, .tsv, or .parquet")


def _read_json(path: Path, *, lines: bool) -> Iterator[tuple[str, Any]]:
    """Read one array of objects, or one object a line: whichever the file holds, whatever it is called.

    ``lines``: its name says that it is of lines.
    """
    text = _text(path)
    start = text.lstrip()
    holds_array = re.match(r"\[\s*[{\]]" if lines else r"\[", start) is not None
    if not holds_array and (lines or _is_json(start.partition("\n")[0])):
        yield from _json_lines(path, text)
        return
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise DataError(
            f"{path}:{getattr(error, 'lineno', 1)}: this file is not JSON ({error}); it must hold an array of objects"
        ) from error
    if not isinstance(data, list):
        holds = f"an object with {', '.join(map(str, data))}" if isinstance(data, dict) else f"a {type(data).__name__}"
        raise DataError(f"{path}: a JSON file of data holds an array of objects, one a row, but this one holds {holds}")
    for index, row in enumerate(data):
        yield f"{path}, row {index + 1}", row


def _json_lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield f"{path}:{number}", json.loads(line, parse_constant=_refuse_constant)
        except ValueError as error:
            raise DataError(
                f"{path}:{number}: this line is not JSON ({error}); a JSONL file has one object a line"
            ) from error


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; write null")


def _read_csv(path: Path, texts: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Read delimited text; a column is of numbers where all its cells are and no text parameter takes it."""
    found = read_delimited(_text(path), str(path))
    columns = [_typed([row[i] for _, row in found.rows], name in texts) for i, name in enumerate(found.header)]
    for index, (number, _) in enumerate(found.rows):
        yield f"{path}:{number}", {name: column[index] for name, column in zip(found.header, columns, strict=True)}


def _typed(cells: Sequence[str], text: bool) -> Sequence[Any]:
    filled = [cell for cell in cells if cell]
    # "007" and "+49" do not match: they are names written in digits.
    if text or not filled or not all(_NUMBER.fullmatch(cell) for cell in filled):
        return cells
    whole = all(cell.lstrip("-").isdigit() for cell in filled)
    kind: Callable[[str], int | float] = int if whole else float
    return [kind(cell) if cell else None for cell in cells]


def _read_parquet(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        parquet = None
    try:
        if parquet is not None:
            records: Iterable[Any] = parquet.read_table(path).to_pylist()
        else:
            import polars

            records = polars.read_parquet(path).to_dicts()
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pyarrow or polars; install one, or convert to JSONL") from error
    except Exception as error:
        raise DataError(f"{path}: the file cannot be read ({str(error).splitlines()[0]})") from error
    for index, record in enumerate(records):
        yield f"{path}, row {index + 1}", record


def _text(path: Path) -> str:
    """Return a text file, decompressed and decoded."""
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
            data: bytes = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the file cannot be read ({error})") from error
    encoding = _encoding(data)
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        name = "UTF-8" if encoding == "utf-8" else encoding.upper()
        raise DataError(f"{path}:{number}: this line is not {name} ({error.reason}); save the file as UTF-8") from error


def _encoding(data: bytes) -> str:
    """Tell an encoding by the byte-order mark, or by the zero bytes that UTF-16 writes beside every ASCII letter."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = data[:4]
    if len(start) == 4 and start[1] == start[3] == 0 and start[0] and start[2]:
        return "utf-16-le"
    if len(start) == 4 and start[0] == start[2] == 0 and start[1] and start[3]:
        return "utf-16-be"
    return "utf-8"
