"""Iris and Iris-Typo as tasks of the benchmark; the programs and their traps are in ``luthier.tasks.iris``."""

from __future__ import annotations

import luthier as lt
from luthier.tasks.iris import iris, iris_typo, measurements
from luthier.tasks.task import PaperSettings, Task

_INPUTS = ("petal_length", "petal_width", "sepal_length", "sepal_width")
_PAPER = PaperSettings(full_evaluations=30, joint=30, alone=50)

IRIS = Task(
    name="iris",
    program=iris,
    metric=lt.exact_match("species"),
    examples=measurements,
    sizes=(30, 45, 75),
    inputs=_INPUTS,
    paper=_PAPER,
)
IRIS_TYPO = Task(
    name="iris_typo",
    program=iris_typo,
    metric=lt.exact_match("species"),
    examples=measurements,
    sizes=(30, 45, 75),
    inputs=_INPUTS,
    paper=_PAPER,
)
