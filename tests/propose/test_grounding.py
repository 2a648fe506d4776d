from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from luthier.errors import ConfigError, Unreachable
from luthier.lm.profile import Profile
from luthier.lm.request import Completion, Request
from luthier.propose import grounding as grounding_module
from luthier.propose.grounding import Grounding, GroundingSettings, ground
from luthier.propose.history import ScoredInstruction, best_instructions, format_history
from luthier.types import Endpoint
from tests.propose.world import FakeGateway, program, proposer, rows

CODE = "def classify(petal): return species(size=petal_size(petal), petal=petal)"


@pytest.fixture(autouse=True)
def source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grounding_module, "program_code", lambda program: CODE)


def grounded(
    answer: Any, settings: GroundingSettings, n: int = 60, traces: tuple[Any, ...] = (), seed: int = 0
) -> tuple[Grounding, FakeGateway]:
    asked, gateway = proposer(answer)
    return asyncio.run(ground(asked, program(), rows(n), settings, seed, traces=traces)), gateway


def able(request: Request) -> str:
    text = request.messages[0].text
    if "COMPLETE" in text:
        return "COMPLETE"
    if text.startswith("Here are examples"):
        return "They are petals."
    if text.startswith("Here are observations"):
        return "The data are petals of irises."
    return "It names irises." if "AN EXAMPLE" in text or text.startswith("Here is the source") else "It plays a part."


ONLY_DATA = GroundingSettings(program_summary=False, roles=False)
ONLY_PROGRAM = GroundingSettings(dataset_summary=False)


class TestDatasetSummary:
    def test_batches_are_observed_until_complete_was_said_five_times(self) -> None:
        found, gateway = grounded(able, ONLY_DATA, n=100)
        assert found.dataset_summary == "The data are petals of irises."
        assert len(gateway.requests) == 1 + 5 + 1
        assert "They are petals." in gateway.texts[1]

    def test_no_more_than_eleven_calls_are_made(self) -> None:
        def chatty(request: Request) -> str:
            return f"Observation {len(request.messages[0].text)}"

        _, gateway = grounded(chatty, ONLY_DATA, n=500)
        assert len(gateway.requests) == 11 == ONLY_DATA.most_calls(500, 2)

    def test_rows_are_shown_with_labels_but_without_private_columns(self) -> None:
        _, gateway = grounded(able, ONLY_DATA)
        assert "species: setosa" in gateway.texts[0] and "petal: " in gateway.texts[0]
        assert not any("Secret" in text or "owner" in text for text in gateway.texts)

    def test_long_values_are_cut(self) -> None:
        data = rows(20)
        long = [type(r)(r.id, r.example, {"petal": "word " * 5000}, r.labels, r.stratum) for r in data]
        asked, gateway = proposer(able)
        asyncio.run(ground(asked, program(), long, ONLY_DATA, 0))
        assert max(map(len, gateway.texts)) < 10_000

    def test_an_empty_answer_is_none_with_a_warning(self) -> None:
        found, _ = grounded(lambda request: "  ", ONLY_DATA)
        assert found.dataset_summary is None
        assert found.warnings == ("no dataset summary: the proposer's answer was empty",)

    def test_thoughts_are_no_summary(self) -> None:
        found, _ = grounded(lambda request: "<think>a secret plan</think>Petals.", ONLY_DATA, n=10)
        assert found.dataset_summary == "Petals."


