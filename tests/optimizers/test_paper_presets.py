"""Traps of the paper's presets (issue 2, item 7; paper-facts §2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.lm.doubles import ScriptedLM
from luthier.optimizers.registry import optimizer_named
from luthier.runner.facts import Facts
from luthier.search.schedule import paper_trials
from tests.optimizers.studies import event, told, tune
from tests.studies import world

IRIS = Facts(n_train=75, n_val=75, n_test=75, n_predictors=1, auto="light", evaluations=30 * 75)


def sources(prompt: list[dict[str, Any]]) -> list[str]:
    return [demo["provenance"]["source"] for demo in prompt]


def test_random_search_has_one_variable_over_all_predictors_from_the_same_traces(tmp_path: Path) -> None:
    tune(tmp_path / "s", "bootstrap-random-search/paper")
    (variable,) = event(tmp_path / "s", "space")["variables"]
    assert variable["name"] == "demos"
    sets = [made["demos"] for made in event(tmp_path / "s", "bootstrap")["sets"]]
    for made in sets[2:]:
        traced = [
            [d["provenance"]["example"] for d in made[name] if d["provenance"]["source"] == "bootstrapped"]
            for name in ("parity", "size")
        ]
        assert traced[0] == traced[1]
        assert traced[0]


def test_random_searchs_n_counts_the_zero_shot_the_labels_only_and_the_unshuffled_set(tmp_path: Path) -> None:
    tune(tmp_path / "s", lt.BootstrapRandomSearch(candidates=6, preset="paper"))
    sets = [made["demos"] for made in event(tmp_path / "s", "bootstrap")["sets"]]
    assert len(sets) == 6
    zero_shot, labels_only, unshuffled, *shuffled = (made["parity"] for made in sets)
    assert zero_shot == []
    assert set(sources(labels_only)) == {"labeled"}
    assert sources(unshuffled).count("bootstrapped") == 4
    assert all(1 <= sources(demos).count("bootstrapped") <= 4 for demos in shuffled)
    full = [ask for ask, _ in told(tmp_path / "s")]
    assert len(full) == 5, "with the original, which is the zero-shot set, six evaluations"
    assert optimizer_named("bootstrap-random-search/paper").plan(IRIS).trials == 29, "N = T, the original's included"


def test_the_first_full_evaluation_follows_the_first_trial_and_then_every_tenth(tmp_path: Path) -> None:
    tune(tmp_path / "s", lt.MIPRO(preset="paper", candidates=5, trials=21, minibatch=8, full_every=10))
    purposes = "".join(ask["purpose"][0] for ask, _ in told(tmp_path / "s"))
    assert purposes == "ef" + "e" * 10 + "f" + "e" * 10 + "f"
    first, _ = told(tmp_path / "s")[0]
    assert first["trial"] == 1, "trial 0 is the original's own evaluation"


def test_instruction_j_is_grounded_on_demo_set_j(tmp_path: Path) -> None:
    tune(tmp_path / "s", lt.MIPRO(preset="paper", candidates=6, trials=2, minibatch=8, full_every=10))
    sets = event(tmp_path / "s", "bootstrap")["sets"]
    for name, proposals in event(tmp_path / "s", "proposals")["predictors"].items():
        grounded = [proposal["demo_set"] for proposal in proposals[1:]]
        filled = [index for index, made in enumerate(sets) if made["demos"][name]]
        assert grounded == [index for index in range(1, 6) if index in filled]
        assert proposals[0]["demo_set"] is None


@pytest.mark.parametrize("name", ["mipro0", "mipro0/paper"])
def test_zero_shot_mipro_shows_demos_to_the_proposer_only(tmp_path: Path, name: str) -> None:
    with_demos: list[lt.Request] = []
    seen_by_proposer: list[str] = []

    def answer(request: lt.Request) -> str:
        if world.asked_for(request) is None:
            seen_by_proposer.append(request.messages[-1].text)
        elif any(message.role == "assistant" for message in request.messages):
            with_demos.append(request)
        return world.answer(request)

    tune(tmp_path / "s", name, lm=lt.LM(ScriptedLM(answer)))
    assert not with_demos
    sets = [made["demos"]["parity"] for made in event(tmp_path / "s", "bootstrap")["sets"]]
    assert any(sets)
    assert all(len(demos) <= 3 for demos in sets)
    inputs = {demo["inputs"]["number"] for demos in sets for demo in demos}
    assert any(any(f"number: {number}" in text for number in inputs) for text in seen_by_proposer)
    if name == "mipro0/paper":
        assert {source for demos in sets for source in sources(demos)} == {"bootstrapped"}
        attempts = event(tmp_path / "s", "bootstrap")["attempts"]
        assert sum(attempts.values()) <= 60, "one round at the teacher's own temperature"


def test_leaked_cells_are_counted_as_they_are(tmp_path: Path) -> None:
    result = tune(tmp_path / "s", "bayesian-bootstrap/paper")
    choice, space = event(tmp_path / "s", "choice"), event(tmp_path / "s", "space")["payloads"]
    leaked = 0
    for row in choice["table"]:
        demos = [d for v, level in row["point"].items() for ds in space[v][level]["demos"].values() for d in ds]
        leaked += len({demo["provenance"]["example"] for demo in demos})
    assert choice["leaked_cells"] == leaked > 0
    assert any(
        note.startswith("as in the paper, candidates are compared") for note in event(tmp_path / "s", "plan")["notes"]
    )
    assert f"{leaked} scores of" in (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    tested = {o["example"] for o in event(tmp_path / "s", "verdict")["outcomes_before"]}
    shown = {d.provenance.example for p in result.best.prompts.values() for d in p.demos if d.provenance}
    assert not tested & shown, "the verdict never leaks"


@pytest.mark.parametrize("name", ["mipro/paper", "mipro0/paper", "bayesian-bootstrap/paper"])
def test_the_papers_budget_buys_the_papers_trials(name: str) -> None:
    plan = optimizer_named(name).plan(IRIS)
    assert plan.trials == 69 + 7
    assert plan.surrogate_trials == 59
    assert plan.search_rollouts == 69 * 25 == paper_trials(30, 75, 25, 10) * 25
    assert plan.closing_rollouts == 7 * 75


def test_without_budget_or_preset_size_the_paper_runs_for_thirty_full_evaluations(tmp_path: Path) -> None:
    found = lt_plan("bootstrap-random-search/paper")
    assert found["trials"] == 29
    assert {phase["name"]: phase["rollouts"] for phase in found["phases"]}["search"] == 29 * 60


def lt_plan(optimizer: str) -> dict[str, Any]:
    from luthier.api import plan

    lm = lt.LM(ScriptedLM(world.answer))
    return plan(world.describe, world.rows(100), lt.exact_match("answer"), lm=lm, optimizer=optimizer)


def test_paper_presets_begin_at_random_ours_with_the_demo_sets(tmp_path: Path) -> None:
    tune(tmp_path / "ours", lt.MIPRO(candidates=5, trials=30))
    tune(tmp_path / "paper", lt.MIPRO(preset="paper", candidates=5, trials=20, minibatch=8, full_every=10))
    ours, paper = (
        [
            all(ask["point"][v["name"]] == v["levels"][0] for v in space if v["name"].endswith("instruction"))
            for ask, _ in told(tmp_path / kind)[:3]
        ]
        for kind in ("ours", "paper")
        for space in [event(tmp_path / kind, "space")["variables"]]
    )
    assert all(ours), "demo sets of all predictors at once, under the original instructions"
    assert not all(paper)
