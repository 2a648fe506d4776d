"""How two candidates differ: the texts line by line and word by word, the demonstrations in numbers."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import ConfigError
from luthier.exports.parts import parts_of
from luthier.exports.saved_study import study_prompts
from luthier.program.candidate import Candidate, Demo, Prompt
from luthier.report.diff import runs

ORIGINAL = "original"
"""In place of a directory: what the other side's study began with."""


@dataclass(frozen=True, slots=True)
class Change:
    """One predictor's prompt on both sides; None where a side has none."""

    name: str
    before: Prompt | None
    after: Prompt | None

    @property
    def added(self) -> tuple[Demo, ...]:
        """Demonstrations that only ``after`` has."""
        return tuple(demo for demo in _demos(self.after) if demo not in _demos(self.before))

    @property
    def removed(self) -> tuple[Demo, ...]:
        """Demonstrations that only ``before`` has."""
        return tuple(demo for demo in _demos(self.before) if demo not in _demos(self.after))

    def lines(self, a: str, b: str) -> Iterator[str]:
        """Yield a unified diff of the instructions, then a line about the demonstrations if they differ."""
        before, after = ([] if side is None else side.instruction.split("\n") for side in (self.before, self.after))
        if before != after:
            yield from difflib.unified_diff(before, after, f"{a}: {self.name}", f"{b}: {self.name}", lineterm="")
        if _demos(self.before) != _demos(self.after):
            told = [f"{len(self.added)} new"] * bool(self.added) + [f"{len(self.removed)} gone"] * bool(self.removed)
            counts = f"{len(_demos(self.before))} -> {len(_demos(self.after))}"
            yield f"# {self.name}: demonstrations {counts} ({', '.join(told) or 'in another order'})"

    def to_json(self) -> dict[str, Any]:
        """Return both instructions, the runs of words they have in common or not, and the demonstrations' changes."""
        before, after = (None if side is None else side.instruction for side in (self.before, self.after))
        return {
            "before": before,
            "after": after,
            "runs": [[run.before, run.after] for run in runs(before or "", after or "")],
            "demos": {
                "before": len(_demos(self.before)),
                "after": len(_demos(self.after)),
                "added": [demo.to_json() for demo in self.added],
                "removed": [demo.to_json() for demo in self.removed],
            },
        }


def changes(before: Candidate, after: Candidate) -> tuple[Change, ...]:
    """Return the predictors whose prompts differ, by name."""
    names = sorted({*before.prompts, *after.prompts})
    sides = [Change(name, before.prompts.get(name), after.prompts.get(name)) for name in names]
    return tuple(side for side in sides if side.before != side.after)


def sides(a: str, b: str, *, best: bool = False) -> tuple[Candidate, Candidate]:
    """Return two candidates: of studies, of saved prompts, or a study's original.

    Raises:
        ConfigError: a directory holds no prompts, or both sides are "original".
        CandidateError: prompts cannot be read.
    """
    return _side(a, b, best), _side(b, a, best)


def _side(name: str, other: str, best: bool) -> Candidate:
    if name != ORIGINAL or Path(name).exists():
        return parts_of(name, best=best).candidate
    if other == ORIGINAL or not (Path(other) / "journal.jsonl").exists():
        raise ConfigError(f"{ORIGINAL!r} is what a study began with: the other side must be a study's directory")
    found = study_prompts(Path(other), best=False).original
    assert found is not None
    return found


def _demos(prompt: Prompt | None) -> tuple[Demo, ...]:
    return () if prompt is None else prompt.demos
