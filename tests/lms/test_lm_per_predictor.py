"""Each predictor may have its own LM: by a mapping, or by its decorator; teacher, proposer, and judge stay apart."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import ConfigError
from luthier.lm.doubles import ScriptedLM
from luthier.program.lms import resolve
from luthier.program.program import discover
from luthier.report.paid import paid_by_lm
from tests.lms.world import CHEAP, DEAR, askers, two
from tests.optimizers.studies import Interrupted, event, journal, stop_after
from tests.studies import world

SEARCH = lt.MIPRO(candidates=4, demo_sizes=(0, 3, 3, 3), instructions=2, trials=4, minibatch=6, closing=1)
METRIC = lt.exact_match("answer")


def scripted(name: str, answer: Any = world.answer) -> tuple[ScriptedLM, lt.LM]:
    double = ScriptedLM(answer, identity=name)
    return double, lt.LM(double)


def asked(double: ScriptedLM) -> set[str | None]:
    return {world.asked_for(request) for request in double.requests}


def test_a_mapping_says_who_answers_which_predictor() -> None:
    small, small_lm = scripted("small")
    strong, strong_lm = scripted("strong")
    found = lt.evaluate(world.describe, world.rows(8), METRIC, lm={"*": small_lm, "size": strong_lm})
    assert asked(small) == {"parity"}
    assert asked(strong) == {"size"}
    usage = found.usage_by_lm
    assert {lm: bill.calls for lm, bill in usage.items()} == {"callable:small": 8, "callable:strong": 8}
    assert sum(bill.tokens for bill in usage.values()) == found.usage.tokens


def test_the_mapping_goes_before_the_decorator_which_goes_before_the_runs_own() -> None:
    (run, run_lm), (own, own_lm), (named, named_lm) = scripted("run"), scripted("own"), scripted("named")
    size = world.size.named("size", lm=own_lm)

    def program(number: str) -> str:
        return f"{world.parity(number=number)} {size(number=number)}"

    lt.evaluate(program, world.rows(3), METRIC, lm=run_lm)
    assert (asked(run), asked(own)) == ({"parity"}, {"size"})
    lt.evaluate(program, world.rows(3), METRIC, lm={"*": run_lm, "size": named_lm})
    assert (asked(named), own.calls) == ({"size"}, 3)


def test_a_predictor_gets_its_lm_from_its_decorator_by_name_too() -> None:
    @lt.predictor(lm="openai/gpt-4.1")
    def plan(question: str) -> str:
        """Plan."""
        return lt.predict()

    assert plan.lm is not None and plan.lm.name == "openai/gpt-4.1"
    assert plan.named("other").lm is plan.lm
    assert plan.named("other", lm="openai/gpt-4.1-mini").lm != plan.lm


def test_a_name_that_no_predictor_has_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    _, lm = scripted("lm")
    wrong = {"*": lm, "sise": lm}
    for refused in (
        lambda: lt.evaluate(world.describe, world.rows(3), METRIC, lm=wrong),
        lambda: lt.bind(world.describe, lm=wrong),
        lambda: lt.optimize(world.describe, world.rows(80), METRIC, lm=wrong, study_dir=tmp_path / "s"),
    ):
        with pytest.raises(ConfigError, match=r"names 'sise', but the program's predictors are parity, size"):
            refused()
    assert not (tmp_path / "s").exists()


def test_without_a_star_every_predictor_needs_a_name_and_the_first_stands_for_the_run() -> None:
    (first, one), (_, other) = scripted("first"), scripted("other")
    judged = lt.judge("Is it right?")
    lt.evaluate(world.describe, world.rows(2), METRIC, lm={"parity": one, "size": other})
    with pytest.raises(
        ConfigError, match=r"no LM for predictor 'size': lm= names only parity; give it one, or add '\*'"
    ):
        lt.evaluate(world.describe, world.rows(2), METRIC, lm={"parity": one})
    before = first.calls
    lt.evaluate(world.describe, world.rows(2), judged, lm={"parity": one, "size": other})
    assert any("Is it right?" in str(r.messages) for r in first.requests[before:])


def test_bind_and_use_take_a_mapping() -> None:
    (small, small_lm), (strong, strong_lm) = scripted("small"), scripted("strong")
    mapping = {"*": small_lm, "size": strong_lm}
    assert lt.bind(world.describe, lm=mapping)("12")
    with lt.use(mapping):
        assert world.describe("12")
    assert (small.calls, strong.calls) == (2, 2)
    with lt.use({"parity": small_lm}), pytest.raises(ConfigError, match="no LM for predictor 'size'"):
        world.describe("12")


def test_an_embedded_lm_keeps_a_slot_for_each_predictor_that_it_answers() -> None:
    predictors = discover(world.describe).predictors
    alone = resolve("local/smollm2-135m", predictors)
    assert {lm.slots for lm in alone.by_name.values()} == {2}
    apart = resolve({"*": "local/smollm2-135m", "size": lt.LM("openai/gpt-4.1", api_key="k")}, predictors)
    assert apart.answering("parity").slots == 1
    assert apart.is_local


def test_on_an_embedded_lm_one_program_runs_at_a_time_unless_its_max_in_flight_says_otherwise() -> None:
    predictors = discover(world.describe).predictors
    assert resolve("local/smollm2-135m", predictors).max_abreast == 1
    four = lt.LM("local/smollm2-135m", max_in_flight=4)
    assert resolve({"*": four, "size": lt.LM("openai/gpt-4.1", api_key="k")}, predictors).max_abreast == 4
    assert resolve(lt.LM("openai/gpt-4.1", api_key="k"), predictors).max_abreast is None


def test_a_dollar_budget_needs_the_price_of_every_lm_also_of_one_that_user_code_brings() -> None:
    _, priced = scripted("priced")
    priced = priced.with_settings(price=lt.Price(1, 1))
    budget = lt.Budget(usd=1.0)
    unpriced = lt.LM(ScriptedLM(world.answer, identity="unpriced"))
    with pytest.raises(ConfigError, match="needs a price"):
        lt.evaluate(world.describe, world.rows(3), METRIC, lm={"*": priced, "size": unpriced}, budget=budget)

    def hidden(number: str) -> str:
        return f"{world.parity(number=number)} {getattr(world, 'si' + 'ze').named('other', lm=unpriced)(number=number)}"

    with pytest.raises(ConfigError, match="needs a price"):
        lt.evaluate(hidden, world.rows(3), METRIC, lm=priced, budget=budget)


def test_a_study_refuses_an_lm_that_only_a_run_can_show(tmp_path: Path) -> None:
    _, lm = scripted("lm")
    _, other = scripted("other")

    def hidden(number: str) -> str:
        return f"{world.parity(number=number)} {getattr(world, 'si' + 'ze').named('late', lm=other)(number=number)}"

    with pytest.raises(ConfigError, match=r"'late' brings an LM of its own.*predictors="):
        lt.optimize(hidden, world.rows(80), METRIC, lm=lm, optimizer=SEARCH, study_dir=tmp_path / "s")


def tune(directory: Path, **given: Any) -> Any:
    return lt.optimize(world.describe, world.rows(100), METRIC, optimizer=SEARCH, study_dir=directory, **given)


def test_a_study_on_two_servers_counts_and_prices_each(tmp_path: Path) -> None:
    with two() as servers:
        small, strong = servers.lms()
        result = tune(tmp_path / "s", lm={"*": small, "size": strong}, budget=lt.Budget(usd=5.0))
        assert askers(servers.small) == {"parity", None}
        assert askers(servers.strong) == {"size", None}  # None: the probe
        assert sum(1 for body in servers.strong.requests if body["max_tokens"] == 1) == 1
    manifest = event(tmp_path / "s", "manifest")
    assert manifest["predictor_lms"]["size"]["price"] == {"input": 10.0, "output": 40.0, "cached_input": None}
    assert manifest["predictor_lms"]["parity"]["identity"] == small.identity == manifest["lms"]["task"]["identity"]
    assert set(result.usage_by_lm) == {small.identity, strong.identity}
    charged = paid_by_lm(tmp_path / "s" / "store.sqlite")
    assert set(charged) == {small.identity, strong.identity}
    for lm, price in ((small, CHEAP), (strong, DEAR)):
        # Every rollout of this study asks something new or something stored, never more than it says it asked for.
        assert charged[lm.identity].calls <= result.usage_by_lm[lm.identity].calls + 1
        usd, tokens = charged[lm.identity].usd, charged[lm.identity].tokens
        assert usd is not None and 0 < usd <= price.usd(tokens, tokens)
    page = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert "By LM" in page and strong.identity in page


def test_the_plan_takes_the_highest_price_and_then_what_was_measured(tmp_path: Path) -> None:
    with two() as servers:
        small, strong = servers.lms()
        tune(tmp_path / "s", lm={"*": small, "size": strong})
    plan, measured = event(tmp_path / "s", "plan"), event(tmp_path / "s", "plan_measured")
    assert any("highest price" in note for note in plan["notes"])
    assert not any("highest price" in note for note in measured["notes"])
    assert measured["total"]["usd"] < plan["total"]["usd"]
    outcomes = event(tmp_path / "s", "baseline")["outcomes"]
    cost = sum(
        price.usd(bill["prompt_tokens"], bill["completion_tokens"])
        for outcome in outcomes
        for lm, bill in outcome["lms"].items()
        for price in [DEAR if lm == strong.identity else CHEAP]
    )
    shown = next(phase for phase in measured["phases"] if phase["name"] == "baseline")["usd"]
    assert shown == pytest.approx(cost, rel=0.02)


def test_a_teacher_answers_every_predictor_and_the_proposer_stays_apart(tmp_path: Path) -> None:
    (small, small_lm), (strong, strong_lm) = scripted("small"), scripted("strong")
    (teacher, teacher_lm), (proposer, proposer_lm) = scripted("teacher"), scripted("proposer")
    lms = {"lm": {"*": small_lm, "size": strong_lm}, "teacher_lm": teacher_lm, "proposer_lm": proposer_lm}
    tune(tmp_path / "s", **lms)
    assert asked(small) == {"parity"}
    assert asked(strong) == {"size"}
    assert asked(teacher) == {"parity", "size"}
    assert asked(proposer) == {None}
    sets = event(tmp_path / "s", "bootstrap")["sets"]
    demos = [d["provenance"] for made in sets for demos in made["demos"].values() for d in demos]
    assert {d["teacher"] for d in demos if d["source"] != "labeled"} == {"callable:teacher"}
    for name in ("teacher_lm", "proposer_lm"):
        with pytest.raises(ConfigError, match=f"{name}= is one LM"):
            tune(tmp_path / "t", **{**lms, name: {"*": teacher_lm}})


def test_without_a_teacher_each_predictors_own_lm_makes_its_demos(tmp_path: Path) -> None:
    (_, small_lm), (_, strong_lm) = scripted("small"), scripted("strong")
    tune(tmp_path / "s", lm={"*": small_lm, "size": strong_lm})
    sets = event(tmp_path / "s", "bootstrap")["sets"]
    for name, lm in (("parity", "callable:small"), ("size", "callable:strong")):
        demos = [d["provenance"] for made in sets for d in made["demos"].get(name, ())]
        assert {d["teacher"] for d in demos if d["source"] != "labeled"} == {lm}


def test_a_judge_of_bootstrapped_runs_is_not_the_teacher(tmp_path: Path) -> None:
    def answer(request: lt.Request) -> str:
        if world.asked_for(request):
            return world.answer(request)
        return json.dumps({"reasoning": "", "passes": len(str(request.messages)) % 3 > 0})

    task, task_lm = scripted("task", answer)
    teacher, teacher_lm = scripted("teacher", answer)
    _, proposer_lm = scripted("proposer")
    lt.optimize(
        world.describe,
        world.rows(60),
        lt.judge("Is it right?"),
        lm=task_lm,
        teacher_lm=teacher_lm,
        proposer_lm=proposer_lm,
        optimizer=lt.MIPRO(candidates=2, demo_sizes=(0, 2), instructions=1, trials=2, minibatch=6, closing=1),
        study_dir=tmp_path / "s",
    )
    assert None not in asked(teacher)
    assert None in asked(task)


def test_an_interrupted_study_with_a_mapping_ends_with_the_journal_of_an_uninterrupted_one(tmp_path: Path) -> None:
    def lms() -> tuple[ScriptedLM, ScriptedLM, dict[str, lt.LM]]:
        (small, small_lm), (strong, strong_lm) = scripted("small"), scripted("strong")
        return small, strong, {"*": small_lm, "size": strong_lm}

    small, strong, mapping = lms()
    tune(tmp_path / "whole", lm=mapping)
    small2, strong2, mapping2 = lms()
    for stop in (3, 5, 4, 6):
        with pytest.raises(Interrupted):
            tune(tmp_path / "cut", lm=mapping2, on_event=stop_after(stop))
    tune(tmp_path / "cut", lm=mapping2)
    assert journal(tmp_path / "cut") == journal(tmp_path / "whole")
    assert (small2.calls, strong2.calls) == (small.calls, strong.calls)


def test_a_study_of_one_lm_has_the_manifest_it_always_had(tmp_path: Path) -> None:
    _, lm = scripted("lm")
    tune(tmp_path / "s", lm={"*": lm})
    assert "predictor_lms" not in event(tmp_path / "s", "manifest")
    assert tune(tmp_path / "s", lm=lm).decision  # the same study
    assert "lms" not in event(tmp_path / "s", "baseline")["outcomes"][0]


def test_an_async_study_takes_a_mapping_too(tmp_path: Path) -> None:
    (_, small_lm), (strong, strong_lm) = scripted("small"), scripted("strong")
    found = asyncio.run(lt.aevaluate(world.describe, world.rows(4), METRIC, lm={"*": small_lm, "size": strong_lm}))
    assert found.n == 4 and strong.calls == 4
