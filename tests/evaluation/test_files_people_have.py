"""Files as spreadsheets and exports write them, and Hugging Face data sets, become the rows that people mean."""

from __future__ import annotations

import gzip
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import DataError
from luthier.evaluation.data import load_rows
from luthier.evaluation.sources import read_source
from luthier.evaluation.splits import split
from luthier.program.program import discover
from tests.evaluation.world import program

TICKETS = [{"ticket": "Parcel late", "queue": "delivery"}, {"ticket": "Paid twice", "queue": "billing"}]


def rows_of(directory: Path, name: str, data: str | bytes) -> list[dict[str, Any]]:
    path = directory / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return [dict(row) for row in read_source(path, "data").rows]


class TestSeparators:
    @pytest.mark.parametrize(
        "text",
        [
            "ticket,queue\nParcel late,delivery\nPaid twice,billing\n",
            "ticket;queue\r\nParcel late;delivery\r\nPaid twice;billing\r\n",
            "ticket\tqueue\nParcel late\tdelivery\nPaid twice\tbilling\n",
            "ticket|queue\nParcel late|delivery\nPaid twice|billing\n",
            "sep=;\r\nticket;queue\r\nParcel late;delivery\r\nPaid twice;billing\r\n",
            "SEP=^\nticket^queue\nParcel late^delivery\nPaid twice^billing\n",
            "ticket, queue\nParcel late,delivery\nPaid twice,billing\n",
            '\ufeff"ticket";"queue"\n"Parcel late";"delivery"\n"Paid twice";"billing"\n',
        ],
    )
    def test_the_separator_is_told_from_the_file(self, tmp_path: Path, text: str) -> None:
        assert rows_of(tmp_path, "data.csv", text) == TICKETS

    @pytest.mark.parametrize(
        ("text", "ticket"),
        [
            ("ticket;queue\nParcel late, again;delivery\n", "Parcel late, again"),
            ("ticket;queue\nlate, very, very;delivery\n", "late, very, very"),
            ('ticket;queue\n"Parcel; late";delivery\n', "Parcel; late"),
            ("ticket,queue\nParcel; late; again,delivery\n", "Parcel; late; again"),
            ('ticket,queue\n"Dear all,\nparcel late",delivery\n', "Dear all,\nparcel late"),
            ("ticket\tqueue\nParcel late, again; and again\tdelivery\n", "Parcel late, again; and again"),
        ],
    )
    def test_other_separators_in_the_text_are_text(self, tmp_path: Path, text: str, ticket: str) -> None:
        assert rows_of(tmp_path, "data.csv", text) == [{"ticket": ticket, "queue": "delivery"}]

    def test_a_separator_in_the_header_alone_does_not_decide(self, tmp_path: Path) -> None:
        assert rows_of(tmp_path, "data.csv", "ticket;subject,queue\na,b\nc,d\n") == [
            {"ticket;subject": "a", "queue": "b"},
            {"ticket;subject": "c", "queue": "d"},
        ]

    def test_a_single_column_needs_no_separator(self, tmp_path: Path) -> None:
        assert rows_of(tmp_path, "data.csv", "ticket\nlate; very\n") == [{"ticket": "late; very"}]

    @pytest.mark.parametrize("name", ["data.tsv", "data.TSV", "data.tab", "data.csv"])
    def test_tabs_are_read_under_their_own_ending_too(self, tmp_path: Path, name: str) -> None:
        assert rows_of(tmp_path, name, "ticket\tqueue\nParcel late\tdelivery\nPaid twice\tbilling\n") == TICKETS

    def test_a_ragged_line_is_told_with_line_and_separator(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"data\.csv:4: 3 cells under a header of 2, separated by ';'"):
            rows_of(tmp_path, "data.csv", "sep=;\nticket;queue\na;b\nc;d;e\n")


class TestWhatIsNoData:
    @pytest.mark.parametrize(
        "text",
        [
            "ticket,queue\nParcel late,delivery\nPaid twice,billing\n,\n,\n",
            "\n\nticket,queue\nParcel late,delivery\n\n  ,\t\nPaid twice,billing\n",
            "ticket,queue,,\nParcel late,delivery,,\nPaid twice,billing,,\n",
            "ticket,queue\nParcel late,delivery,,\nPaid twice,billing,\n",
            ",ticket,,queue\n,Parcel late,,delivery\n,Paid twice,,billing\n",
            ",ticket,queue\n0,Parcel late,delivery\n1,Paid twice,billing\n",
            ";ticket;queue\n1;Parcel late;delivery\n2;Paid twice;billing\n",
        ],
    )
    def test_blank_rows_and_columns_and_row_numbers_are_left_out(self, tmp_path: Path, text: str) -> None:
        assert rows_of(tmp_path, "data.csv", text) == TICKETS

    def test_a_row_with_some_text_is_a_row(self, tmp_path: Path) -> None:
        assert rows_of(tmp_path, "data.csv", "ticket,queue\n,delivery\n")[0] == {"ticket": "", "queue": "delivery"}

    def test_text_under_no_name_is_told_by_column(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"data\.csv:1: column 3 has no name"):
            rows_of(tmp_path, "data.csv", "ticket,queue,\na,b,see below\n")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["data.csv", "data.jsonl", "data.json", "data.tsv"])
def test_every_unicode_encoding_is_read_with_and_without_its_mark(tmp_path: Path, name: str, encoding: str) -> None:
    rows = [{"ticket": "Straße 東京 “late”", "queue": "Zürich"}]
    text = {
        "data.csv": "ticket,queue\n{ticket},{queue}\n".format(**rows[0]),
        "data.tsv": "ticket\tqueue\n{ticket}\t{queue}\n".format(**rows[0]),
        "data.jsonl": json.dumps(rows[0], ensure_ascii=False) + "\n",
        "data.json": json.dumps(rows, ensure_ascii=False),
    }[name]
    assert rows_of(tmp_path, name, text.encode(encoding)) == rows


