"""A user's project: a two-predictor program, its data, and an LM that is a function of the request."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.repository.sources import ROOT

PROGRAM = '''
from typing import Literal
import luthier as lt

@lt.predictor
def size(petal: str) -> Literal["small", "large"]:
    """Say how big the petal is."""

@lt.predictor
def species(size: str, petal: str) -> Literal["setosa", "virginica"]:
    """Name the species."""

def classify(petal: str) -> str:
    return species(size=size(petal=petal), petal=petal)

def lm(request: lt.Request) -> str:
    text = request.prompt or "\\n".join(message.text for message in request.messages)
    if request.affinity == "size":
        return "small" if "1." in text.rsplit("petal", 1)[-1] else "large"
    if request.affinity == "species":
        if len(request.messages) <= 4:
            return "setosa"
        return "setosa" if "small" in text.rsplit("size", 1)[-1] else "virginica"
    return "Name the species of the flower, and mind the size of the petal."

def slow(request: lt.Request) -> str:
    import os, time
    time.sleep(float(os.environ.get("SECONDS_A_CALL", "0")))
    return lm(request)

def deaf(request: lt.Request) -> str:
    return "setosa" if request.affinity == "species" else "small"

def metric(example, prediction):
    return example.label == prediction

def wordy(example, prediction):
    return "very good"

def raising(example, prediction):
    raise RuntimeError("the metric is broken")
'''
BROKEN = "raise ValueError('no database here')\n"


def project(directory: Path, *, rows: int = 120) -> Path:
    """Write the project's files."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "flowers.py").write_text(PROGRAM, encoding="utf-8")
    (directory / "broken.py").write_text(BROKEN, encoding="utf-8")
    rng = random.Random(0)
    lines = []
    for index in range(rows):
        small = index % 2 == 1
        petal = f"{1 if small else 4}.{rng.randrange(100, 999)} x {index}"
        lines.append(json.dumps({"petal": petal, "label": "setosa" if small else "virginica"}) + "\n")
    (directory / "data.jsonl").write_text("".join(lines), encoding="utf-8")
    (directory / "empty.jsonl").write_text("", encoding="utf-8")
    return directory


def environment() -> dict[str, str]:
    """Return an environment without keys, colours, or a terminal's width."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "200", "TERM": "dumb"}


def luthier(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in the project, nobody at the terminal."""
    return _command("luthier", directory, arguments)


def benchmarks(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmarks' own command line, nobody at the terminal."""
    return _command("benchmarks", directory, arguments)


def _command(module: str, directory: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=directory,
        env={**environment(), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


OPTIMIZE = (
    "optimize",
    "flowers:classify",
    "--data",
    "data.jsonl",
    "--metric",
    "exact_match:label",
    "--lm",
    "python:flowers:lm",
    "--auto",
    "light",
)
