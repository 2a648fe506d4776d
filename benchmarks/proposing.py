"""Optimizers that propose as they go, with a scripted proposer whose truth is known: ``proposing.py``; minutes.

No table can be recorded of instructions that are written during the search. Here the LM is a script: an instruction
says with how much care a number is looked at, and care decides how often the answer is right. The proposer writes
better when it is shown what was tried before, the data, or demos, worse under some tips, so there is something to learn
about how to propose. What a program is worth is computed, not measured. Writes ``results/proposing.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import luthier as lt
from benchmarks.replay.instrument import interval
from benchmarks.suites.page import markdown
from luthier.canonical import uniform_order
from luthier.lm.doubles import ScriptedLM
from luthier.lm.request import Request
from luthier.program.candidate import Candidate
from luthier.report.tables import CLEAR
from tests.studies import world

RESULTS = Path(__file__).parent / "results"
OPTIMIZERS = (
    "mipro0",
    "mipro0++",
    "opro",
    "opro-g",
    "program-opro",
    "ca-opro",
    "bootstrap-random-search",
    "random-search-opro",
    "mipro",
    "mipro++",
)
EVALUATIONS, SIZES = 900, (60, 60, 20)
REFERENCE = "mipro0"
LEAST, BY_CARE, BY_DEMOS, MOST_DEMOS = 0.5, 0.35, 0.1, 6
"""A predictor is right by chance, more often with care, and with demos."""
UNSHOWN, BY_DATA, BY_TASK_DEMOS, SPREAD = 0.15, 0.10, 0.05, 0.10
"""The care of an instruction that is written without any help, what helps, and how much two answers differ."""
TIPS = {"creative": 0.10, "persona": -0.15, "high-stakes": -0.10}
"""What these tips do to it."""
_CARE = re.compile(r"with (\d\.\d+) care")


def share(instruction: str, demos: int) -> float:
    """Return how often a predictor is right."""
    return LEAST + BY_CARE * care_of(instruction) + BY_DEMOS * min(demos, MOST_DEMOS) / MOST_DEMOS


def worth(candidate: Candidate) -> float:
    """Return how often the program is right."""
    return prod(share(prompt.instruction, len(prompt.demos)) for prompt in candidate.prompts.values())


def care_of(text: str) -> float:
    """Return the care that a text asks for last."""
    found = _CARE.findall(text)
    return float(found[-1]) if found else 0.0


def answer(request: Request) -> str:
    """Answer a predictor, or the proposer's request."""
    asked = world.asked_for(request)
    if asked is None:
        return proposal("\n".join(message.text for message in request.messages), request)
    number = int(re.findall(r"\d+", request.messages[-1].text)[-1])
    demos = sum(message.role == "assistant" for message in request.messages)
    system = request.messages[0].text
    right = world.truth(asked, number)
    if uniform_order(f"{asked}/{system}/{demos}", str(number)) / 2**64 < share(system, demos):
        return right
    return world.OTHER[right]


def proposal(text: str, request: Request) -> str:
    """Write an instruction, or one for each predictor, or a summary, whatever is asked for."""
    if "one JSON object" in text:
        return json.dumps(
            {name: instruction(f"{text}/{name}", request, mentioned(text, name)) for name in world.PREDICTORS}
        )
    if "proposed instruction" not in text:
        return "Numbers, each with two words on what it is."
    return instruction(text, request, care_of(text.partition("PREVIOUS INSTRUCTIONS")[2]))


def mentioned(text: str, predictor: str) -> float:
    """Return the care that the best whole program before took in a predictor."""
    lines = text.partition("PREVIOUS INSTRUCTIONS")[2].splitlines()
    programs = [json.loads(line.rpartition(" | score")[0]) for line in lines if line.startswith("{")]
    return care_of(programs[-1].get(predictor, "")) if programs else 0.0


def instruction(text: str, request: Request, before: float) -> str:
    """Write an instruction: from the best before, if any were shown; else from what else is shown."""
    own = (
        UNSHOWN + BY_DATA * ("DATASET SUMMARY" in text) + BY_TASK_DEMOS * bool(re.search("demos:", text, re.IGNORECASE))
    )
    own += sum(change for tip, change in TIPS.items() if tip in text.partition("TIP")[2])
    draw = uniform_order("proposal", f"{text}/{request.sample}/{request.temperature}")
    luck = NormalDist(0, SPREAD).inv_cdf(min(max(draw / 2**64, 1e-9), 1 - 1e-9))
    care = min(1.0, max(0.0, max(own, before) + luck))
    return f"Look at the number with {care:.3f} care and judge it (way {draw % 997})."