class TestProgramSummary:
    def test_program_and_roles_are_described(self) -> None:
        found, gateway = grounded(able, ONLY_PROGRAM)
        assert found.program_summary == "It names irises."
        assert found.roles == {"petal_size": "It plays a part.", "species": "It plays a part."}
        assert all(CODE in text for text in gateway.texts)
        assert len(gateway.requests) == 3 == ONLY_PROGRAM.most_calls(60, 2)

    def test_a_trace_shows_the_program_in_use_unless_switched_off(self) -> None:
        trace = [{"predictor": "species", "inputs": {"petal": "9 x 9"}, "outputs": {"species": "setosa"}}]
        _, shown = grounded(able, ONLY_PROGRAM, traces=(trace,))
        _, hidden = grounded(able, GroundingSettings(dataset_summary=False, traces=False), traces=(trace,))
        assert "9 x 9" in shown.texts[0] and "9 x 9" not in hidden.texts[0]

    def test_a_program_without_readable_source_is_not_summarized(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(grounding_module, "program_code", lambda program: "")
        found, gateway = grounded(able, ONLY_PROGRAM)
        assert found.warnings == ("no program summary: the program's source cannot be read",)
        assert len(found.roles) == 2 and not any("PROGRAM CODE" in text for text in gateway.texts)

    def test_a_module_without_a_role_is_warned_of(self) -> None:
        def forgetful(request: Request) -> str:
            return "" if "MODULE:\nspecies" in request.messages[0].text else able(request)

        found, _ = grounded(forgetful, ONLY_PROGRAM)
        assert set(found.roles) == {"petal_size"}
        assert found.warnings == ("no role of 'species': the proposer's answer was empty",)


def test_a_failed_call_is_raised_as_it_is() -> None:
    def broken(request: Request) -> str:
        raise Unreachable("refused")

    for settings in (GroundingSettings(), ONLY_DATA, ONLY_PROGRAM):
        with pytest.raises(Unreachable, match="refused"):
            grounded(broken, settings)


def test_nothing_is_asked_when_everything_is_switched_off() -> None:
    found, gateway = grounded(able, GroundingSettings(dataset_summary=False, program_summary=False, roles=False))
    assert found == Grounding() and gateway.requests == []


def test_a_small_model_is_asked_little_and_briefly() -> None:
    settings = GroundingSettings(profile=Profile.SMALL)
    found, gateway = grounded(lambda request: "Petals. " * 200, settings)
    assert len(gateway.requests) == 4 == settings.most_calls(60, 2)
    assert max(map(len, gateway.texts)) < 2000
    assert all((request.max_tokens or 0) <= 120 for request in gateway.requests)
    assert found.dataset_summary is not None and len(found.dataset_summary) <= 400


def test_requests_go_to_the_chat_endpoint_at_the_papers_temperature() -> None:
    _, gateway = grounded(able, ONLY_DATA)
    assert {(r.endpoint, r.temperature) for r in gateway.requests} == {(Endpoint.CHAT, 0.7)}


def test_the_seed_decides_which_rows_are_seen() -> None:
    (_, one), (_, again), (_, other) = (grounded(able, ONLY_DATA, seed=seed) for seed in (0, 0, 1))
    assert one.texts == again.texts != other.texts


def test_grounding_survives_the_journal() -> None:
    found = Grounding("data", None, {"a": "role"}, {"a": (ScoredInstruction("Do.", 0.5),)}, ("careful",))
    assert Grounding.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize("name", ["demos_shown", "tries", "max_characters", "max_tokens"])
def test_settings_out_of_range_are_refused(name: str) -> None:
    settings: dict[str, Any] = {name: 0}
    with pytest.raises(ConfigError, match=name):
        GroundingSettings(**settings)


def test_a_cut_completion_at_temperature_zero_has_no_sample_number() -> None:
    asked, gateway = proposer(lambda request: Completion("x", "length"))
    asked.temperature = 0.0
    assert asyncio.run(asked.ask("hello", max_tokens=5, sample=7)) == "x"
    assert gateway.requests[0].sample == 0


class TestHistory:
    TRIALS = tuple(
        ScoredInstruction(text, score)
        for text, score in [("a", 0.2), ("b", 0.9), ("a", 0.4), ("c", 0.5), ("d", 0.6), ("e", 0.7), ("f", 0.1)]
    )

    def test_the_best_five_are_listed_worst_first_with_mean_scores(self) -> None:
        assert [(one.text, round(one.score, 3)) for one in best_instructions(self.TRIALS)] == [
            ("a", 0.3),
            ("c", 0.5),
            ("d", 0.6),
            ("e", 0.7),
            ("b", 0.9),
        ]

    def test_the_order_of_trials_does_not_matter(self) -> None:
        assert best_instructions(self.TRIALS[::-1]) == best_instructions(self.TRIALS)

    def test_each_instruction_is_a_line_with_its_score(self) -> None:
        assert format_history([ScoredInstruction("Do\nit.", 0.25)]) == "Do it. | score: 0.250"
        assert format_history([]) == ""
