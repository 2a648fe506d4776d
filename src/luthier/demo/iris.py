"""Iris: which of three species a flower is, from its measurements (Fisher 1936; MIPRO App. A).

One example: ``{"petal": "4.7 x 1.4", "species": "versicolor", …}``, sizes in cm.

Traps:
    - 150 flowers have only 102 distinct petals: split so that equal petals stay together.
    - The paper's Iris-Typo spells a class "versicolour" in the output's description while the label stays
      "versicolor": there the class list must be a description, never a ``Literal``, which could not be wrong.
    - A small LM without demos answers one class only, so bootstrapping must be balanced by class.

Source: the ``vega-datasets`` package's copy, equal to scikit-learn's and to Fisher's paper (the UCI file has
two wrong rows); or ``iris/iris.jsonl`` below ``LUTHIER_DATA_DIR``.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import luthier as lt
from luthier.demo.packaged import PackagedFile, local_rows, packaged_file

SPLIT_SIZES = (45, 45, 60)
"""Train, validation, test."""

_PACKAGED = PackagedFile(
    requirement="vega-datasets==0.9.0",
    member="vega_datasets/_data/iris.json",
    sha256="aade78d96082ffb9512b237eeeee6e805edc6db0b16947d27ad23c53b8266ce1",
)


@lt.predictor
def petal_size(petal: Annotated[str, "length x width of an iris petal in cm"]) -> Literal["small", "medium", "large"]:
    """Say how large the petal of an iris flower is."""
    return lt.predict()


@lt.predictor
def species(
    size: str, petal: Annotated[str, "length x width of the petal in cm"]
) -> Literal["setosa", "versicolor", "virginica"]:
    """Say which species of iris has such a petal."""
    return lt.predict()


def classify(petal: str) -> str:
    """Tell the species of an iris by its petal, in two steps."""
    return species(size=petal_size(petal=petal), petal=petal)


@lt.predictor(output="species")
def iris(
    petal_length: str, petal_width: str, sepal_length: str, sepal_width: str
) -> Annotated[str, "setosa, versicolor, or virginica"]:
    """Given the petal and sepal dimensions in cm, predict the iris species."""
    return lt.predict()


@lt.predictor(output="species")
def iris_typo(
    petal_length: str, petal_width: str, sepal_length: str, sepal_width: str
) -> Annotated[str, "setosa, versicolour, or virginica"]:
    """Given the petal and sepal dimensions in cm, predict the iris species."""
    return lt.predict()


def petals() -> list[dict[str, Any]]:
    """Return the 150 flowers as the two-step program takes them.

    Raises:
        DataError: the data are nowhere to be had.
    """
    return [
        {"petal": f"{flower['petal_length']} x {flower['petal_width']}", "species": flower["species"]}
        for flower in flowers()
    ]


def measurements() -> list[dict[str, Any]]:
    """Return the 150 flowers as the one-step programs take them: four sizes as text, and the species.

    Raises:
        DataError: the data are nowhere to be had.
    """
    return [{name: str(value) for name, value in flower.items()} for flower in flowers()]


def flowers() -> list[dict[str, Any]]:
    """Return the 150 flowers: four sizes in cm and the species, in the order of Fisher's paper.

    Raises:
        DataError: the data are nowhere to be had.
    """
    names = ("petal_length", "petal_width", "sepal_length", "sepal_width", "species")
    rows = local_rows("iris/iris.jsonl", names)
    if rows is None:
        rows = [
            {
                "sepal_length": row["sepalLength"],
                "sepal_width": row["sepalWidth"],
                "petal_length": row["petalLength"],
                "petal_width": row["petalWidth"],
                "species": row["species"],
            }
            for row in json.loads(packaged_file(_PACKAGED))
        ]
    return [{name: row[name] for name in names} for row in rows]
