"""Iris and Iris-Typo as tasks of the benchmark, with reasoning as in the paper; traps are in ``luthier.demo.iris``."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import luthier as lt
from benchmarks.tasks.task import PaperSettings, Task
from luthier.demo import iris

reasoned = lt.predictor(output="species", reasoning=True, name="iris")(cast("Callable[..., str]", iris.iris.function))
reasoned_typo = lt.predictor(output="species", reasoning=True, name="iris_typo")(
    cast("Callable[..., str]", iris.iris_typo.function)
)

_INPUTS = ("petal_length", "petal_width", "sepal_length", "sepal_width")
_PAPER = PaperSettings(full_evaluations=30, joint=30, alone=50)

IRIS = Task(
    name="iris",
    about="Tell the species of an iris by four sizes, with reasoning.",
    program=reasoned,
    metric=lt.normalized_match("species"),
    examples=iris.measurements,
    sizes=(30, 45, 75),
    inputs=_INPUTS,
    paper=_PAPER,
)
IRIS_TYPO = Task(
    name="iris_typo",
    about="The same, one class misspelt in the prompt as the paper has it, but not in the labels.",
    program=reasoned_typo,
    metric=lt.normalized_match("species"),
    examples=iris.measurements,
    sizes=(30, 45, 75),
    inputs=_INPUTS,
    paper=_PAPER,
)