def study(optimizer: str, seed: int) -> dict[str, Any]:
    """Run one study; return what its choice is worth, and what it learned about proposing."""
    with tempfile.TemporaryDirectory() as folder:
        result = lt.optimize(
            world.describe,
            world.rows(sum(SIZES)),
            lt.exact_match("answer"),
            lm=lt.LM(ScriptedLM(answer)),
            optimizer=optimizer,
            auto=EVALUATIONS,
            study_dir=folder,
            seed=seed,
            split_seed=seed,
            sizes=SIZES,
            anyway=True,
        )
        insight = next((event for event in result.events if event["event"] == "insight"), {})
        labels = {}
        for event in result.events:
            if event["event"] == "space":
                labels = event["payloads"]
    variables = {name: one for name, one in insight.get("variables", {}).items() if name.startswith("proposer.")}
    return {
        "optimizer": optimizer,
        "seed": seed,
        "worth": round(worth(result.best), 4),
        "care": {name: care_of(prompt.instruction) for name, prompt in result.best.prompts.items()},
        "demos": {name: len(prompt.demos) for name, prompt in result.best.prompts.items()},
        "settings": {
            name.removeprefix("proposer."): [
                labels.get(name, {}).get(one["best"], {}).get("setting"),
                one["p"] <= CLEAR,
            ]
            for name, one in variables.items()
        },
    }


def page(studies: Iterable[Mapping[str, Any]]) -> str:
    """Return the tables."""
    of: dict[str, list[Mapping[str, Any]]] = {}
    for one in studies:
        of.setdefault(one["optimizer"], []).append(one)
    found = {name: [one["worth"] for one in sorted(own, key=lambda one: one["seed"])] for name, own in of.items()}
    table = []
    for name in sorted(found, key=lambda name: -fmean(found[name])):
        low, high = interval(found[name])
        gaps = interval([a - b for a, b in zip(found[name], found[REFERENCE], strict=True)])
        table.append(
            [
                name,
                f"{100 * fmean(found[name]):.1f} %",
                f"{100 * low:.1f} to {100 * high:.1f}",
                "" if name == REFERENCE else f"{100 * gaps.low:+.1f} to {100 * gaps.high:+.1f}",
                f"{fmean(care for one in of[name] for care in one['care'].values()):.2f}",
                f"{fmean(count for one in of[name] for count in one['demos'].values()):.1f}",
            ]
        )
    learned = []
    for name, own in of.items():
        for setting in dict.fromkeys(setting for one in own for setting in one["settings"]):
            told = [one["settings"][setting] for one in own if setting in one["settings"]]
            best = Counter(str(level) for level, _ in told).most_common(2)
            clear = sum(clearly for _, clearly in told)
            learned.append([name, setting, ", ".join(f"{level} {n}" for level, n in best), f"{clear} of {len(told)}"])
    seeds = len(next(iter(found.values())))
    return "\n".join(
        [
            "# Optimizers that propose as they go, with a scripted proposer\n",
            f"`python -m benchmarks.proposing`: {seeds} seeds, {EVALUATIONS} program runs a search, two predictors; "
            f"the original is right on {100 * LEAST**2:.0f} %. *Worth* is how often the choice is right, computed. "
            "What it means for real proposers is not claimed: the script decides what helps "
            f"({Path(__file__).name} says how).\n",
            markdown(("optimizer", "worth", "95 %", f"minus {REFERENCE}, 95 %", "care", "demos"), table),
            "## Learned about proposing\n",
            "True in the script: history, the data's summary, and demos help; `persona` and `high_stakes` harm, "
            "`creative` helps; the temperature changes nothing.\n",
            markdown(("optimizer", "setting", "best level, of how many seeds", "clearly mattered"), learned),
        ]
    )


def main() -> None:
    """Run all studies, then write them down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    studies = []
    for optimizer in OPTIMIZERS:
        studies += [study(optimizer, seed) for seed in range(given.seeds)]
        print(f"{optimizer}: {fmean(one['worth'] for one in studies if one['optimizer'] == optimizer):.3f}", flush=True)
    (RESULTS / "proposing.json").write_text(json.dumps(studies, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "proposing.md").write_text(page(studies), encoding="utf-8")


if __name__ == "__main__":
    main()
