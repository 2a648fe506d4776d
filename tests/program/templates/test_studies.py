"""Whole studies over templates, on a scripted LM whose best candidate is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

import luthier as lt
from luthier.errors import StudyMismatch
from luthier.lm.doubles import ScriptedLM
from tests.optimizers.studies import event, journal, tune
from tests.studies import world

SEARCH = lt.MIPRO(candidates=4, demo_sizes=(0, 3, 6), instructions=4, trials=16, minibatch=9, closing=2)
WIDE = lt.MIPRO(candidates=8, instructions=8, trials=24, minibatch=9, closing=2)

JINJA = """\
{# The wording below is tuned; run `make tune` after changing anything else. #}
{%- set greeting = "Dear model" -%}
{{ greeting }},
{# tune: manner #}
say of {{ number }} whether it is even.
{# end #}
The number: {{ number }}
"""
YAML = """\
# Agreed with the team.
- role: system
  content: |-  # tune: manner
    Say whether the number is even.
# demos
- {role: user, content: "Number {number}"}
"""


def program_of(template: lt.Template) -> Any:
    @lt.predictor(template=template, stop=["#parity"])
    def parity(number: str) -> Literal["even", "odd"]:
        return lt.predict()

    def describe(number: str) -> str:
        return f"{parity(number=number)} {world.truth('size', int(number))}"

    return describe


def test_a_jinja_templates_best_region_is_found_and_the_file_with_it_renders_what_was_scored(tmp_path: Path) -> None:
    path = tmp_path / "parity.j2"
    path.write_text(JINJA, encoding="utf-8")
    made = lt.Template.load(path)
    sent: list[lt.Request] = []

    def answer(request: lt.Request) -> str:
        sent.append(request)
        if world.asked_for(request) is None:
            text = world.answer(request)
            return text.replace("the number", "the number {{ number }}") + " {% braces %}" * ("Look at" in text)
        return world.answer(request)

    result = tune(tmp_path / "s", WIDE, program=program_of(made), lm=lt.LM(ScriptedLM(answer)))
    best = result.best.prompts["parity.manner"].instruction
    assert world.CAREFUL in best and "{{ number }}" in best and best.endswith("{% braces %}")
    assert {v["name"] for v in event(tmp_path / "s", "space")["variables"]} == {"parity.manner.instruction"}
    said = best.replace("{{ number }}", "7")
    whole = f"Dear model,\n\n{said}\n\nThe number: 7"
    assert whole in {request.messages[0].text for request in sent if request.messages}
    path.write_text(made.apply(result.best), encoding="utf-8")
    again = lt.Template.load(path)
    assert again.render(number="7") == whole and again.regions["manner"].text == best
    assert "a prompt template. All else of the template is fixed" in sent_to_proposer(sent)


def sent_to_proposer(sent: list[lt.Request]) -> str:
    return "\n".join(r.messages[0].text for r in sent if world.asked_for(r) is None)


def test_a_yaml_chats_best_region_and_demos_are_found(tmp_path: Path) -> None:
    made = lt.Template(YAML, name="chat", syntax="yaml")
    result = tune(tmp_path / "s", SEARCH, program=program_of(made))
    assert {v["name"] for v in event(tmp_path / "s", "space")["variables"]} == {
        "chat.manner.instruction",
        "parity.demos",
    }
    assert world.CAREFUL in result.best.prompts["chat.manner"].instruction
    demos = result.best.prompts["parity"].demos
    assert len(demos) >= 3 and result.best.prompts["parity"].instruction == ""
    assert result.best == lt.Candidate.load(saved(result.best, tmp_path))
    new = lt.Template(made.apply(result.best), name="chat", syntax="yaml")
    with lt.use(lt.LM(lambda request: ""), result.best):
        assert new.messages(number="7") == made.messages(number="7")
    assert [line for line in made.apply(result.best).splitlines() if "Look at" not in line] == [
        line for line in YAML.splitlines() if "Say whether" not in line
    ]
    assert result.decision == "adopt"


def saved(candidate: lt.Candidate, tmp_path: Path) -> Path:
    candidate.save(tmp_path / "prompts")
    return tmp_path / "prompts"


def test_another_fixed_text_makes_another_study_and_the_same_one_is_resumed(tmp_path: Path) -> None:
    tune(tmp_path / "s", SEARCH, program=program_of(lt.Template(YAML, name="chat", syntax="yaml")))
    events = journal(tmp_path / "s")
    tune(tmp_path / "s", SEARCH, program=program_of(lt.Template(YAML, name="chat", syntax="yaml")))
    assert journal(tmp_path / "s") == events
    changed = lt.Template(YAML.replace("Number", "The number"), name="chat", syntax="yaml")
    with pytest.raises(StudyMismatch, match="predictors"):
        tune(tmp_path / "s", SEARCH, program=program_of(changed))


def test_a_template_loaded_while_running_is_met(tmp_path: Path) -> None:
    path = tmp_path / "late.txt"
    path.write_text("<<tune:manner>>Judge.<<end>> {number}", encoding="utf-8")

    def program(number: str) -> str:
        lt.Template.load(path).render(number=number)
        return world.describe(number)

    tune(tmp_path / "s", SEARCH, program=program)
    assert "late.manner.instruction" in {v["name"] for v in event(tmp_path / "s", "space")["variables"]}
