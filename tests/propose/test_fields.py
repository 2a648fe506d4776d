"""What a proposer is told of a component."""

from __future__ import annotations

import luthier as lt
from luthier.program.program import discover
from luthier.program.text import Guard
from luthier.propose.fields import subjects_of
from luthier.propose.guards import Fault, check
from luthier.propose.training_text import TrainingText


@lt.predictor
def grade(passage: str, question: str) -> str:
    """Grade {passage} for the question."""
    return lt.predict()


def program(passage: str, question: str) -> str:
    return grade(passage=passage, question=question)


def test_a_predictors_guard_is_told_to_the_proposer_and_held() -> None:
    grade.guard = Guard(must_contain=("{passage}",))
    subject = subjects_of(discover(program))["grade"]
    assert "It must contain, letter for letter: {passage}" in subject.facts

    def fault(text: str) -> Fault | None:
        return check(text, subject=subject, meta_prompt="", training=TrainingText.of([]))

    assert fault("Say whether the passage helps to answer the question.") is Fault.LACKS
    assert fault("Say whether {passage} helps to answer the question.") is None
