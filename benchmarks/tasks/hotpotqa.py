"""HotPotQA: questions that take two articles (Yang et al. 2018; MIPRO App. A).

One example: ``{"question": "Were Scott Derrickson and Ed Wood of the same nationality?", "answer": "yes"}``.

Traps:
    - The query predictor is called twice in a run: its demos come from either call.
    - The paper takes hard questions of the official train set and the abstracts of all of Wikipedia in 2017. Here the
      questions are those whose paragraphs are in the local corpus: of the train set 149 easy, 512 medium, and 236
      hard ones, of the dev set hard ones alone. Scores cannot be compared with published ones.
    - The questions of HotPotQA-Conditional's test set are partly among the dev questions.

Source: ``hotpotqa/hotpotqa_{train,dev}_ctx.jsonl`` and ``wiki_corpus/corpus.jsonl`` below ``LUTHIER_DATA_DIR``. The
public files have half a gigabyte, and no copy of them has a published hash to verify it by, so none is fetched.
"""

from __future__ import annotations

from typing import Any

import luthier as lt
from benchmarks.tasks.multihop import gather
from benchmarks.tasks.retrieval import opened
from benchmarks.tasks.sources import missing
from benchmarks.tasks.task import PaperSettings, Task
from luthier.demo.packaged import local_rows


@lt.predictor(reasoning=True, instruction=lt.AUTO)
def answer(context: list[str], question: str) -> str:
    """Answer the question."""
    return lt.predict()


def hotpotqa(question: str) -> str:
    """Answer a question in two hops."""
    return answer(context=gather(question), question=question)


def train_rows() -> list[dict[str, Any]]:
    """Return the 897 questions of the official train set that have their paragraphs in the corpus.

    Raises:
        DataError: the data are not there.
    """
    return _rows("train")


def test_rows() -> list[dict[str, Any]]:
    """Return the 1,576 questions of the official dev set that have their paragraphs in the corpus.

    Raises:
        DataError: the data are not there.
    """
    return _rows("dev")


def _rows(part: str) -> list[dict[str, Any]]:
    names = ("question", "answer", "type", "level")
    rows = local_rows(f"hotpotqa/hotpotqa_{part}_ctx.jsonl", names)
    if rows is None:
        raise missing(f"HotPotQA's {part} questions")
    return [{name: row[name] for name in names} for row in rows]


TASK = Task(
    name="hotpotqa",
    program=hotpotqa,
    metric=lt.normalized_match("answer"),
    examples=train_rows,
    test_examples=test_rows,
    sizes=(250, 250, 1576),
    inputs=("question",),
    prepare=opened,
    paper=PaperSettings(full_evaluations=50, joint=30, alone=60),
)
