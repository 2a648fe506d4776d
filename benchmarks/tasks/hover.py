"""HoVer: find all articles that a claim rests on, in three hops (Jiang et al. 2020; MIPRO App. A).

One example: ``{"claim": "…", "titles": ["…", "…", "…"]}``; right is when all three are among the 21 passages found.

Traps:
    - Many claims are rewordings of one another with the same articles: they share ``source``; split by it.
      15 of the covered ones stand twice in the file, word for word, and count twice.
    - The paper keeps claims with three supporting facts; its released code, those with three articles, as here.
    - The paper's text says ten passages, its program retrieves seven in each of three hops.
    - The official train set is nearly uncovered by the local corpus, so all parts are cut from the covered dev claims.

Source: ``hover/hover_dev.jsonl`` and ``wiki_corpus/corpus.jsonl`` below ``LUTHIER_DATA_DIR``; else the claims come from
``hover-nlp/hover`` (CC BY-SA 4.0), and passages from a ColBERTv2 server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import luthier as lt
from benchmarks.tasks.retrieval import opened, search
from benchmarks.tasks.sources import RepositoryFile, repository_file
from benchmarks.tasks.task import PaperSettings, Task
from luthier.demo.packaged import local_rows
from luthier.evaluation.matching import normalize

PASSAGES_PER_HOP = 7
ARTICLES = 3

_FILE = RepositoryFile(
    "hover-nlp/hover",
    "39b84697f196308f398a251a7aea9b82ae0f0562",
    "data/hover/hover_dev_release_v1.1.json",
    "4ca8f5f75b4d",
)


@lt.predictor(reasoning=True, instruction=lt.AUTO, output="summary")
def summary_1(claim: str, passages: list[str]) -> str:
    """Summarize the first hop."""
    return lt.predict()


@lt.predictor(reasoning=True, instruction=lt.AUTO, output="query")
def query_2(claim: str, summary_1: str) -> str:
    """Write the second hop's query."""
    return lt.predict()


@lt.predictor(reasoning=True, instruction=lt.AUTO, output="summary")
def summary_2(claim: str, context: str, passages: list[str]) -> str:
    """Summarize the second hop."""
    return lt.predict()


@lt.predictor(reasoning=True, instruction=lt.AUTO, output="query")
def query_3(claim: str, summary_1: str, summary_2: str) -> str:
    """Write the third hop's query."""
    return lt.predict()


def hover(claim: str) -> list[str]:
    """Return the passages found for a claim in three hops."""
    first = search(claim, PASSAGES_PER_HOP)
    so_far = summary_1(claim=claim, passages=first)
    second = search(query_2(claim=claim, summary_1=so_far), PASSAGES_PER_HOP)
    more = summary_2(claim=claim, context=so_far, passages=second)
    third = search(query_3(claim=claim, summary_1=so_far, summary_2=more), PASSAGES_PER_HOP)
    return first + second + third


def all_found(example: Mapping[str, Any], prediction: Sequence[str]) -> bool:
    """Say whether every article's title is among the passages' (the paper's Recall@21, all or nothing)."""
    found = {normalize(passage.split(" | ")[0]) for passage in prediction}
    return all(normalize(title) in found for title in example["titles"])


def rows() -> list[dict[str, Any]]:
    """Return the dev claims with three articles; with the local corpus only those it covers, 1,750.

    Raises:
        DataError: the data are nowhere to be had.
    """
    local = local_rows("hover/hover_dev.jsonl", ("claim", "gold_titles", "hpqa_id", "covered"))
    if local is not None:
        return [
            {"claim": row["claim"], "titles": row["gold_titles"], "source": row["hpqa_id"]}
            for row in local
            if row["covered"] and len(row["gold_titles"]) == ARTICLES
        ]
    claims = [
        {
            "claim": row["claim"],
            "titles": list(dict.fromkeys(title for title, _ in row["supporting_facts"])),
            "source": row["hpqa_id"],
        }
        for row in json.loads(repository_file(_FILE))
    ]
    return [claim for claim in claims if len(claim["titles"]) == ARTICLES]


TASK = Task(
    name="hover",
    program=hover,
    metric=all_found,
    examples=rows,
    sizes=(250, 250, 1250),
    inputs=("claim",),
    group="source",
    max_tokens=600,
    prepare=opened,
    paper=PaperSettings(full_evaluations=20, joint=10, alone=15),
)
