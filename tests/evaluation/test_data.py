"""Data of every accepted kind become the same rows, and bad data are told where and why."""

from __future__ import annotations

import copy
import datetime
import gzip
import inspect
import json
import pickle  # noqa: TID251 - only to see that an example survives it
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.errors import DataError
from luthier.evaluation.data import Example, Row, load_rows, load_table, tables_of
from luthier.evaluation.sources import read_source

ROWS = [
    {"question": "one?", "length": 1.5, "answer": "yes"},
    {"question": "two?", "length": 2.0, "answer": "no"},
    {"question": "three?", "length": 3.25, "answer": "yes"},
    {"question": "four?", "length": 4.0, "answer": "no"},
]


def parameters_of(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(function).parameters.values())


def answer(question: str, length: float) -> str:
    return question * int(length)


def load(data: Any, **options: Any) -> list[Row]:
    return load_rows(data, parameters_of(answer), **options)


class FakeHuggingFace:
    """Looks like a ``datasets.Dataset``: column_names, iteration, and no mapping."""

    column_names = ("question", "length", "answer")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(ROWS)


def written(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


class TestEveryKindOfData:
    def same(self, data: Any) -> None:
        rows = load(data)
        assert [row.id for row in rows] == [row.id for row in load(ROWS)]
        assert [dict(row.example) for row in rows] == ROWS

    def test_a_list_of_mappings(self) -> None:
        self.same(ROWS)

    def test_a_generator_of_mappings(self) -> None:
        self.same(row for row in ROWS)

    def test_a_jsonl_file(self, tmp_path: Path) -> None:
        path = written(tmp_path, "data.jsonl", jsonl(ROWS) + "\n")
        self.same(path)
        self.same(str(path))

    def test_a_jsonl_file_with_a_byte_order_mark(self, tmp_path: Path) -> None:
        self.same(written(tmp_path, "data.jsonl", "\ufeff" + jsonl(ROWS)))

    def test_a_compressed_jsonl_file(self, tmp_path: Path) -> None:
        path = tmp_path / "data.jsonl.gz"
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.write(jsonl(ROWS))
        self.same(path)

    def test_a_csv_file(self, tmp_path: Path) -> None:
        lines = ["question,length,answer"] + [f"{r['question']},{r['length']},{r['answer']}" for r in ROWS]
        self.same(written(tmp_path, "data.csv", "\r\n".join(lines) + "\r\n"))

    def test_a_pandas_frame(self) -> None:
        import pandas

        self.same(pandas.DataFrame(ROWS))

    def test_a_polars_frame(self) -> None:
        import polars

        self.same(polars.DataFrame(ROWS))
        self.same(polars.DataFrame(ROWS).lazy())

    def test_a_parquet_file(self, tmp_path: Path) -> None:
        import polars

        polars.DataFrame(ROWS).write_parquet(tmp_path / "data.parquet")
        self.same(tmp_path / "data.parquet")

    def test_a_hugging_face_data_set(self) -> None:
        self.same(FakeHuggingFace())


class TestCsvCells:
    def read(self, directory: Path, text: str, texts: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
        return [dict(row) for row in read_source(written(directory, "data.csv", text), "data", texts).rows]

    def test_numbers_are_numbers_where_the_whole_column_is(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, "a,b,c\n1,1.5,x\n2,-3e2,4\n,,y\n") == [
            {"a": 1, "b": 1.5, "c": "x"},
            {"a": 2, "b": -300.0, "c": "4"},
            {"a": None, "b": None, "c": "y"},
        ]

    def test_names_written_in_digits_stay_text(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, "zip,phone\n01234,+49\n90210,+1\n") == [
            {"zip": "01234", "phone": "+49"},
            {"zip": "90210", "phone": "+1"},
        ]

    def test_a_text_parameter_keeps_its_column_text(self, tmp_path: Path) -> None:
        path = written(tmp_path, "data.csv", "question,length\n1,2\n3,4\n")
        rows = load_rows(path, parameters_of(answer))
        assert [dict(row.inputs) for row in rows] == [{"question": "1", "length": 2}, {"question": "3", "length": 4}]

    def test_quoted_cells_may_hold_commas_and_line_ends(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, 'a,b\n"x, ""y""\nz",2\n') == [{"a": 'x, "y"\nz', "b": 2}]


class TestBadData:
    def test_an_unreadable_line_is_told_by_file_and_number(self, tmp_path: Path) -> None:
        path = written(tmp_path, "data.jsonl", jsonl(ROWS[:2]) + '{"question": \n')
        with pytest.raises(DataError, match=r"data\.jsonl:3: this line is not JSON"):
            load(path)

    def test_nan_is_not_json(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"data\.jsonl:1.*NaN is not JSON; write null"):
            load(written(tmp_path, "data.jsonl", '{"question": NaN, "length": 1}\n'))

    def test_a_line_that_is_no_object_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"data\.jsonl:1: a row must be a mapping"):
            load(written(tmp_path, "data.jsonl", "[1, 2]\n"))

    def test_a_line_that_is_not_utf8_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "data.jsonl"
        path.write_bytes(jsonl(ROWS[:1]).encode() + b'{"question": "\xff"}\n')
        with pytest.raises(DataError, match=r"data\.jsonl:2: this line is not UTF-8"):
            load(path)

    def test_a_cut_archive_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "data.jsonl.gz"
        path.write_bytes(gzip.compress(jsonl(ROWS * 50).encode())[:-20])
        with pytest.raises(DataError, match="cannot be read"):
            load(path)

    def test_ragged_rows_are_told_by_number(self) -> None:
        with pytest.raises(DataError, match=r"row 2: every row must have the columns.*lacks length.*has besides size"):
            load([ROWS[0], {"question": "x", "answer": "y", "size": 3}])

    def test_a_ragged_csv_line_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"data\.csv:3: 2 cells under a header of 3"):
            load(written(tmp_path, "data.csv", "question,length,answer\na,1,b\nc,2\n"))

    def test_two_columns_of_one_name_are_told(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"data\.csv:1: two columns have the same name"):
            load(written(tmp_path, "data.csv", "question,question\na,1\n"))

    @pytest.mark.parametrize("data", [[], iter(()), ()])
    def test_empty_data_are_told(self, data: Any) -> None:
        with pytest.raises(DataError, match="data is empty"):
            load(data)

    def test_an_empty_file_is_told_by_name(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"data \(.*data\.csv\) is empty"):
            load(written(tmp_path, "data.csv", "question,length,answer\n"))

    def test_a_missing_file_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"none\.jsonl: there is no such file"):
            load(tmp_path / "none.jsonl")

    def test_an_unknown_kind_of_file_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="unknown kind of file"):
            load(written(tmp_path, "data.xlsx", "x"))

    @pytest.mark.parametrize("data", [3, b"abc", object()])
    def test_what_is_no_data_set_is_told(self, data: Any) -> None:
        with pytest.raises(DataError, match=r"must be a list of mappings"):
            load(data)

    def test_a_mapping_of_parts_is_sent_to_splits(self) -> None:
        with pytest.raises(DataError, match=r"lt\.Splits"):
            load({"train": ROWS, "test": ROWS})

    def test_values_that_json_cannot_hold_are_told_by_row_and_column(self) -> None:
        with pytest.raises(DataError, match=r"data, row 2, column 'answer'.*type object"):
            load([ROWS[0], {**ROWS[1], "answer": object()}])
        with pytest.raises(DataError, match="row 1, column 'length'"):
            load([{**ROWS[0], "length": float("nan")}])

    def test_a_row_must_be_a_mapping(self) -> None:
        with pytest.raises(DataError, match="row 1: a row must be a mapping of columns, not str"):
            load(["a", "b"])

    def test_parquet_without_a_reader_says_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
        monkeypatch.setitem(__import__("sys").modules, "polars", None)
        with pytest.raises(DataError, match="needs pyarrow or polars"):
            load(written(tmp_path, "data.parquet", "x"))


