"""The program of HotPotQA and its conditional form: two hops of query and retrieval, then the answer (MIPRO App. A)."""

from __future__ import annotations

import luthier as lt
from benchmarks.tasks.retrieval import search

HOPS = 2
PASSAGES_PER_HOP = 3


@lt.predictor(reasoning=True, instruction=lt.AUTO)
def search_query(context: list[str], question: str) -> str:
    """Write the next query."""
    return lt.predict()


def gather(question: str) -> list[str]:
    """Return the passages found in two hops; one predictor writes both queries."""
    context: list[str] = []
    for _ in range(HOPS):
        found = search(search_query(context=context, question=question), PASSAGES_PER_HOP)
        context += [passage for passage in found if passage not in context]
    return context
