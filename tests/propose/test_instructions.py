from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from luthier.canonical import uniform_order
from luthier.errors import RateLimited
from luthier.lm.profile import Profile
from luthier.lm.request import Completion, Request
from luthier.program.candidate import Demo
from luthier.propose import instructions as instructions_module
from luthier.propose.demo_sets import DemoSet, demo_set
from luthier.propose.grounding import Grounding, GroundingSettings
from luthier.propose.history import ScoredInstruction
from luthier.propose.instructions import InstructionPool, propose_instructions
from luthier.propose.tips import TIPS
from tests.propose.world import KIND, SIZE, FakeGateway, program, proposer, rows

CODE = "def classify(petal): ..."
GROUNDING = Grounding("Petals of irises.", "It names irises.", {"species": "It decides.", "petal_size": "It measures."})


@pytest.fixture(autouse=True)
def source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions_module, "program_code", lambda program: CODE)


def sets(n: int) -> list[DemoSet]:
    made = [demo_set({"petal_size": (), "species": ()})]
    for i in range(1, n):
        made.append(
            demo_set(
                {
                    "petal_size": (Demo({"petal": f"set {i}"}, {"size": "small"}),),
                    "species": (Demo({"size": "small", "petal": f"set {i}"}, {"species": "setosa"}),) * 5,
                }
            )
        )
    return made


def proposed(
    answer: Callable[[Request], str | Completion],
    *,
    count: int = 4,
    settings: GroundingSettings | None = None,
    seed: int = 0,
    n_sets: int = 6,
    grounding: Grounding = GROUNDING,
    **options: Any,
) -> tuple[InstructionPool, FakeGateway]:
    asked, gateway = proposer(answer, **options)
    pool = propose_instructions(
        asked,
        program(),
        grounding,
        sets(n_sets),
        rows(30),
        wanted=dict.fromkeys(("petal_size", "species"), range(1, count)),
        settings=settings or GroundingSettings(),
        seed=seed,
    )
    return asyncio.run(pool), gateway


def inventive(request: Request) -> str:
    """Write something else for every prompt and sample."""
    return f"Proposed Instruction: Weigh it, way {uniform_order(request.sample, request.messages[0].text) % 10**9}."


def test_the_original_is_first_and_the_others_are_new() -> None:
    pool, gateway = proposed(inventive)
    for name, signature in (("petal_size", SIZE), ("species", KIND)):
        texts = [one.text for one in pool.predictors[name]]
        assert texts[0] == signature.instruction
        assert len(set(texts)) == 4 and all(text.startswith("Weigh it") for text in texts[1:])
    assert len(gateway.requests) == 6, "nothing is asked for the original"
    assert pool.rejected == {} and pool.warnings == ()


def test_only_the_original_costs_no_call() -> None:
    pool, gateway = proposed(inventive, count=1)
    assert gateway.requests == [] and [len(own) for own in pool.predictors.values()] == [1, 1]


class TestMetaPrompt:
    def test_every_ingredient_is_shown_in_the_papers_order(self) -> None:
        settings = GroundingSettings(history=True)
        history = {"species": (ScoredInstruction("Guess.", 0.4),)}
        _, gateway = proposed(inventive, settings=settings, grounding=Grounding("D.", "P.", {"species": "R."}, history))
        text = next(t for t in gateway.texts if "MODULE:\nspecies" in t and "\nTIP:" in t)
        titles = re.findall(r"^([A-Z][A-Z ]+[A-Z])(?: \([^)]*\))?:$", text, re.MULTILINE)
        assert titles == [
            "DATASET SUMMARY",
            "PROGRAM CODE",
            "PROGRAM DESCRIPTION",
            "MODULE",
            "TASK DEMOS",
            "PREVIOUS INSTRUCTIONS",
            "BASIC INSTRUCTION",
            "TIP",
        ]
        assert "Guess. | score: 0.400" in text and KIND.instruction in text

    @pytest.mark.parametrize(
        ("switch", "gone"),
        [
            ("dataset_summary", "Petals of irises."),
            ("program_summary", "It names irises."),
            ("program_summary", CODE),
            ("roles", "It decides."),
            ("demos", "TASK DEMOS"),
            ("tips", "TIP:"),
        ],
    )
    def test_every_ingredient_can_be_switched_off(self, switch: str, gone: str) -> None:
        _, full = proposed(inventive)
        off: dict[str, Any] = {switch: () if switch == "tips" else False}
        _, less = proposed(inventive, settings=GroundingSettings(**off))
        assert any(gone in text for text in full.texts)
        assert not any(gone in text for text in less.texts)

    def test_instruction_j_is_grounded_on_demo_set_j_with_three_demos_at_most(self) -> None:
        pool, gateway = proposed(inventive, count=4)
        assert [one.demo_set for one in pool.predictors["species"]] == [None, 1, 2, 3]
        shown = [text for text in gateway.texts if "MODULE:\nspecies" in text]
        assert [text.count(f"petal: set {j}") for j, text in enumerate(shown, 1)] == [3, 3, 3]

    def test_an_empty_set_gives_way_to_the_next(self) -> None:
        pool, _ = proposed(inventive, count=8, n_sets=3)
        assert [one.demo_set for one in pool.predictors["species"][1:]] == [1, 2, 1, 1, 2, 1, 1]

    def test_tips_vary_from_proposal_to_proposal(self) -> None:
        pool, _ = proposed(inventive, count=12)
        tips = {one.tip for one in pool.predictors["species"][1:]}
        assert len(tips) > 2 and tips <= set(TIPS)

    def test_private_fields_are_not_even_named(self) -> None:
        for small in (False, True):
            _, gateway = proposed(inventive, settings=GroundingSettings(profile=Profile.SMALL if small else None))
            assert not any("owner" in text or "Secret" in text for text in gateway.texts)

    def test_braces_in_texts_are_left_alone(self) -> None:
        _, gateway = proposed(inventive, grounding=Grounding("A {weird} %s summary {0}"))
        assert all("A {weird} %s summary {0}" in text for text in gateway.texts)

    def test_a_small_model_is_asked_briefly(self) -> None:
        pool, gateway = proposed(inventive, settings=GroundingSettings(profile=Profile.SMALL))
        assert max(map(len, gateway.texts)) < 900
        assert not any(CODE in text for text in gateway.texts)
        assert all(request.max_tokens == 160 for request in gateway.requests)
        assert any("size: small, petal: set 1 -> species: setosa" in text for text in gateway.texts)
        assert len(pool.predictors["species"]) == 4


