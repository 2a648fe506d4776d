"""A benchmark task: a program, its data, and its metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import luthier as lt
from luthier.canonical import uniform_order
from luthier.evaluation.splits import split
from luthier.program.program import discover

Example = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """One task of the benchmark (MIPRO §5.1, Table 3)."""

    name: str
    program: Callable[..., Any]
    metric: Callable[..., Any]
    examples: Callable[[], Sequence[Example]]
    """What train and val are cut from; the test part, too, where there is no test set of its own."""
    sizes: tuple[int, int, int]
    """Train, val, test. The paper scores on train; here the paper's train part is cut in two."""
    inputs: tuple[str, ...]
    test_examples: Callable[[], Sequence[Example]] | None = None
    """A test set of another source."""
    group: str | None = None
    """The column whose equal values stay on one side of every cut."""
    max_tokens: int = 150
    """The longest answer (MIPRO B.4)."""
    full_evaluations: int = 30
    """The paper's budget in evaluations of its whole train part (MIPRO B.2)."""
    paper_train: int = 75
    """How many examples the paper's train part has."""

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
        return lt.Splits(
            [dict(row.example) for row in parts.train], [dict(row.example) for row in parts.val], held_out[:test]
        )

    def _test(self, split_seed: int) -> list[dict[str, Any]]:
        if self.test_examples is None:
            return []
        rows = [dict(example) for example in self.test_examples()]
        return sorted(rows, key=lambda row: uniform_order(split_seed, repr([row[name] for name in self.inputs])))