class TestInputsAndLabels:
    def test_parameters_take_the_columns_of_their_names_and_the_rest_are_labels(self) -> None:
        table = load_table(ROWS, parameters_of(answer))
        assert table.input_names == ("question", "length")
        assert table.label_names == ("answer",)
        assert table.rows[0].inputs == {"question": "one?", "length": 1.5}
        assert table.rows[0].labels == {"answer": "yes"}

    def test_a_missing_column_is_told(self) -> None:
        def program(query: str) -> str:
            return query

        with pytest.raises(DataError, match=r"parameter 'query' needs a column.*question, length, answer"):
            load_rows(ROWS, parameters_of(program))

    def test_a_column_that_would_feed_a_default_is_refused_as_a_leak(self) -> None:
        def program(question: str, answer: str = "") -> str:
            return question + answer

        with pytest.raises(DataError, match=r"'answer'.*has a default.*labels leak.*inputs="):
            load_rows(ROWS, parameters_of(program))
        rows = load_rows(ROWS, parameters_of(program), inputs=["question"])
        assert rows[0].labels == {"length": 1.5, "answer": "yes"}

    def test_inputs_override_names(self) -> None:
        def program(**columns: Any) -> str:
            return str(columns)

        rows = load_rows(ROWS, parameters_of(program), inputs=["question", "length"])
        assert rows[0].inputs == {"question": "one?", "length": 1.5}

    @pytest.mark.parametrize(
        ("inputs", "told"),
        [
            (["question", "lenght"], "'lenght', which is not there"),
            (["question", "length", "answer"], "no parameter of that name"),
            (["question"], "'length' has no default"),
            ("question", "must be a list"),
        ],
    )
    def test_wrong_inputs_are_told(self, inputs: Any, told: str) -> None:
        with pytest.raises(DataError, match=told):
            load(ROWS, inputs=inputs)

    def test_a_program_that_nothing_feeds_is_told(self) -> None:
        with pytest.raises(DataError, match="no column of data feeds the program"):
            load_rows(ROWS, ())

    def test_parts_must_have_the_same_columns(self) -> None:
        with pytest.raises(DataError, match=r"val and train must have the same columns.*extra"):
            tables_of({"train": ROWS, "val": [{**ROWS[0], "extra": 1}]}, parameters_of(answer))


