"""A candidate whose prompt the server refuses is dropped, and the study goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.lm.doubles import ScriptedLM
from luthier.lm.request import Completion, Request, Usage
from luthier.study.journal import read_journal
from tests.optimizers.studies import told, tune
from tests.studies import world

REFUSALS = {
    "too long": Completion("", "length", Usage(calls=1), refusal="the prompt is too long"),
    "flagged": Completion("", "content_filter", Usage(calls=1), refusal="your prompt was flagged"),
}


def shows_demos(request: Request) -> bool:
    return any(turn.role == "assistant" for turn in request.messages)


def outcomes(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """Return what came of each point, in the order in which it was told."""
    found: dict[str, list[dict[str, Any]]] = {}
    for ask, tell in told(directory):
        found.setdefault(str(sorted(ask["point"].items())), []).extend(tell["outcomes"])
    return found


@pytest.mark.parametrize("how", REFUSALS)
def test_prompts_that_are_refused_score_nothing_are_counted_apart_and_drop_their_candidate(
    tmp_path: Path, how: str
) -> None:
    def answer(request: Request) -> Completion | str:
        return REFUSALS[how] if shows_demos(request) else world.answer(request)

    result = tune(tmp_path, lm=lt.LM(ScriptedLM(answer)), budget=lt.Budget(lm_calls=4000))
    assert result.decision in ("adopt", "keep", "undecided")
    refused = {
        point: [outcome for outcome in found if outcome.get("refused")] for point, found in outcomes(tmp_path).items()
    }
    assert any(len(found) >= 3 for found in refused.values())
    for found in refused.values():
        assert all(outcome["outcome"] == "unparseable" and outcome["value"] == 0.0 for outcome in found)
        assert all("refused" in str(outcome["badly"]) for outcome in found)
    choice = next(event for event in read_journal(tmp_path / "journal.jsonl") if event["event"] == "choice")
    full = {str(sorted(row["point"].items())) for row in choice["table"]}
    assert full.isdisjoint(point for point, found in refused.items() if len(found) >= 3)
    assert not any(prompt.demos for prompt in result.best.prompts.values())


def test_an_example_on_which_the_original_is_refused_too_counts_against_no_candidate(tmp_path: Path) -> None:
    def answer(request: Request) -> Completion | str:
        return REFUSALS["flagged"] if request.messages[-1].text.endswith(("1", "3")) else world.answer(request)

    result = tune(tmp_path, lm=lt.LM(ScriptedLM(answer)), budget=lt.Budget(lm_calls=4000))
    choice = next(event for event in read_journal(tmp_path / "journal.jsonl") if event["event"] == "choice")
    assert result.decision in ("adopt", "keep", "undecided")
    found = outcomes(tmp_path)
    scored = [found.get(str(sorted(row["point"].items())), []) for row in choice["table"] if not row["is_original"]]
    assert any(sum(outcome.get("refused", False) for outcome in of_point) >= 3 for of_point in scored)