class TestJson:
    @pytest.mark.parametrize("name", ["data.json", "data.jsonl", "data.ndjson"])
    @pytest.mark.parametrize(
        "text",
        [
            json.dumps(TICKETS),
            json.dumps(TICKETS, indent=2),
            "\n " + json.dumps(TICKETS) + "\n\n",
            "\n".join(map(json.dumps, TICKETS)),
            "\r\n".join(map(json.dumps, TICKETS)) + "\r\n",
        ],
    )
    def test_arrays_and_lines_are_read_under_either_ending(self, tmp_path: Path, name: str, text: str) -> None:
        assert rows_of(tmp_path, name, text) == TICKETS

    def test_a_compressed_array_is_read(self, tmp_path: Path) -> None:
        assert rows_of(tmp_path, "data.json.gz", gzip.compress(json.dumps(TICKETS).encode())) == TICKETS

    def test_line_separators_inside_a_text_end_no_line(self, tmp_path: Path) -> None:
        row = {"ticket": "one\u2028two\x85three", "queue": "x"}
        assert rows_of(tmp_path, "data.jsonl", json.dumps(row, ensure_ascii=False)) == [row]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ('{\n"version": 2,\n"data": []}', "version, data"),
            ("[1, 2]", "row 1: a row must be a mapping"),
            ('[\n{"a": 1},\n{"a": }\n]', r"data\.json:3: this file is not JSON"),
            ('[{"a": NaN}]', "NaN is not JSON"),
            ('"text"\n', "must be a mapping"),
        ],
    )
    def test_what_is_no_array_of_objects_is_told(self, tmp_path: Path, text: str, told: str) -> None:
        with pytest.raises(DataError, match=told):
            rows_of(tmp_path, "data.json", text)


class ClassLabel:
    """Looks like the feature of Hugging Face's ``datasets`` of that name."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)

    def int2str(self, value: int) -> str:
        return self.names[value]


class Sequenced:
    """Looks like a ``Sequence`` or ``List`` of a feature."""

    def __init__(self, feature: Any) -> None:
        self.feature = feature


class HuggingFace:
    """Looks like a ``datasets.Dataset``."""

    def __init__(self, rows: list[dict[str, Any]], features: Mapping[str, Any] | None = None) -> None:
        self.rows = rows
        self.features = features
        self.column_names = list(rows[0])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


class DatasetDict(dict[str, HuggingFace]):
    """Looks like a ``datasets.DatasetDict``."""

    @property
    def column_names(self) -> dict[str, list[str]]:
        return {name: part.column_names for name, part in self.items()}


class TestHuggingFace:
    @pytest.mark.parametrize(
        ("feature", "value", "read"),
        [
            (ClassLabel("neg", "pos"), 1, "pos"),
            (ClassLabel("neg", "pos"), 0, "neg"),
            (ClassLabel("neg", "pos"), -1, None),
            (Sequenced(ClassLabel("late", "lost", "broken")), [2, 0], ["broken", "late"]),
            ([ClassLabel("late", "lost")], [1], ["lost"]),
            ({"inner": ClassLabel("a")}, {"inner": 0}, {"inner": 0}),
            (object(), 1, 1),
        ],
    )
    def test_numbers_of_classes_become_their_names(self, feature: Any, value: Any, read: Any) -> None:
        data = HuggingFace([{"number": "1", "label": value}], {"number": object(), "label": feature})
        assert read_source(data, "data").rows == ({"number": "1", "label": read},)

    def test_parts_with_the_usual_names_are_what_they_say(self) -> None:
        parts = {
            name: HuggingFace([{"number": f"{i}", "answer": "odd"} for i in numbers])
            for name, numbers in {"train": range(9), "validation": range(10, 15), "test": range(20, 23)}.items()
        }
        found = split(DatasetDict(parts), discover(program))
        assert (len(found.train), len(found.val), len(found.test)) == (9, 5, 3)
        del parts["test"]
        found = split(DatasetDict(parts), discover(program))
        assert (len(found.train), len(found.val), len(found.test)) == (9, 5, 0)
        del parts["validation"]
        found = split(DatasetDict(parts), discover(program))
        assert len(found.train) + len(found.val) == 9

    @pytest.mark.parametrize("names", [("train", "test"), ("unsupervised", "train"), ("a", "b", "c")])
    def test_other_parts_are_named_and_the_remedy_with_them(self, names: tuple[str, ...]) -> None:
        part = HuggingFace([{"number": "1", "answer": "odd"}])
        data = DatasetDict(dict.fromkeys(names, part))
        with pytest.raises(DataError, match=rf"DatasetDict of {', '.join(names)}.*lt\.Splits"):
            split(data, discover(program))
        with pytest.raises(DataError, match=rf"DatasetDict of {', '.join(names)}.*data\['{names[0]}'\]"):
            load_rows(data, tuple(inspect.signature(program).parameters.values()))


@pytest.mark.parametrize("value", [float("nan"), [float("nan")], {"x": float("nan")}])
def test_a_missing_number_is_told_by_row_and_column(value: Any) -> None:
    rows = [{"number": "1", "answer": "odd"}, {"number": "2", "answer": value}]
    with pytest.raises(DataError, match=r"row 2, column 'answer'.*[nN][aA][nN]"):
        load_rows(rows, tuple(inspect.signature(program).parameters.values()))
