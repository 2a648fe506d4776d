"""Rows of plain JSON arrive as a program declares them, and labels are read as its outputs are."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from pydantic import BaseModel

import luthier as lt


class Ticket(BaseModel):
    subject: str
    opened: datetime.date


@lt.predictor
def echo(text: str) -> str:
    """Say it again."""
    return lt.predict()


def test_inputs_typed_as_models_arrive_as_instances() -> None:
    def program(ticket: Ticket, due: datetime.date) -> bool:
        echo(text=ticket.subject)
        return ticket.opened < due

    rows = [{"ticket": {"subject": "a", "opened": "2025-01-02"}, "due": "2025-02-01", "late": "yes"}] * 3
    assert lt.evaluate(program, rows, lt.exact_match("late"), lm=lt.LM(lambda request: "a")).mean == 1


def test_a_row_that_is_none_of_the_declared_type_is_an_error_that_names_the_column() -> None:
    def program(ticket: Ticket) -> str:
        return echo(text=ticket.subject)

    rows = [{"ticket": {"subject": "a", "opened": "soon"}, "label": "a"}]
    with pytest.raises(lt.LuthierError, match=r"'ticket'.*opened"):
        lt.evaluate(program, rows, lt.exact_match, lm=lt.LM(lambda request: "a"))


@pytest.mark.parametrize(("yes", "no"), [("True", "False"), ("TRUE", "FALSE"), ("Yes", "No"), ("1", "0")])
def test_a_bool_in_a_csv_is_a_bool_however_it_is_written(tmp_path: Path, yes: str, no: str) -> None:
    @lt.predictor
    def spam(mail: str) -> bool:
        """Is it spam?"""
        return lt.predict()

    path = tmp_path / "mails.csv"
    path.write_text(
        "mail,spam\n" + "".join(f"mail {i} {'win' if i % 2 else 'hi'},{yes if i % 2 else no}\n" for i in range(8)),
        encoding="utf-8",
    )
    lm = lt.LM(lambda request: "true" if "win" in str(request.messages[-1].content) else "false")
    assert lt.evaluate(lambda mail: spam(mail=mail), path, lt.exact_match("spam"), lm=lm).mean == 1
