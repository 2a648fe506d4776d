"""ScoNe: does a sentence follow from another, with none, one, or two negations? (She et al. 2023; MIPRO App. A).

One example: ``{"context": "the man owns a dog", "question": "Can we logically conclude for sure that the man owns a
mammal?", "answer": "Yes"}``.

Traps:
    - Rows come in contrast sets of six that share a number: split by it, or nearly equal rows are on both sides.
    - The test set is of another distribution: the original does better on it than on train (MIPRO Table 2).
    - The original instruction is the bare signature, as in the paper; it says nothing of Yes and No.

Source: ScoNe-NLI, ``selenashe/ScoNe`` (CC0); or ``scone/scone_nli_{train,test}.jsonl`` below ``LUTHIER_DATA_DIR``.
"""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any

import luthier as lt
from benchmarks.tasks.sources import RepositoryFile, repository_file
from benchmarks.tasks.task import PaperSettings, Task
from luthier.demo.packaged import local_rows

_COMMIT = "b02532a2f4185c6118a57a148455e0750592d8c8"
_BLOBS = {
    "train": {
        "no_negation": "af125c1bc246",
        "one_not_scoped": "9b10ad0b8644",
        "one_scoped": "f21f21d569b2",
        "one_scoped_one_not_scoped": "5d8b9bda9ad6",
        "two_not_scoped": "8d6311685612",
        "two_scoped": "5f0f8606534a",
    },
    "test": {
        "no_negation": "dab40435a92f",
        "one_not_scoped": "f153efb6aad2",
        "one_scoped": "cfb731a55acb",
        "one_scoped_one_not_scoped": "c3c8cdef5f3f",
        "two_not_scoped": "14056cec3a5b",
        "two_scoped": "2e44852349a4",
    },
}


@lt.predictor(reasoning=True, instruction="context, question -> answer", output="answer")
def scone(context: str, question: str) -> Annotated[str, "Yes or No"]:
    """Say whether the question's sentence follows from the context."""
    return lt.predict()


def train_rows() -> list[dict[str, Any]]:
    """Return the 6,012 rows of the train part.

    Raises:
        DataError: the data are nowhere to be had.
    """
    return _rows("train")


def test_rows() -> list[dict[str, Any]]:
    """Return the 1,200 rows of the test part.

    Raises:
        DataError: the data are nowhere to be had.
    """
    return _rows("test")


def _rows(part: str) -> list[dict[str, Any]]:
    local = local_rows(f"scone/scone_nli_{part}.jsonl", ("id", "premise", "question", "answer", "category"))
    if local is None:
        return [row for category in _BLOBS[part] for row in _fetched(part, category)]
    return [
        {
            "context": row["premise"],
            "question": row["question"],
            "answer": row["answer"],
            "category": row["category"],
            "contrast_set": f"{part}-{row['id'].rsplit('-', 1)[1]}",
        }
        for row in local
    ]


def _fetched(part: str, category: str) -> list[dict[str, Any]]:
    file = RepositoryFile("selenashe/ScoNe", _COMMIT, f"scone_nli/{part}/{category}.csv", _BLOBS[part][category])
    # Only where exactly the negation in scope is there are the sentences those of the original data.
    edited = "" if category == "one_scoped" else "_edited"
    rows = []
    for number, row in enumerate(csv.DictReader(io.StringIO(repository_file(file).decode("utf-8")))):
        hypothesis = row[f"sentence2{edited}"]
        conclusion = (hypothesis[0].lower() + hypothesis[1:]).removesuffix(".")
        rows.append(
            {
                "context": row[f"sentence1{edited}"],
                "question": f"Can we logically conclude for sure that {conclusion}?",
                "answer": "Yes" if row[f"gold_label{edited}"] == "entailment" else "No",
                "category": category,
                "contrast_set": f"{part}-{number}",
            }
        )
    return rows


TASK = Task(
    name="scone",
    program=scone,
    metric=lt.normalized_match("answer"),
    examples=train_rows,
    test_examples=test_rows,
    sizes=(250, 250, 1200),
    inputs=("context", "question"),
    group="contrast_set",
    max_tokens=200,
    paper=PaperSettings(full_evaluations=50, joint=70, alone=70),
)
