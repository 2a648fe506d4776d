"""How far a test goes: `make test` runs the short form of each promise, `make test-slow` the long one."""

from __future__ import annotations

import os
import random
from collections.abc import Collection, Iterable
from typing import Any

import pytest

LONG = os.environ.get("LUTHIER_TESTS") == "long"
"""Whether the long forms run."""


def times(short: int, long: int) -> int:
    """Return how often to do something."""
    return long if LONG else short


def examples(short: int) -> int:
    """Return how many cases of a property to try: the long form tries ten times as many."""
    return times(short, 10 * short)


def places(n: int, short: int = 40) -> list[int]:
    """Return where to cut something of length n, 0 and n - 1 included: at every place, or at a drawn sample."""
    if LONG or n <= short:
        return list(range(n))
    return sorted({0, n - 1, *random.Random("places").sample(range(n), short - 2)})


def in_rings(every: Iterable[Any], short: Collection[Any]) -> list[Any]:
    """Return a test's parameters: of all, ``make test`` runs the short ones, and ``make test-slow`` the others."""
    if not LONG:
        return [one for one in every if one in short]
    return [pytest.param(one, marks=pytest.mark.slow) for one in every if one not in short]
