"""Where a study starts: what is deployed today, and other prompts to be tried before any new one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from luthier.errors import ConfigError, DataError
from luthier.evaluation.data import Row
from luthier.evaluation.splits import Split
from luthier.program.candidate import Candidate, Demo
from luthier.program.program import Program
from luthier.program.values import value_to_json

ORIGINAL = "original"
"""Names the prompts that the program itself has."""

Start: TypeAlias = Candidate | str | Path
"""A candidate, a directory of saved prompts or of a study, or ``"original"``."""


def candidate_from(given: Start, program: Program) -> Candidate:
    """Return a start as a candidate for the program; what it does not name stays as the program has it.

    Raises:
        CandidateError: it was made for something else, or cannot be read.
        ConfigError: it is no candidate and no directory.
    """
    written = replace(program, deployed=None).original
    if given == ORIGINAL:
        return written
    if not isinstance(given, Candidate | str | Path):
        raise ConfigError(f"{given!r} is neither a Candidate, nor a directory of saved prompts, nor {ORIGINAL!r}")
    candidate = given if isinstance(given, Candidate) else Candidate.load(given)
    program.check(candidate)
    return Candidate({**written.prompts, **candidate.prompts}, written.fingerprints)


def starting_from(given: Sequence[Start], program: Program) -> tuple[Program, tuple[Candidate, ...]]:
    """Return the program as it is deployed today, by the first start, and the other candidates to be tried first.

    The prompts that the program itself has are always among them.

    Raises:
        CandidateError: a start was made for something else, or cannot be read.
        ConfigError: one is no candidate and no directory.
    """
    if isinstance(given, Candidate | str | Path):
        raise ConfigError("start= is a list, the first of which is deployed today: start=[…]")
    if not given:
        return program, ()
    found = [candidate_from(one, program) for one in given]
    written = candidate_from(ORIGINAL, program)
    distinct = {candidate.key: candidate for candidate in (*found, written)}
    first, *others = distinct.values()
    return program if first.key == written.key else replace(program, deployed=first), tuple(others)


def without_shown(split: Split, candidates: Iterable[Candidate]) -> tuple[Split, int]:
    """Return the split with the rows that candidates show as demos moved to train, and how many were moved.

    A row that a prompt shows with its answer can neither choose nor judge that prompt. Groups move whole.

    Raises:
        DataError: no row would be left to compare candidates on, or to hold out.
    """
    demos = [demo for candidate in candidates for prompt in candidate.prompts.values() for demo in prompt.demos]
    named = {d.provenance.example.partition("#")[0] for d in demos if d.provenance and d.provenance.example}
    bare = [demo for demo in demos if demo.provenance is None or not demo.provenance.example]

    def is_shown(row: Row) -> bool:
        return row.content in named or any(_shows(demo, row) for demo in bare)

    seen = [row for row in (*split.val, *split.test) if is_shown(row)]
    contents, groups = {row.content for row in seen}, {row.group for row in seen if row.group}

    def moves(row: Row) -> bool:
        return row.content in contents or row.group in groups

    moved = [row for row in (*split.val, *split.test) if moves(row)]
    parts: dict[str, Any] = {}
    for name, rows in (("val", split.val), ("test", split.test)):
        parts[name] = tuple(row for row in rows if not moves(row))
        if rows and not parts[name]:
            raise DataError(
                f"every example of the {name} part is among the demonstrations of start=; give other examples"
            )
    return (replace(split, train=(*split.train, *moved), **parts) if moved else split), len(moved)


def _shows(demo: Demo, row: Row) -> bool:
    """Whether a demo of unknown origin has the very inputs of a row."""
    return demo.inputs.keys() == row.inputs.keys() and all(
        value_to_json(row.inputs[name]) == value for name, value in demo.inputs.items()
    )
