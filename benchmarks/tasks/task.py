"""A benchmark task: a program, its data, and its metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import luthier as lt
from luthier.canonical import uniform_order
from luthier.errors import DataError
from luthier.evaluation.splits import split
from luthier.program.program import discover

Example = Mapping[str, Any]


PAPER = "/paper"
"""What the names of optimizers with the paper's settings end with."""


@dataclass(frozen=True, slots=True)
class PaperSettings:
    """How the paper runs optimizers on a task (MIPRO Tables 3 and 4, §5.2, App. B)."""

    full_evaluations: int
    """T, the search's budget in evaluations of the whole train part, on which the paper scores, too (B.2)."""
    joint: int
    """N where instructions and demos are searched together: MIPRO's (Table 4)."""
    alone: int
    """N where either is searched alone: 0-shot MIPRO's, and Bayesian Bootstrap's on the tasks it has (Table 4)."""
    temperature: float = 0.7
    """Of the LM that runs the program (B.4)."""

    def candidates(self, optimizer: str) -> int | None:
        """Return N of an optimizer; None for those whose N the paper has not, or takes from the budget."""
        found = {"mipro": self.joint, "mipro0": self.alone, "bayesian-bootstrap": self.alone}
        return found.get(optimizer.removesuffix(PAPER))


@dataclass(frozen=True, slots=True)
class Task:
    """One task of the benchmark (MIPRO §5.1, Table 3)."""

    name: str
    program: Callable[..., Any]
    metric: Callable[..., Any]
    examples: Callable[[], Sequence[Example]]
    """What train and val are cut from; the test part, too, where there is no test set of its own."""
    sizes: tuple[int, int, int]
    """Train, val, test. The paper scores on train; here the paper's train part is cut in two, and put together again by
    optimizers with the paper's settings."""
    inputs: tuple[str, ...]
    test_examples: Callable[[], Sequence[Example]] | None = None
    """A test set of another source."""
    group: str | None = None
    """The column whose equal values stay on one side of every cut."""
    max_tokens: int = 150
    """The longest answer (MIPRO B.4)."""
    about: str = ""
    """What it asks for, in a sentence, where the program's docstring does not say it."""
    prepare: Callable[[], object] | None = None
    """Opens what the program needs beside its data, before anything is paid for: it raises where that is missing."""
    paper: PaperSettings | None = None
    """How the paper runs it; None: it is no task of the paper."""

    def splits(self, split_seed: int = 0, sizes: tuple[int, int, int] | None = None) -> lt.Splits:
        """Return train, val, and test, disjoint in inputs and groups.

        Args:
            split_seed: another number, another cut.
            sizes: smaller parts than the task's own.

        Raises:
            DataError: the data are not to be had, or too few.
        """
        train, val, test = sizes or self.sizes
        program = discover(self.program)
        of_test = test if self.test_examples is None else 0
        parts = split(
            list(self.examples()),
            program,
            inputs=self.inputs,
            group=self.group,
            split_seed=split_seed,
            sizes=(train, val, of_test),
        )
        held_out = [dict(row.example) for row in parts.test] if self.test_examples is None else self._test(split_seed)
        if len(held_out) < test:
            raise DataError(f"{self.name} has {len(held_out)} test examples, not {test}")
        return lt.Splits(
            [dict(row.example) for row in parts.train], [dict(row.example) for row in parts.val], held_out[:test]
        )

    def _test(self, split_seed: int) -> list[dict[str, Any]]:
        if self.test_examples is None:
            return []
        rows = [dict(example) for example in self.test_examples()]
        return sorted(rows, key=lambda row: uniform_order(split_seed, repr([row[name] for name in self.inputs])))
