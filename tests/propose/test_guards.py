from __future__ import annotations

from dataclasses import replace

import pytest

from luthier.lm.profile import Profile
from luthier.program.thoughts import unfinished_thought, without_thoughts
from luthier.propose.cleaning import clean
from luthier.propose.fields import subject_of
from luthier.propose.guards import Fault, check
from luthier.propose.tips import TIPS
from luthier.propose.training_text import TrainingText
from luthier.propose.wording import normalized
from tests.propose.world import KIND, rows

META = (
    "A program solves a task with calls to a language model. Learn about the task from the facts below. "
    "Keep the new instruction clear and concise."
)
TRAINING = TrainingText.of(rows(30))
GOOD = "You are a botanist. Weigh the petal's length against its width, then name the species: setosa or another."


def fault_of(text: str, *, finish: str = "stop", original: str = KIND.instruction, limit: int = 1200) -> Fault | None:
    return check(
        text,
        subject=replace(subject_of(KIND), original=original),
        meta_prompt=META,
        training=TRAINING,
        finish_reason=finish,
        limit=limit,
        profile=Profile.SMALL,
    )


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "Name the iris species: setosa, versicolor, or virginica. Note: small petals belong to setosa.",
        'Answer with JSON such as {"species": "setosa"} and nothing else.',
        "Steps:\n1. Compare length and width.\n2. Decide.\n3. Name the species.",
        "Return the species that fits the petal best.",
    ],
)
def test_a_sound_instruction_passes(text: str) -> None:
    assert fault_of(text) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", Fault.EMPTY),
        ("—", Fault.EMPTY),
        ("Go.", Fault.EMPTY),
        ("Name the species. " * 80, Fault.TOO_LONG),
        ("As an AI language model I have no petals.", Fault.REFUSAL),
        ("I'm sorry, but I can't help with that task.", Fault.REFUSAL),
        ("Given {petal}, name the species of it.", Fault.PLACEHOLDER),
        ("Given {{ petal }}, name the species of it.", Fault.PLACEHOLDER),
        ("[Insert your instruction here] and go on", Fault.PLACEHOLDER),
        ("<your instruction> goes right in here", Fault.PLACEHOLDER),
        ("def species(size, petal):\n    return predict(size)", Fault.CODE),
        ("import re\nname the species then", Fault.CODE),
        ("setosa", Fault.ANSWER),
        ("Species: virginica", Fault.ANSWER),
        ("Look at it. Name it, please now. " * 12, Fault.REPETITION),
        ("A program solves a task with calls to a language model, so name it.", Fault.ECHO),
        ("Keep the new instruction clear and concise. Name the species.", Fault.ECHO),
        ("Name it well.\nBASIC INSTRUCTION:\nName the species.", Fault.ECHO),
        ("For a petal of 7.5 x 0.7 say versicolor, else think.", Fault.QUOTE),
        ("For a petal of 70.5 x 0.7 say versicolor, else think.", None),
        ("Ask secret owner number 12 for the species.", Fault.QUOTE),
        ("name the species of the IRIS!", Fault.DUPLICATE),
    ],
)
def test_a_small_models_malformed_proposal_is_rejected_by_its_reason(text: str, fault: Fault | None) -> None:
    assert fault_of(text) == fault


def test_a_cut_proposal_is_rejected_however_good_it_looks() -> None:
    assert fault_of(GOOD, finish="length") is Fault.CUT


def test_a_long_original_allows_long_proposals() -> None:
    long = " ".join(f"Rule {i} concerns the petal's part {i}." for i in range(60))
    assert fault_of(long, limit=500) is Fault.TOO_LONG
    assert fault_of(long, limit=500, original=long[:1500]) is None


def test_what_the_original_has_itself_is_no_fault() -> None:
    assert fault_of("Fill {petal} in and name the species.", original="Use {petal} to name the species.") is None


