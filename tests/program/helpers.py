"""User code in another module than the test's."""

from __future__ import annotations

import luthier as lt
from luthier.program.predictor import Predictor


@lt.predictor
def rewrite(text: str) -> str:
    """Rewrite."""
    return lt.predict()


@lt.predictor
def unused(text: str) -> str:
    """Never called."""
    return lt.predict()


def tidy(text: str) -> str:
    return rewrite(text=text)


OPINIONS: list[Predictor[[str], str]] = [rewrite.named(f"opinion_{n}", temperature=0.7 + n / 100) for n in range(2)]
