"""HotPotQA-Conditional: the form of the answer depends on what it is (MIPRO App. A).

One example: ``{"question": "At My Window was released by which American singer-songwriter?", "answer": "John Townes
Van Zandt", "category": "person"}``; right is "john townes van zandt".

The rules: a person in lower case; a place without punctuation; a date ends with "Peace!", nothing else does; anything
else in capitals.

Traps:
    - The metric as released can never score a date: it strips punctuation first, then looks for "peace!".
      ``released_metric`` is that; ``metric`` is corrected: the ending is taken off before the comparison.
    - Only the category "place" gets the place rule; "location", "city", "country" count as anything else. Kept in both.
    - The authors' released program lacks the rules; their paper's has them (Table 8). So has this one.
    - 49 of the 900 questions have their paragraphs in the local corpus; for the others the LM must know.

Source: the authors' three files, once part of ``stanfordnlp/dspy`` (MIT; questions CC BY-SA 4.0); or
``hotpotqa_conditional/{train,dev,test}.jsonl`` below ``LUTHIER_DATA_DIR``.
"""

from __future__ import annotations

import csv
import io
import string
from collections.abc import Mapping
from typing import Annotated, Any

import luthier as lt
from benchmarks.tasks.multihop import gather
from benchmarks.tasks.retrieval import opened
from benchmarks.tasks.sources import RepositoryFile, repository_file
from benchmarks.tasks.task import PaperSettings, Task
from luthier.demo.packaged import local_rows

ENDING = "Peace!"

_COMMIT = "b2e1bbd8f479ecfff35dd354aac3e804792e268d"
_BLOBS = {"train": "b967caabfa74", "dev": "f1c6665fa5fc", "test": "ee69346d4de4"}
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@lt.predictor(
    reasoning=True,
    name="answer",
    output="answer",
    instruction="Answer the question. Write a person entirely in lower case. Write a place without punctuation. "
    'End a date with "Peace!", and never end anything else so. Write anything else in capitals.',
)
def conditional_answer(
    context: Annotated[list[str], "passages relevant to the question"], question: str
) -> Annotated[str, "the answer to the question"]:
    """Answer the question in the form that its kind asks for."""
    return lt.predict()


def hotpotqa_conditional(question: str) -> str:
    """Answer a question in two hops, in the form that the answer's kind asks for."""
    return conditional_answer(context=gather(question), question=question)


def metric(example: Mapping[str, Any], prediction: str) -> bool:
    """Say whether the answer is right and in the form its category asks for."""
    given = prediction.removesuffix(ENDING) if example["category"] == "date" else prediction
    return _same(given, example["answer"]) and in_form(example["category"], prediction)


def released_metric(example: Mapping[str, Any], prediction: str) -> bool:
    """Say the same as the metric that the authors released: never true of a date."""
    return _same(prediction, example["answer"]) and in_form(example["category"], prediction)


def in_form(category: str, answer: str) -> bool:
    """Say whether an answer has the form that a category asks for."""
    if category == "place":
        return not any(mark in answer for mark in ",.?!;:")
    if category == "date":
        return answer.endswith(ENDING)
    if category == "person":
        return answer == answer.lower()
    return answer == answer.upper() and not answer.endswith(ENDING)


def train_rows() -> list[dict[str, Any]]:
    """Return the 700 examples of the authors' train and dev files.

    Raises:
        DataError: the data are nowhere to be had.
    """
    return _rows("train") + _rows("dev")


def test_rows() -> list[dict[str, Any]]:
    """Return the 200 examples of the authors' test file.

    Raises:
        DataError: the data are nowhere to be had.
    """
    return _rows("test")


def _same(given: str, right: str) -> bool:
    # As the authors compare: without punctuation and case, everything else must agree.
    return given.translate(_PUNCTUATION).lower().strip() == right.translate(_PUNCTUATION).lower().strip()


def _rows(part: str) -> list[dict[str, Any]]:
    names = ("question", "answer", "category")
    local = local_rows(f"hotpotqa_conditional/{part}.jsonl", names)
    if local is not None:
        return [{name: row[name] for name in names} for row in local]
    path = f"testing/datasets/hotpotqa_conditional/hotpot_{part}.csv"
    content = repository_file(RepositoryFile("stanfordnlp/dspy", _COMMIT, path, _BLOBS[part])).decode("utf-8-sig")
    return [
        {"question": row["question"], "answer": row["answer"], "category": row["answer category"]}
        for row in csv.DictReader(io.StringIO(content))
    ]


TASK = Task(
    name="hotpotqa_conditional",
    program=hotpotqa_conditional,
    metric=metric,
    examples=train_rows,
    test_examples=test_rows,
    sizes=(250, 250, 200),
    inputs=("question",),
    prepare=opened,
    paper=PaperSettings(full_evaluations=30, joint=30, alone=35),
)
