"""What a check finds before money is spent: within its cap, from the store that the study will use."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.api import plan_check
from luthier.canonical import canonical_json, uniform_order
from luthier.errors import BudgetExhausted, ConfigError, StudyPaused, UserError
from luthier.lm.doubles import ScriptedLM
from luthier.report.paid import paid
from tests.cli.project import luthier, project
from tests.lm.server import Body, OpenAIServer
from tests.lms import world as lms
from tests.optimizers.studies import event
from tests.studies import world

METRIC = lt.exact_match("answer")
SEARCH = lt.MIPRO(candidates=3, demo_sizes=(0, 3), instructions=2, trials=4, minibatch=6, closing=1)


def check(directory: Path, lm: Any, **given: Any) -> lt.Check:
    settings = {"program": world.describe, "data": world.rows(200), "metric": METRIC, **given}
    what = [settings.pop(name) for name in ("program", "data", "metric")]
    return lt.check(*what, lm=lm, study_dir=directory, **settings)


def steady(request: lt.Request) -> str:
    """Answer as the world does, the same whenever it is asked."""
    import dataclasses

    return world.answer(dataclasses.replace(request, sample=0) if world.asked_for(request) else request)


def test_it_measures_what_the_study_will_meet_and_says_one_sentence(tmp_path: Path) -> None:
    found = check(tmp_path / "s", lt.LM(ScriptedLM(steady)))
    assert found.n == 70
    assert found.low < found.mean < found.high
    assert found.noise is not None and (found.noise.flips, found.noise.same_answers, found.noise.sd) == (0.0, 1.0, 0.0)
    assert found.unparseable == {} and not found.missing
    assert found.smallest_detectable == pytest.approx(0.14, abs=0.01)
    assert found.demos is not None and found.demos.difference > 0
    assert found.instructions is not None
    assert found.strong is None
    assert found.promising in ("demos", "cannot tell")
    assert not found.stop
    assert found.sentence.startswith("Worth trying: ") and found.sentence.count(". ") == 0
    assert json.loads(json.dumps(found.to_json(), default=str))["n"] == 70


def test_the_study_pays_for_nothing_again_that_the_check_has_asked(tmp_path: Path) -> None:
    def tune(directory: Path, server: OpenAIServer) -> lt.Result[Any]:
        lm = lt.LM("openai/world", base_url=server.url, api_key="k")
        return lt.optimize(
            world.describe, world.rows(200), METRIC, lm=lm, optimizer=SEARCH, study_dir=directory, concurrency=8
        )

    with OpenAIServer(lms.answer) as server:
        found = check(tmp_path / "s", lt.LM("openai/world", base_url=server.url, api_key="k"))
        asked = [canonical_json(body) for body in server.requests if body["max_tokens"] > 1]
        server.requests.clear()
        result = tune(tmp_path / "s", server)
        again = [canonical_json(body) for body in server.requests if body["max_tokens"] > 1]
        server.requests.clear()
        tune(tmp_path / "fresh", server)
        fresh = [canonical_json(body) for body in server.requests if body["max_tokens"] > 1]
    assert not set(again) & set(asked)
    baseline = event(tmp_path / "s", "baseline")
    assert len(fresh) - len(again) >= 2 * len(baseline["outcomes"])
    assert found.mean == pytest.approx(baseline["mean"]), "all of the validation examples fitted into the cap"
    charged = paid(tmp_path / "s" / "store.sqlite")
    assert sum(part.calls for part in charged.values()) == len(again) + 1, "the report tells the study's charges alone"
    assert event(tmp_path / "s", "check")["noise"]["n"] == found.noise.n if found.noise else False
    assert result.usage_by_lm


def test_noise_is_found_also_where_the_temperature_is_nought(tmp_path: Path) -> None:
    count = 0

    def moody(body: Body) -> str:
        nonlocal count
        count += 1
        if not body.get("stop"):
            return lms.answer(body)
        right = ("even", "odd") if "#parity" in body["stop"] else ("small", "large")
        return right[uniform_order("mood", str(count)) % 2]

    with OpenAIServer(moody) as server:
        found = check(tmp_path / "s", lt.LM("openai/world", base_url=server.url, api_key="k"), concurrency=1)
    assert found.noise is not None
    assert found.noise.same_answers < 1
    assert 0 <= found.noise.low <= found.noise.flips <= found.noise.high <= 1
    assert found.noise.sd == pytest.approx((found.noise.flips / 2) ** 0.5)


def test_a_stronger_lm_shows_the_ceiling_paired_with_the_original(tmp_path: Path) -> None:
    def knows(request: lt.Request) -> str:
        asked = world.asked_for(request)
        number = request.messages[-1].text.rsplit(" ", 1)[-1]
        return world.answer(request) if asked is None else world.truth(asked, int(number))

    strong = ScriptedLM(knows, identity="strong")
    found = check(tmp_path / "s", lt.LM(ScriptedLM(steady)), strong_lm=lt.LM(strong))
    assert found.strong is not None and found.strong.mean == 1.0
    assert found.strong.low > 0
    assert {world.asked_for(request) for request in strong.requests} == {"parity", "size"}
    assert "a stronger LM brings +" in found.sentence


def test_unreadable_answers_are_told_by_predictor_and_come_first(tmp_path: Path) -> None:
    def mumbling(request: lt.Request) -> str:
        number = request.messages[-1].text.rsplit(" ", 1)[-1]
        if world.asked_for(request) == "size" and uniform_order("mumble", number) % 2:
            return "hard to say"
        return steady(request)

    found = check(tmp_path / "s", lt.LM(ScriptedLM(mumbling)))
    assert set(found.unparseable) == {"size"} and 0.3 < found.unparseable["size"] < 0.7
    assert found.sentence.startswith("Mend the form first: ") and "'size'" in found.sentence


def test_where_there_is_nothing_to_win_it_says_so_and_what_the_study_would_do(tmp_path: Path) -> None:
    found = check(tmp_path / "s", lt.LM(ScriptedLM(lambda r: world.both(1))), program=lambda number: _right(number))
    assert found.stop and found.sentence.startswith("Nothing to win: the program is right on all 70")


@lt.predictor(stop=["#parity"])
def idle(number: str) -> str:
    """Say something."""
    return lt.predict()


def _right(number: str) -> str:
    idle(number=number)
    return world.both(int(number))


@pytest.mark.parametrize("cap", [lt.Budget(lm_calls=200), lt.Budget(tokens=20000), lt.Budget(lm_calls=1200)])
def test_the_cap_is_kept_and_the_look_is_as_large_as_fits(tmp_path: Path, cap: lt.Budget) -> None:
    double = ScriptedLM(steady)
    plan = plan_check(world.describe, world.rows(400), METRIC, lm=lt.LM(double), study_dir=tmp_path / "s", budget=cap)
    assert double.calls == 0 and not (tmp_path / "s").exists()
    found = check(tmp_path / "s", lt.LM(double), data=world.rows(400), budget=cap)
    assert found.plan == plan
    limits = {"lm_calls": found.usage.calls, "tokens": found.usage.tokens}
    assert all(spent <= getattr(cap, name) for name, spent in limits.items() if getattr(cap, name) is not None)
    assert found.n == plan["phases"][0]["rollouts"] == {200: 30, None: 20, 1200: 100}.get(cap.lm_calls, found.n)
    assert any("whatever is still to do" in note for note in plan["notes"])


def test_a_cap_that_ends_it_leaves_parts_unmeasured_and_says_which(tmp_path: Path) -> None:
    def wordy(request: lt.Request) -> str:
        # Twenty times the tokens that a plan can expect of a summary.
        return "word " * 4000 if world.asked_for(request) is None else steady(request)

    cap = lt.Budget(tokens=20000)
    found = check(tmp_path / "s", lt.LM(ScriptedLM(wordy), max_tokens=20), budget=cap)
    assert found.missing == {"instructions": "the cap was reached"}
    assert found.demos is not None and found.promising is None
    assert found.sentence.startswith("Worth trying") and "one new instruction" not in found.sentence
    with pytest.raises(ConfigError, match="cannot pay for a look at 10 examples"):
        check(tmp_path / "t", lt.LM(ScriptedLM(steady)), budget=lt.Budget(lm_calls=20))


def test_the_plan_is_shown_first_and_no_means_nothing_is_asked(tmp_path: Path) -> None:
    double, shown = ScriptedLM(steady), []

    def no(plan: Any) -> bool:
        shown.append(plan)
        return False

    with pytest.raises(UserError, match="nothing was spent"):
        check(tmp_path / "s", lt.LM(double), confirm=no)
    assert double.calls == 0
    assert [phase["name"] for phase in shown[0]["phases"]][:3] == ["baseline", "asked again", "demos made"]
    assert shown[0]["cap"]["lm_calls"] == 400


def test_an_outage_is_no_finding(tmp_path: Path) -> None:
    def away(number: str) -> str:
        raise lt.Unavailable("the database is away")

    program = lambda number: away(number) or world.describe(number)  # noqa: E731 - a program of its own
    with pytest.raises(StudyPaused, match="none of the original's runs"):
        check(tmp_path / "s", lt.LM(ScriptedLM(steady)), program=program)


def test_a_cap_below_one_call_ends_before_anything_is_measured(tmp_path: Path) -> None:
    priced = lt.LM(ScriptedLM(steady), price=lt.Price(1.0, 1.0), max_tokens=10_000_000)
    with pytest.raises(BudgetExhausted):
        check(tmp_path / "s", priced, budget=lt.Budget(usd=1.0))


def test_it_is_awaited_too_and_takes_a_mapping_and_a_start(tmp_path: Path) -> None:
    small, strong = ScriptedLM(steady, identity="small"), ScriptedLM(steady, identity="strong")
    found = asyncio.run(
        lt.acheck(
            world.describe,
            world.rows(100),
            METRIC,
            lm={"*": lt.LM(small), "size": lt.LM(strong)},
            start=[lt.Candidate({"size": lt.Prompt("Look carefully.")})],
            study_dir=tmp_path / "s",
        )
    )
    assert found.n == 35
    assert any("Look carefully." in request.messages[0].text for request in strong.requests)
    assert not any("Look carefully." in request.messages[0].text for request in small.requests if request.stop)


def test_the_command_line_checks_plans_and_ends_with_a_code(tmp_path: Path) -> None:
    project(tmp_path)
    given = (
        "flowers:classify",
        "--data",
        "data.jsonl",
        "--metric",
        "exact_match:label",
        "--lm",
        "python:flowers:lm",
        "--study-dir",
        "s",
    )
    plan = luthier(tmp_path, "check", *given, "--plan")
    assert plan.returncode == 0 and "asked again" in plan.stderr and "400 LM calls" in plan.stderr
    assert not (tmp_path / "s").exists()
    done = luthier(tmp_path, "check", *given)
    assert done.returncode == 0, done.stderr
    assert "asked again" in done.stderr and "detectable" in done.stderr
    told = json.loads(luthier(tmp_path, "check", *given, "--json").stdout)
    assert told["usage"]["calls"] <= 60, "the second check asks only what it asks anew"
    (tmp_path / "right.py").write_text(
        "import json, luthier as lt\nrows = [json.loads(line) for line in open('data.jsonl')]\n"
        "labels = {row['petal']: row['label'] for row in rows}\n\n\n@lt.predictor\ndef say(petal: str) -> str:\n"
        '    """Say it."""\n\n\ndef classify(petal: str) -> str:\n    return say(petal=petal) and labels[petal]\n\n\n'
        "def lm(request):\n    return 'yes'\n",
        encoding="utf-8",
    )
    right = ("right:classify", "--data", "data.jsonl", "--metric", "exact_match:label", "--lm", "python:right:lm")
    assert luthier(tmp_path, "check", *right, "--study-dir", "r").returncode == 10
    stopped = luthier(tmp_path, "optimize", *right, "--study-dir", "r")
    assert stopped.returncode == 10
    assert "Nothing to win" in stopped.stderr and "luthier resume r --anyway" in stopped.stderr
    shown = luthier(tmp_path, "show", "r")
    assert shown.returncode == 0 and "Nothing to win" in shown.stderr
    assert luthier(tmp_path, "show", "r", "--follow").returncode == 0
    went_on = luthier(tmp_path, "resume", "r", "--anyway", "--yes")
    assert went_on.returncode == 10
    assert "held-out examples" in went_on.stderr