class TestQuotes:
    QUESTIONS = tuple(
        (f"Which of the two rivers is longer where town {name} lies on the northern bank?", answer)
        for name, answer in (("Ulm", "the river Danube near Ulm"), ("Bonn", "Rhine"), ("Pirna", "the river Elbe"))
    )

    def training(self) -> TrainingText:
        base = rows(len(self.QUESTIONS))
        made = []
        for row, (question, answer) in zip(base, self.QUESTIONS, strict=True):
            made.append(type(row)(row.id, row.example, {"question": question}, {"answer": answer}))
        return TrainingText.of(made)

    def test_a_row_quoted_is_found(self) -> None:
        said = "Say which of the two rivers is longer where town Ulm lies on the northern bank, if asked."
        assert self.training().quoted(said)

    def test_a_training_answer_of_several_words_is_found(self) -> None:
        assert self.training().quoted("Answer with The River Danube, near Ulm when rivers come up.")

    def test_short_answers_and_common_words_are_free(self) -> None:
        assert not self.training().quoted("Think of Rhine or Elbe; compare two rivers and their towns.")

    def test_what_stands_in_every_row_belongs_to_the_task(self) -> None:
        constant = "Decide whether the following patient has a disease of the heart or not."
        base = rows(30)
        made = [type(row)(row.id, row.example, {"q": constant, "x": row.id}, {}) for row in base]
        assert not TrainingText.of(made).quoted(f"Careful. {constant}")

    def test_the_original_may_quote(self) -> None:
        question = self.QUESTIONS[0][0]
        assert not self.training().quoted(question, allowed=question)

    def test_demos_of_inner_predictors_count_too(self) -> None:
        inner = "query: the founder of the company that built the old lighthouse of Genoa"
        assert TrainingText.of(rows(9), texts=[inner]).quoted(f"Write queries like {inner}")


@pytest.mark.parametrize(
    ("reply", "instruction"),
    [
        ("  Name it. ", "Name it."),
        ('"Name it."', "Name it."),
        ("“Name it.”", "Name it."),
        ("'Name it.'", "Name it."),
        ("Proposed Instruction: Name it.", "Name it."),
        ("**Proposed Instruction:** Name it.", "Name it."),
        ("**Proposed instruction: Name it.**", "Name it."),
        ("### Improved Instruction:\n\nName it.", "Name it."),
        ("proposed_instruction: Name it.", "Name it."),
        ("The new instruction: 'Name it.'", "Name it."),
        ('Here is the improved instruction:\n\n"Name it."', "Name it."),
        ("Sure! Here's a better instruction:\nName it.", "Name it."),
        ("Sure!\n\nName it.", "Name it."),
        ("```\nName it.\n```", "Name it."),
        ("Here you go:\n```text\nInstruction: Name it.\n```\nI hope this helps.", "Name it."),
        ('```json\n{"instruction": "Name it."}\n```', "Name it."),
        ("<think>Hm, what: then?</think>\nName it.", "Name it."),
        ("Name it.\n\nExplanation: this is shorter.", "Name it."),
        ("Name it.\n\nThis new instruction is better because it is short.", "Name it."),
        ("Name it.\n[[ ## completed ## ]]", "Name it."),
        ('Say "yes" or "no".', 'Say "yes" or "no".'),
        ('"Yes" or "no"', '"Yes" or "no"'),
        ("Note: name it.", "Note: name it."),
        ("Instructions for you are simple: name it.", "Instructions for you are simple: name it."),
        ("Use **bold** and **more**", "Use **bold** and **more**"),
        ("", ""),
    ],
)
def test_only_the_instruction_is_left_of_a_reply(reply: str, instruction: str) -> None:
    assert clean(reply) == instruction


def test_thoughts_without_an_end_are_noticed() -> None:
    assert unfinished_thought("<think>so far")
    assert not unfinished_thought("<think>so</think> done")
    assert without_thoughts("<think>so far") == ""
    assert without_thoughts("<think>so</think> done") == "done"


def test_dress_does_not_tell_instructions_apart() -> None:
    assert normalized("Name it, please!") == normalized("name IT please")


def test_there_are_six_tips_and_one_of_them_is_none() -> None:
    assert len(TIPS) == 6 and TIPS["none"] == ""
