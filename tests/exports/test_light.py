"""A tuned program in an environment of its own that has none of the tuning packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

import luthier as lt
from luthier.program.candidate import Candidate

from ..lm.server import OpenAIServer
from ..repository.sources import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="an environment as it is laid out on POSIX")

NEEDED = ("aiohttp",)
"""What docs/production.md says a service needs beside luthier itself."""

PROGRAM = '''
from typing import Literal

import luthier as lt

Queue = Literal["billing", "delivery", "account"]


@lt.predictor
def complaint(ticket: str) -> str:
    """Say in one sentence what the customer wants."""
    return lt.predict()


@lt.predictor(max_tokens=20)
def queue(complaint: str) -> Queue:
    """Choose the queue that should handle this."""
    return lt.predict()


def triage(ticket: str) -> Queue:
    return queue(complaint=complaint(ticket=ticket))
'''
SERVICE = """
import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor

import luthier as lt
from triage import triage

for name in ("optuna", "numpy", "typer", "rich", "genai_prices", "pydantic", "pytest"):
    assert importlib.util.find_spec(name) is None, name
lm = lt.LM("my-model", base_url=sys.argv[1], api_key="none")
route = lt.bind(triage, lm=lm, candidate=lt.Candidate.load("prompts"))
with ThreadPoolExecutor(4) as pool:
    answers = list(pool.map(lambda n: route(ticket=f"I was charged twice for order {n}."), range(8)))
assert answers == ["billing"] * 8, answers
print(lt.__file__)
"""


def test_saved_prompts_run_with_luthier_and_aiohttp_alone(tmp_path: Path) -> None:
    python = environment(tmp_path / "venv", wheel(tmp_path / "dist"))
    (tmp_path / "triage.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "service.py").write_text(SERVICE, encoding="utf-8")
    demo = lt.Demo({"complaint": "A refund."}, {"queue": "billing"})
    prompts = {"complaint": lt.Prompt("Repeat it."), "queue": lt.Prompt("Route with care.", (demo,))}
    Candidate(prompts).save(tmp_path / "prompts")
    with OpenAIServer(lambda body: "billing" if "with care" in body["messages"][0]["content"] else "twice") as server:
        done = run([str(python), "service.py", server.url], tmp_path)
        assert done.returncode == 0, done.stderr
        assert 9 <= len(server.requests) <= 16  # equal calls in flight are asked once
    assert (tmp_path / "venv") in Path(done.stdout.strip()).parents


def wheel(directory: Path) -> Path:
    """Build luthier's wheel."""
    done = run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)], ROOT)
    assert done.returncode == 0, done.stderr
    (built,) = directory.glob("*.whl")
    return built


def environment(directory: Path, built: Path) -> Path:
    """Return the Python of a new environment with the wheel and ``NEEDED``, which are taken from this one."""
    venv.create(directory, with_pip=False, symlinks=True)
    python = directory / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    done = run([*pip, "install", "--quiet", "--no-index", "--no-deps", str(built)], directory)
    assert done.returncode == 0, done.stderr
    (packages,) = directory.glob("lib/python*/site-packages")
    for name in closure(NEEDED):
        found = distribution(name)
        for top in sorted({file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}):
            (packages / top).symlink_to(Path(str(found.locate_file(top))))
    return python


def closure(names: tuple[str, ...]) -> list[str]:
    """Return distributions and all that they require here."""
    known: list[str] = []
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in known:
            known.append(name)
            waiting += required(distribution(name))
    return known


def required(found: Distribution) -> list[str]:
    from packaging.requirements import Requirement

    wanted = map(Requirement, found.requires or ())
    return [re.sub(r"[-_.]+", "-", each.name) for each in wanted if each.marker is None or each.marker.evaluate()]


def run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    return subprocess.run(command, cwd=directory, env=bare, capture_output=True, text=True, check=False)
