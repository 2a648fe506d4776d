"""Delimited text as spreadsheets write it: which sign separates the cells, and what of it is no data at all."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from luthier.errors import DataError

_SEPARATORS = (",", ";", "\t", "|")
_SPOKEN = {",": "','", ";": "';'", "\t": "a tab", "|": "'|'"}
_DECLARED = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
"""What Excel writes and reads as a first line: it names the separator and is no row."""
_RECORDS_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class Delimited:
    """The cells of a file, all of them text, each row as long as the header."""

    header: tuple[str, ...]
    rows: tuple[tuple[int, Sequence[str]], ...]
    """Each with the line of the file it ends on."""


def read_delimited(text: str, where: str) -> Delimited:
    """Return a file's cells; rows and columns without any text are left out.

    Args:
        text: the file's.
        where: what error messages call it.

    Raises:
        DataError: a line cannot be read, or is longer or shorter than the header; columns lack a name, or share one.
    """
    lines_before = 0
    if (declared := _DECLARED.match(text)) is not None:
        separator, text, lines_before = declared.group(1), text[declared.end() :], 1
    else:
        separator = _separator(text)
    records = list(_records(text, separator, where, lines_before))
    if not records:
        return Delimited((), ())
    (header_line, header), *rows = records
    names = [name.strip() for name in header]
    rows = [(line, _as_wide(cells, len(names), f"{where}:{line}", separator)) for line, cells in rows]
    kept = [index for index, name in enumerate(names) if name or not _is_dispensable([row[index] for _, row in rows])]
    if unnamed := [index + 1 for index in kept if not names[index]]:
        raise DataError(f"{where}:{header_line}: column {unnamed[0]} has no name in the header, but cells with text")
    header = [names[index] for index in kept]
    if len(set(header)) != len(header):
        raise DataError(f"{where}:{header_line}: two columns have the same name in the header: {', '.join(header)}")
    return Delimited(tuple(header), tuple((line, [row[index] for index in kept]) for line, row in rows))


def _records(text: str, separator: str, where: str, lines_before: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the records that hold any text, each with the line it ends on."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield lines_before + reader.line_num, cells
    except csv.Error as error:
        line = lines_before + reader.line_num
        raise DataError(f"{where}:{line}: this is not CSV separated by {_spoken(separator)} ({error})") from error


def _separator(text: str) -> str:
    """Return the sign that cuts the most rows into as many cells as the header has; then the one that makes more."""

    def fit(separator: str) -> tuple[float, int]:
        try:
            looked_at = [cells for _, cells in itertools.islice(_records(text, separator, "", 0), _RECORDS_LOOKED_AT)]
        except DataError:
            return (0.0, 0)
        width = len(looked_at[0]) if looked_at else 0
        if width < 2:
            return (0.0, 0)
        return (sum(len(cells) == width for cells in looked_at) / len(looked_at), width)

    return max(_SEPARATORS, key=fit)  # the first of equals: the comma


def _as_wide(cells: list[str], width: int, place: str, separator: str) -> list[str]:
    """Return a row as wide as the header; separators too many at its end are nothing."""
    if len(cells) < width or any(cell.strip() for cell in cells[width:]):
        raise DataError(
            f"{place}: {len(cells)} cells under a header of {width}, separated by {_spoken(separator)}; "
            "quote cells that hold the separator"
        )
    return cells[:width]


def _is_dispensable(cells: Sequence[str]) -> bool:
    """Say whether a column without a name holds nothing: no text, or the row numbers that a data frame writes."""
    return not any(cell.strip() for cell in cells) or any(
        list(cells) == [str(first + index) for index in range(len(cells))] for first in (0, 1)
    )


def _spoken(separator: str) -> str:
    return _SPOKEN.get(separator, repr(separator))
