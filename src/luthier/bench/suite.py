"""A suite: cases of (task, optimizer, LM, seed, budget), and the comparisons that are declared before they are run."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from luthier.errors import ConfigError, DataError
from luthier.optimizers.registry import optimizer_named
from luthier.tasks.registry import task

T = TypeVar("T")

DECLARED = "suite.json"
"""The suite as it was declared, in the folder of its runs."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run: a study with a directory of its own."""

    task: str
    optimizer: str
    lm: str
    seed: int
    """Of the split and of the search."""
    evaluations: int | None = None
    """Program runs of the search, the paper's unit; None: what the optimizer takes by itself."""
    sizes: tuple[int, int, int] | None = None
    """Train, val, test, where not the task's own."""
    proposer_lm: str | None = None
    teacher_lm: str | None = None

    @property
    def slug(self) -> str:
        """A name for files."""
        return re.sub(r"[^\w.+-]+", "-", f"{self.task}/{self.optimizer}/{self.seed}")


@dataclass(frozen=True, slots=True)
class Suite:
    """Cases to run one after the other.

    Args:
        tasks: names of tasks.
        optimizers: names of optimizers.
        lm: runs the programs.
        seeds: each is a split and a search of its own.
        evaluations: program runs of each search.
        comparisons: pairs of optimizers, the first claimed to be better: Holm's correction is over these.
        by_task: settings that differ for a task: ``evaluations``, ``sizes``.
        proposer_lm: writes instructions; None: ``lm``.
        teacher_lm: makes demos; None: ``lm``.

    Raises:
        ConfigError: a name is unknown, or nothing is left to run.
    """

    tasks: tuple[str, ...]
    optimizers: tuple[str, ...]
    lm: str
    seeds: tuple[int, ...] = (1,)
    evaluations: int | None = None
    comparisons: tuple[tuple[str, str], ...] = ()
    by_task: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    proposer_lm: str | None = None
    teacher_lm: str | None = None

    def __post_init__(self) -> None:
        for name in self.tasks:
            task(name)
        for name in self.optimizers:
            optimizer_named(name)
        if not (self.tasks and self.optimizers and self.seeds):
            raise ConfigError("a suite needs at least one task, one optimizer, and one seed")
        if unknown := [name for pair in self.comparisons for name in pair if name not in self.optimizers]:
            raise ConfigError(f"a comparison names {unknown[0]!r}, which is none of the suite's optimizers")
        if strange := [name for name in self.by_task if name not in self.tasks]:
            raise ConfigError(f"settings are given for {strange[0]!r}, which is none of the suite's tasks")

    def cases(self) -> Iterator[Case]:
        """Yield the cases, seed by seed, so that an unfinished suite has whole seeds."""
        for seed, name, optimizer in product(self.seeds, self.tasks, self.optimizers):
            own = self.by_task.get(name, {})
            sizes = own.get("sizes")
            yield Case(
                task=name,
                optimizer=optimizer,
                lm=self.lm,
                seed=seed,
                evaluations=own.get("evaluations", self.evaluations),
                sizes=None if sizes is None else (int(sizes[0]), int(sizes[1]), int(sizes[2])),
                proposer_lm=self.proposer_lm,
                teacher_lm=self.teacher_lm,
            )

    def to_json(self) -> dict[str, Any]:
        """Return the suite as JSON."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Suite:
        """Read a suite back, or one that somebody wrote.

        Raises:
            ConfigError: it has a key that no suite has, or lacks one.
        """
        fields: dict[str, Callable[[Any], Any]] = {
            "tasks": lambda names: tuple(map(str, names)),
            "optimizers": lambda names: tuple(map(str, names)),
            "lm": str,
            "seeds": lambda seeds: tuple(map(int, seeds)),
            "evaluations": lambda number: None if number is None else int(number),
            "comparisons": lambda pairs: tuple((str(better), str(other)) for better, other in pairs),
            "by_task": lambda tasks: {str(name): dict(own) for name, own in tasks.items()},
            "proposer_lm": lambda name: None if name is None else str(name),
            "teacher_lm": lambda name: None if name is None else str(name),
        }
        if unknown := [key for key in data if key not in fields]:
            raise ConfigError(f"a suite has no {unknown[0]!r}; it has {', '.join(fields)}")
        if lacking := [key for key in ("tasks", "optimizers", "lm") if key not in data]:
            raise ConfigError(f"the suite lacks {lacking[0]!r}")
        try:
            return Suite(**{key: read(data[key]) for key, read in fields.items() if key in data})
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"the suite cannot be read: {error}") from error


def read_suite(path: Path) -> Suite:
    """Read a suite from a TOML or JSON file.

    Raises:
        DataError: there is no such file, or it is neither.
        ConfigError: what it declares makes no sense.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no suite: {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{path} is no suite: it holds no table of settings")
    return Suite.from_json(data)


def declare(suite: Suite, folder: Path) -> Suite:
    """Write the suite into the folder of its runs before the first of them; return what is declared there.

    Further tasks, optimizers, and seeds may join a suite; its comparisons stay those it began with.

    Raises:
        ConfigError: another suite was declared there.
    """
    file = folder / DECLARED
    if file.exists():
        known = read_suite(file)
        fixed = ("lm", "evaluations", "comparisons", "by_task", "proposer_lm", "teacher_lm")
        differs = [name for name in fixed if getattr(known, name) != getattr(suite, name)]
        if differs and not (differs == ["comparisons"] and not suite.comparisons):
            raise ConfigError(f"{folder} holds runs of a suite with another {differs[0]}; take another --out")
        suite = Suite(
            tasks=_joined(known.tasks, suite.tasks),
            optimizers=_joined(known.optimizers, suite.optimizers),
            lm=known.lm,
            seeds=_joined(known.seeds, suite.seeds),
            evaluations=known.evaluations,
            comparisons=known.comparisons,
            by_task=known.by_task,
            proposer_lm=known.proposer_lm,
            teacher_lm=known.teacher_lm,
        )
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(suite.to_json(), indent=1) + "\n", encoding="utf-8")
    return suite


def _joined(known: Sequence[T], more: Sequence[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys([*known, *more]))
