"""Broken input of every kind ends in an error of ours, quickly (a few of the cases of ``benchmarks/fuzz.py``)."""

from __future__ import annotations

import random

import pytest

from tests.hostile.cases import Cases
from tests.lengths import examples

COUNTS = {
    "answers": 400,
    "journal": 25,
    "candidate files": 60,
    "data files": 150,
    "data values": 150,
    "store": 25,
    "command line": 60,
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    return Cases(tmp_path_factory.mktemp("hostile"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTS)
def test_broken_input_ends_in_an_error_of_ours(cases: Cases, kind: str) -> None:
    for n in range(examples(COUNTS[kind])):
        cases.kinds[kind](random.Random(f"{kind}/{n}"))
