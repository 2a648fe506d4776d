"""A program with a template, a recorded function, and images, where workers can import it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import luthier as lt
from tests.program.test_images import png, truth

MANNER = lt.Template("<<tune:manner>>Look.<<end>> It is {title}.", name="look")


@lt.predictor
def shade(words: str, photo: lt.Image) -> Literal["dark", "light"]:
    """Say how dark the photo is."""
    return lt.predict()


@lt.recorded
def title_of(photo: str) -> str:
    """Ask a catalogue."""
    return Path(photo).stem


def look(photo: str) -> str:
    """Judge a photo by its path."""
    return shade(words=MANNER.render(title=title_of(photo)), photo=photo)  # type: ignore[arg-type]


def photos(folder: Path) -> list[dict[str, str]]:
    """Write photos; return their rows."""
    rows = []
    for number in range(80):
        (folder / f"{number}.png").write_bytes(png(number))
        rows.append({"photo": str(folder / f"{number}.png"), "shade": truth(number)})
    return rows


def answer(body: Mapping[str, Any]) -> str:
    """Answer by the title; rightly more often with demos."""
    last = body["messages"][-1]["content"]
    if isinstance(last, str):
        return f"Look carefully at it, way {len(last) % 97}, and say its shade."
    number = int(last[0]["text"].partition("It is ")[2].partition(".")[0])
    shown = sum(turn["role"] == "assistant" for turn in body["messages"])
    right = truth(number)
    return right if number % 10 < 5 + shown else ("light" if right == "dark" else "dark")
