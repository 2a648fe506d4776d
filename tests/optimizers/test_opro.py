"""The optimizers whose proposals come while they search: what they vary, and what their proposer is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import ConfigError
from luthier.lm.doubles import ScriptedLM
from luthier.lm.request import Request
from luthier.optimizers.coordinate_ascent_opro import CoordinateAscentOPRO
from luthier.optimizers.module_level_opro import ModuleLevelOPRO
from luthier.optimizers.zero_shot_mipro_plus import ZeroShotMIPROPlus
from luthier.runner.candidates import Choices
from luthier.search.space import Point
from luthier.study.events import read_all
from tests.optimizers.studies import event, journal, told, tune
from tests.studies import world

HISTORY = re.compile(r"^(.*) \| score: (\d\.\d+)$", re.MULTILINE)


class Run:
    """A finished study with all that its proposer was asked."""

    def __init__(self, directory: Path, optimizer: Any, **given: Any) -> None:
        self.directory = directory
        lm = ScriptedLM(world.answer)
        self.result = tune(directory, optimizer, lm=lt.LM(lm), **given)
        self.asked = [text(request) for request in lm.requests if world.asked_for(request) is None]
        self.temperatures = [r.temperature for r in lm.requests if world.asked_for(r) is None]
        self.choices = Choices.recorded(read_all(self.result.events))
        self.points = [Point(ask["point"]) for ask, _ in told(directory)]

    def instructions(self) -> list[dict[str, str]]:
        return [self.choices.instructions(point) for point in self.points]


def text(request: Request) -> str:
    return "\n".join(message.text for message in request.messages)


def test_module_level_opro_shows_each_predictor_its_own_history_the_best_last(tmp_path: Path) -> None:
    run = Run(tmp_path / "s", "opro")
    later = [asked for asked in run.asked if "PREVIOUS INSTRUCTIONS" in asked]
    assert len(later) == 2 * len(run.points)
    lengths = set()
    for asked in later:
        history = HISTORY.findall(asked)
        scores = [float(score) for _, score in history]
        assert scores == sorted(scores) and len(scores) <= 5
        lengths.add(len(scores))
        name = "parity" if "MODULE:\nparity" in asked else "size"
        known = {" ".join(one[name].split()) for one in run.instructions()} | {original(name)}
        assert {line for line, _ in history} <= known
    assert lengths == {1, 2, 3, 4, 5}
    assert all(len({one[name] for one in run.instructions()}) == len(run.points) for name in world.PREDICTORS)


def test_the_score_in_the_history_is_the_mean_over_the_trials_that_used_the_instruction(tmp_path: Path) -> None:
    run = Run(tmp_path / "s", CoordinateAscentOPRO(breadth=2, depth=2))
    means = [tell["mean"] for _, tell in told(run.directory)]
    used = [means[i] for i, one in enumerate(run.instructions()) if one["size"] == original("size")]
    expected = (sum(used) + event(run.directory, "baseline")["mean"]) / (1 + len(used))
    shown = [dict(HISTORY.findall(asked)) for asked in run.asked if "MODULE:\nsize" in asked]
    assert f"{expected:.3f}" in [one.get(original("size")) for one in shown if one]


def test_coordinate_ascent_changes_one_predictor_at_a_time_from_the_best_so_far(tmp_path: Path) -> None:
    run = Run(tmp_path / "s", CoordinateAscentOPRO(breadth=2, depth=2))
    tried, means = run.instructions(), [tell["mean"] for _, tell in told(run.directory)]
    assert len(tried) == 8
    scored = [({name: original(name) for name in world.PREDICTORS}, event(run.directory, "baseline")["mean"])]
    for turn in range(4):
        best = max(scored, key=lambda item: item[1])[0]
        changing, fixed = ("parity", "size") if turn % 2 == 0 else ("size", "parity")
        for one in tried[2 * turn : 2 * turn + 2]:
            assert one[fixed] == best[fixed] and one[changing] != best[changing]
        scored += list(zip(tried[2 * turn : 2 * turn + 2], means[2 * turn : 2 * turn + 2], strict=True))


def test_without_grounding_the_proposer_sees_demos_and_history_alone(tmp_path: Path) -> None:
    run = Run(tmp_path / "s", "opro-g")
    assert not any(title in asked for asked in run.asked for title in ("DATASET SUMMARY", "PROGRAM", "TIP:"))
    assert all("PREVIOUS INSTRUCTIONS" in asked for asked in run.asked)
    assert sum("TASK DEMOS" in asked for asked in run.asked) > len(run.asked) / 2


def test_program_level_opro_asks_once_for_all_and_shows_whole_programs(tmp_path: Path) -> None:
    run = Run(tmp_path / "s", "program-opro")
    rounds = [asked for asked in run.asked if "one JSON object" in asked]
    assert len(rounds) == len(run.points)
    first = json.loads(HISTORY.findall(rounds[0])[0][0])
    assert first == {name: original(name) for name in world.PREDICTORS}
    shown = [json.loads(line) for line, _ in HISTORY.findall(rounds[-1])]
    assert all(one in [first, *run.instructions()] for one in shown)


def test_random_search_comes_first_then_opro_with_the_best_set(tmp_path: Path) -> None:
    run = Run(tmp_path / "s", "random-search-opro")
    originals = [one == {name: original(name) for name in world.PREDICTORS} for one in run.instructions()]
    stages = originals.index(False)
    assert stages >= 4 and originals == [True] * stages + [False] * (len(originals) - stages)
    means = [tell["mean"] for _, tell in told(run.directory)][:stages]
    best = run.points[means.index(max(means))]["demos"]
    assert {point["demos"] for point in run.points[stages:]} == {best}


def test_a_trial_of_mipro_plus_is_one_setting_and_one_fresh_program(tmp_path: Path) -> None:
    run = Run(tmp_path / "s", ZeroShotMIPROPlus(trials=24, minibatch=6))
    explored = [Point(ask["point"]) for ask, _ in told(run.directory) if ask["purpose"] == "explore"]
    assert len(explored) == 24
    programs = [tuple(sorted(run.choices.instructions(point).items())) for point in explored]
    assert len(set(programs)) == 24
    settings = {name for name in explored[0] if name.startswith("proposer.")}
    assert {"proposer.tip", "proposer.temperature", "proposer.history", "proposer.demos.size"} <= settings
    assert all(len({point[name] for point in explored}) > 1 for name in settings)


def test_a_setting_of_mipro_plus_is_what_the_proposer_is_really_asked_with(tmp_path: Path) -> None:
    run = Run(tmp_path / "s", "mipro0++")
    value = {
        name: {level: payload["setting"] for level, payload in levels.items()}
        for name, levels in run.choices.payloads.items()
        if name.startswith("proposer.")
    }
    arrivals = [e for e in journal(run.directory) if e["event"] == "arrival"]
    asked = [(a, t) for a, t in zip(run.asked, run.temperatures, strict=True) if "proposed instruction" in a]
    for number, arrived in enumerate(arrivals):
        point = arrived["points"][0]
        for text_of, heat in asked[2 * number : 2 * number + 2]:
            assert ("DATASET SUMMARY" in text_of) == value["proposer.dataset_summary"][
                point["proposer.dataset_summary"]
            ]
            assert ("PREVIOUS INSTRUCTIONS" in text_of) == value["proposer.history"][point["proposer.history"]]
            assert ("TIP:" in text_of) == (value["proposer.tip"][point["proposer.tip"]] != "none")
            assert heat == pytest.approx(value["proposer.temperature"][point["proposer.temperature"]])


def test_full_mipro_plus_chooses_how_many_demos_and_from_whom(tmp_path: Path) -> None:
    run = Run(tmp_path / "s", "mipro++")
    names = {name for point in run.points for name in point}
    assert {"proposer.prompt_demos", "proposer.teacher_temperature", "proposer.shuffle"} <= names
    demos = [run.choices.payloads["size.demos"][point["size.demos"]]["demos"]["size"] for point in run.points]
    assert len({len(shown) for shown in demos}) > 2
    steps = [e["event"] for e in journal(run.directory) if e["event"].startswith("bootstrap")]
    assert steps == ["bootstrap", "bootstrap/0.7", "bootstrap/1"]


def test_a_proposer_that_says_nothing_new_ends_the_search_and_the_report_says_why(tmp_path: Path) -> None:
    def dull(request: Request) -> str:
        return world.answer(request) if world.asked_for(request) else "Always answer in one careful word."

    result = tune(tmp_path / "s", ModuleLevelOPRO(rounds=4), lm=lt.LM(ScriptedLM(dull)))
    arrivals = [e for e in journal(tmp_path / "s") if e["event"] == "arrival"]
    assert [bool(e["points"]) for e in arrivals] == [True, False, False, False]
    assert all(e["rejected"]["duplicate"] > 0 for e in arrivals[1:])
    assert result.verdict.n == 40
    assert "duplicate" in (tmp_path / "s" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"preset": "best"}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ModuleLevelOPRO(**wrong)


def original(name: str) -> str:
    return {"parity": "Say whether the number is even.", "size": "Say whether the number is small."}[name]