class TestRows:
    def test_ids_depend_on_the_inputs_alone_and_number_equal_ones(self) -> None:
        relabelled = [{**row, "answer": "maybe"} for row in ROWS]
        assert [row.id for row in load(ROWS)] == [row.id for row in load(relabelled)]
        first, second, third = load([ROWS[0], ROWS[0], ROWS[0]])
        assert second.id == f"{first.id}#2"
        assert third.id == f"{first.id}#3"
        assert first.content == third.content == first.id

    def test_numpy_dates_and_tuples_become_plain(self) -> None:
        row = {
            "question": np.str_("q"),
            "length": np.float32(0.5),
            "answer": np.bool_(True),
            "more": (np.int64(1), np.array([1, 2])),
            "day": datetime.date(2024, 1, 2),
        }
        example = load([row])[0].example
        assert dict(example) == {
            "question": "q",
            "length": 0.5,
            "answer": True,
            "more": [1, [1, 2]],
            "day": "2024-01-02",
        }
        assert type(example["question"]) is str
        assert type(example["answer"]) is bool

    def test_missing_values_of_a_frame_are_none(self) -> None:
        import pandas

        frame = pandas.DataFrame({"question": ["a", None], "length": [1.0, float("nan")], "answer": ["x", "y"]})
        assert dict(load(frame)[1].inputs) == {"question": None, "length": None}

    def test_the_stratum_is_the_first_label_with_few_values(self) -> None:
        def program(question: str) -> str:
            return question

        rows = [
            {"question": str(i), "id": i, "constant": 1, "seldom": i if i > 25 else None, "kind": i % 3, "other": i % 2}
            for i in range(30)
        ]
        strata = [row.stratum for row in load_rows(rows, parameters_of(program))]
        assert strata == [str(i % 3) for i in range(30)]

    def test_answers_that_all_differ_are_no_classes(self) -> None:
        rows = [{"question": str(i), "length": 1, "answer": f"answer {i}"} for i in range(20)]
        assert {row.stratum for row in load(rows)} == {""}

    def test_a_group_column_is_neither_input_nor_label(self) -> None:
        rows = load([{**row, "customer": i // 2} for i, row in enumerate(ROWS)], group="customer")
        assert [row.group for row in rows] == ["0", "0", "1", "1"]
        assert list(rows[0].labels) == ["answer"]
        assert rows[0].example.customer == 0
        with pytest.raises(DataError, match="no column 'client' to group by"):
            load(ROWS, group="client")


class TestExample:
    example = Example({"question": "q", "tags": ["a", "b"], "items": 3, "nested": {"x": [1]}}, ["tags"])

    def test_columns_are_items_and_attributes(self) -> None:
        assert self.example["question"] == self.example.question == "q"
        assert self.example["items"] == 3
        assert dict(self.example) == {"question": "q", "tags": ["a", "b"], "items": 3, "nested": {"x": [1]}}
        assert "question" in dir(self.example)

    def test_it_cannot_be_changed(self) -> None:
        with pytest.raises(AttributeError, match="read-only"):
            self.example.question = "other"
        with pytest.raises(AttributeError, match="read-only"):
            del self.example.question
        self.example.tags.append("c")
        self.example["nested"]["x"].append(2)
        assert self.example["tags"] == ["a", "b"]
        assert self.example.nested == {"x": [1]}

    def test_an_unknown_column_is_told_with_the_known_ones(self) -> None:
        with pytest.raises(AttributeError, match="no column 'anwser'; it has: question, tags, items, nested"):
            _ = self.example.anwser
        with pytest.raises(KeyError):
            _ = self.example["anwser"]

    def test_it_is_shown_short(self) -> None:
        assert repr(Example({"a": 1, "b": "x"})) == "Example(a=1, b='x')"
        assert len(repr(Example({"a": "x" * 1000}))) < 120

    def test_it_survives_copying(self) -> None:
        for copied in (copy.copy(self.example), copy.deepcopy(self.example), pickle.loads(pickle.dumps(self.example))):
            assert copied == self.example
