"""The gate for CI: ``luthier evaluate --candidate … --baseline … --fail-if-worse 0.02``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.project import luthier, project

GOOD = "Name the species of the flower, and mind the size of the petal."
EVALUATE = (
    "evaluate",
    "gated:classify",
    "--data",
    "data.jsonl",
    "--metric",
    "exact_match:label",
    "--lm",
    "python:gated:lm",
)
PROGRAM = '''
import luthier as lt

@lt.predictor
def species(petal: str) -> str:
    """Name the species of the flower, and mind the size of the petal."""

def classify(petal: str) -> str:
    return species(petal=petal)

def lm(request: lt.Request) -> str:
    text = "\\n".join(message.text for message in request.messages)
    petal = text.rsplit("petal", 1)[-1]
    if "hurry" in text:
        return "setosa"
    if "slip" in text and petal.rstrip().endswith("7"):
        return "neither"
    return "setosa" if "1." in petal else "virginica"
'''


@pytest.fixture
def here(tmp_path: Path) -> Path:
    project(tmp_path, rows=120)
    (tmp_path / "gated.py").write_text(PROGRAM, encoding="utf-8")
    return tmp_path


def prompts(directory: Path, name: str, instruction: str) -> str:
    folder = directory / name
    folder.mkdir()
    (folder / "candidate.json").write_text('{"luthier_candidate": 1, "predictors": {"species": {}}}', encoding="utf-8")
    (folder / "species.md").write_text(f"{instruction}\n", encoding="utf-8")
    return name


def test_a_worse_candidate_ends_with_ten_and_says_what_decides(here: Path) -> None:
    worse = prompts(here, "worse", "Name it in a hurry.")
    done = luthier(here, *EVALUATE, "--candidate", worse, "--baseline", "original", "--fail-if-worse", "0.02")
    assert done.returncode == 10, done.stderr
    assert "candidate is worse than baseline" in done.stderr
    assert "Gate failed: the candidate is worse by more than 2 points (the interval's upper end is -" in done.stderr


def test_what_the_examples_cannot_tell_passes_one_gate_and_not_the_other(here: Path) -> None:
    slip = prompts(here, "slip", "Name it, but slip.")
    gated = (*EVALUATE, "--candidate", slip, "--baseline", "original")
    passed = luthier(here, *gated, "--fail-if-worse", "0.08", "--json")
    assert passed.returncode == 0, passed.stderr
    told = json.loads(passed.stdout)
    assert told["gate"] == {"rule": "fail if worse", "tolerance": 0.08, "standing": "cannot tell", "passed": True}
    assert told["difference"]["difference"] < 0
    assert told["difference"]["low"] < -0.08 <= told["difference"]["high"]
    assert told["baseline"]["mean"] > told["mean"]
    failed = luthier(here, *gated, "--fail-unless-as-good", "0.08")
    assert failed.returncode == 11, failed.stderr
    assert "Gate failed: these examples cannot tell whether the candidate is worse" in failed.stderr


def test_saved_prompts_as_good_as_the_baseline_pass_both(here: Path) -> None:
    same, base = prompts(here, "same", GOOD), prompts(here, "base", "Name the species.")
    for gate in ("--fail-if-worse", "--fail-unless-as-good"):
        done = luthier(here, *EVALUATE, "--candidate", same, "--baseline", base, gate, "0.05")
        assert done.returncode == 0, done.stderr
        assert "Gate passed: the candidate is not worse by more than 5 points" in done.stderr


def test_without_a_gate_the_difference_is_told_and_the_command_is_done(here: Path) -> None:
    worse = prompts(here, "worse", "Name it in a hurry.")
    done = luthier(here, *EVALUATE, "--candidate", worse, "--baseline", "original", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["gate"] is None
    assert json.loads(done.stdout)["difference"]["change"] == "worse"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--fail-if-worse", "0.02"), "compared with what?"),
        (("--baseline", "original", "--fail-if-worse", "2"), "a share of the score"),
        (("--baseline", "original", "--fail-if-worse", "0.02", "--fail-unless-as-good", "0.02"), "give one"),
        (("--baseline", "nowhere"), "nowhere"),
    ],
)
def test_a_gate_that_makes_no_sense_is_bad_input(here: Path, options: tuple[str, ...], said: str) -> None:
    done = luthier(here, *EVALUATE, *options)
    assert done.returncode == 2
    assert said in done.stderr


def test_an_lm_may_be_named_for_a_predictor(here: Path) -> None:
    (here / "lms.py").write_text(
        "import luthier as lt\nimport gated\n"
        "strong = lt.LM(gated.lm, price=lt.Price(1.0, 2.0))\n\n\ndef deaf(request):\n    return 'neither'\n",
        encoding="utf-8",
    )
    told = {}
    for name in ("python:lms:strong", "python:lms:deaf"):
        done = luthier(here, *EVALUATE, "--lm-for", f"species={name}", "--json")
        told[name] = json.loads(done.stdout)["mean"]
    assert told == {"python:lms:strong": 1.0, "python:lms:deaf": 0.0}
    wrong = luthier(here, *EVALUATE, "--lm-for", "specie=python:lms:strong")
    assert wrong.returncode == 2
    assert "'specie'" in wrong.stderr and "species" in wrong.stderr
