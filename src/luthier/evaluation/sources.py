"""Reading tabular data from files, frames, and lists, without knowing what it is for."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from luthier.errors import DataError

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_KINDS = "a list of mappings, a JSONL(.gz), CSV or Parquet file, a pandas or polars frame, or a Hugging Face data set"


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
        return list(data)
    if isinstance(data, Mapping):
        parts = ", ".join(map(str, data))
        raise DataError(f"{where} is a mapping ({parts}), but must be {_KINDS}; several parts go into lt.Splits(…)")
    if isinstance(data, bytes) or not isinstance(data, Iterable):
        raise DataError(f"{where} is of type {type(data).__name__}, but must be {_KINDS}")
    return list(data)


def _pandas_records(frame: Any) -> list[dict[str, Any]]:
    """Return a frame's rows, its missing values (NaN, NaT, NA) as None."""
    missing = frame.isna().to_numpy().tolist()
    records = frame.to_dict("records")
    return [
        {name: None if gone else value for (name, value), gone in zip(row.items(), gaps, strict=True)}
        for row, gaps in zip(records, missing, strict=True)
    ]


def _read_file(path: Path, texts: frozenset[str]) -> Iterator[tuple[str, Any]]:
    name = path.name.lower()
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; data is {_KINDS}")
    if name.endswith((".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")):
        return _read_jsonl(path)
    if name.endswith((".csv", ".csv.gz")):
        return _read_csv(path, texts)
    if name.endswith((".parquet", ".pq")):
        return _read_parquet(path)
    raise DataError(f"{path}: unknown kind of file; the name must end in .jsonl, .jsonl.gz, .csv, or .parquet")


def _read_jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            yield f"{path}:{number}", json.loads(line, parse_constant=_refuse_constant)
        except ValueError as error:
            raise DataError(
                f"{path}:{number}: this line is not JSON ({error}); a JSONL file has one object a line"
            ) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; write null")


def _read_csv(path: Path, texts: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Read a CSV file; a column is of numbers where all its cells are and no text parameter takes it."""
    reader = csv.reader(io.StringIO("".join(_lines(path)), newline=""), strict=True)
    cells: list[tuple[int, list[str]]] = []
    try:
        for line in reader:
            if line:
                cells.append((reader.line_num, line))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: this line is not CSV ({error})") from error
    if not cells:
        return
    header = cells.pop(0)[1]
    if len(set(header)) != len(header):
        raise DataError(f"{path}:1: two columns have the same name in the header: {', '.join(header)}")
    for number, line in cells:
        if len(line) != len(header):
            raise DataError(
                f"{path}:{number}: {len(line)} cells under a header of {len(header)}; quote cells with commas"
            )
    columns = [_typed([line[i] for _, line in cells], name in texts) for i, name in enumerate(header)]
    for index, (number, _) in enumerate(cells):
        yield f"{path}:{number}", {name: column[index] for name, column in zip(header, columns, strict=True)}


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


def _lines(path: Path) -> Iterator[str]:
    """Return a text file's lines, decompressed, with a byte-order mark dropped."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number}: this line is not UTF-8 ({error.reason}); save the file as UTF-8") from error
    except (OSError, EOFError) as error:
        raise DataError(f"{path}:{number + 1}: the file cannot be read ({error})") from error
