"""Able models are the default; for small ones prompts, demos, and proposals are fitted to what they can do."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.lm.doubles import ScriptedLM
from luthier.lm.profile import Profile
from luthier.lm.request import Request
from luthier.optimizers.mipro import MIPRO
from luthier.program.candidate import DemoSource
from luthier.propose.bootstrap import BootstrapSettings
from luthier.runner.facts import Facts
from tests.optimizers.studies import event, tune
from tests.studies import world

HOLE = "Judge {number} with care, and answer in one word."
JUDGE = "Judge the number carefully."


def facts(**given: Any) -> Facts:
    return Facts(n_train=100, n_val=100, n_test=100, n_predictors=2, auto="light", evaluations=600, **given)


def test_as_many_instructions_as_demo_sets_and_half_as_many_of_a_small_proposer() -> None:
    able, small = facts(), facts(proposer=Profile.SMALL)
    assert MIPRO().instruction_count(able) == len(MIPRO().bootstrap_settings(able).sizes) == 6
    assert MIPRO().instruction_count(small) == 3
    assert MIPRO(instructions=5).instruction_count(small) == 5


def test_demo_sets_follow_the_task_lm_and_the_paper_preset_follows_the_paper() -> None:
    able, small = MIPRO().bootstrap_settings(facts()), MIPRO().bootstrap_settings(facts(task=Profile.SMALL))
    assert able.sizes == (0, 16, 16, 8, 16, 16) and able.labeled == 16
    assert able.first[1:4] == (DemoSource.LABELED, DemoSource.CORRECTIVE, DemoSource.BOOTSTRAPPED)
    assert small == BootstrapSettings(sizes=(0, 6, 12, 12, 18, 18))
    assert MIPRO.paper().bootstrap_settings(facts()) == BootstrapSettings.paper(30, max_bootstrapped=4, max_labeled=4)
    assert MIPRO.paper().instruction_count(facts(proposer=Profile.SMALL)) == 30


@pytest.mark.parametrize("room", [1, 5, 16])
def test_no_set_is_larger_than_the_prompt_has_room_for(room: int) -> None:
    assert max(MIPRO().bootstrap_settings(facts(largest_demo_set=room)).sizes) == room


def wordy(length: int) -> ScriptedLM:
    """Return an LM that proposes instructions of so many characters, and answers the world's predictors."""
    numbers = itertools.count()

    def answer(request: Request) -> Any:
        if world.asked_for(request) is not None:
            return world.answer(request)
        return f"{JUDGE} " + " ".join(f"Rule {next(numbers)} holds for it." for _ in range(length // 20))

    return ScriptedLM(answer)


def test_length_follows_the_task_lm_and_guards_follow_the_proposer(tmp_path: Path) -> None:
    able, small = lt.LM(wordy(3000)), lt.LM(wordy(3000), profile="small")
    tune(tmp_path / "able", "mipro0", lm=able, auto=120)
    assert event(tmp_path / "able", "proposals")["rejected"] == {}
    tune(tmp_path / "short", "mipro0", lm=small, proposer_lm=able, auto=120)
    assert set(event(tmp_path / "short", "proposals")["rejected"]) == {"too long"}
    quoting = lt.LM(ScriptedLM(lambda request: world.answer(request) if world.asked_for(request) else HOLE))
    strict = quoting.with_settings(profile="small")
    tune(tmp_path / "free", "mipro0", lm=quoting, auto=120)
    assert set(event(tmp_path / "free", "proposals")["rejected"]) == {"duplicate"}
    tune(tmp_path / "strict", "mipro0", lm=quoting, proposer_lm=strict, auto=120)
    assert "duplicate" not in event(tmp_path / "strict", "proposals")["rejected"]
    assert all(len(own) == 1 for own in event(tmp_path / "strict", "proposals")["predictors"].values())


def test_a_study_warns_while_it_runs_and_its_report_shows_every_rejected_proposal(tmp_path: Path) -> None:
    def shy(request: Request) -> Any:
        return world.answer(request) if world.asked_for(request) is not None else "I'm sorry, but I can't help <b>."

    warnings: list[str] = []
    tune(
        tmp_path / "s",
        "mipro0",
        lm=lt.LM(ScriptedLM(shy)),
        auto=120,
        anyway=True,
        on_event=lambda event: warnings.extend(event.get("warnings", ())),
    )
    proposals = event(tmp_path / "s", "proposals")
    assert proposals["rejected"]["refusal"] == len(proposals["rejections"])
    assert any("proposals were rejected" in warning and "refusal" in warning for warning in warnings)
    page = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert page.count("I&#x27;m sorry, but I can&#x27;t help &lt;b&gt;.") >= len(proposals["rejections"])