class TestWeakProposers:
    def test_an_echo_is_counted_and_the_study_goes_on_with_the_original(self) -> None:
        pool, gateway = proposed(lambda request: request.messages[0].text)
        assert {name: len(own) for name, own in pool.predictors.items()} == {"petal_size": 1, "species": 1}
        assert pool.rejected == {"echoes the meta-prompt": 24}
        assert len(gateway.requests) == 6 * GroundingSettings().tries
        assert [warning.split(";")[0] for warning in pool.warnings] == [
            "'petal_size' has 1 of 4 instructions",
            "'species' has 1 of 4 instructions",
        ]

    def test_a_small_models_echo_is_noticed_too(self) -> None:
        pool, _ = proposed(lambda r: r.messages[0].text, settings=GroundingSettings(profile=Profile.SMALL))
        assert all(len(own) == 1 for own in pool.predictors.values())

    def test_empty_answers_are_asked_again_as_new_draws(self) -> None:
        seen: set[str] = set()

        def shy(request: Request) -> str:
            place = (
                request.messages[0].text.split("TASK DEMOS")[1][:60] + request.messages[0].text.split("MODULE")[1][:9]
            )
            if place not in seen:
                seen.add(place)
                return ""
            return inventive(request)

        pool, gateway = proposed(shy)
        assert all(len(own) == 4 for own in pool.predictors.values())
        assert pool.rejected == {"empty": 6}
        assert len({request.sample for request in gateway.requests}) == 6
        assert {request.temperature for request in gateway.requests} == {0.7, 0.85}

    def test_a_cut_answer_is_never_taken(self) -> None:
        pool, _ = proposed(lambda request: Completion("Weigh the petal and", "length"))
        assert pool.rejected == {"cut": 24}

    def test_a_proposer_of_one_idea_gives_one_instruction(self) -> None:
        pool, _ = proposed(lambda request: "Weigh the petal with care.")
        assert all(len(own) == 2 for own in pool.predictors.values())
        assert pool.rejected == {"duplicate": 2 * (2 * 4)}

    def test_a_proposer_that_answers_the_task_is_noticed(self) -> None:
        pool, _ = proposed(lambda request: "setosa", settings=GroundingSettings(profile=Profile.SMALL, tries=1))
        assert pool.rejected == {"answer instead of instruction": 6}

    def test_a_failed_call_is_raised_as_it_is(self) -> None:
        def broken(request: Request) -> str:
            raise RateLimited("slow down")

        with pytest.raises(RateLimited, match="slow down"):
            proposed(broken)


class TestDeterminism:
    def test_the_order_of_answers_changes_nothing(self) -> None:
        def half_baked(request: Request) -> str:
            draw = uniform_order(request.sample, request.messages[0].text)
            return "Weigh the petal with care." if draw % 3 == 0 else "" if draw % 3 == 1 else inventive(request)

        def delay(request: Request) -> float:
            return uniform_order("delay", request.messages[0].text) / 2**64 / 50

        plain, _ = proposed(half_baked, count=8)
        delayed, _ = proposed(half_baked, count=8, delays=delay)
        assert plain == delayed
        assert plain.rejected

    def test_the_seed_decides(self) -> None:
        first, again, other = (proposed(inventive, seed=seed)[0] for seed in (0, 0, 1))
        assert first == again != other

    def test_a_slot_does_not_depend_on_how_many_there_are(self) -> None:
        few, _ = proposed(inventive, count=3)
        many, _ = proposed(inventive, count=6)
        assert many.predictors["species"][:3] == few.predictors["species"]


def test_a_pool_survives_the_journal() -> None:
    pool, _ = proposed(lambda request: "Weigh the petal with care.")
    assert InstructionPool.from_json(json.loads(json.dumps(pool.to_json()))) == pool


def test_requests_for_instructions_are_bounded_in_advance() -> None:
    settings = GroundingSettings(dataset_summary=False, program_summary=False, roles=False)
    _, gateway = proposed(lambda request: "", settings=settings)
    assert len(gateway.requests) == settings.most_calls(30, 2, 4)
