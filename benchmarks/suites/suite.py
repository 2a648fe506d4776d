"""A suite: cases of (task, optimizer, LM, seed, budget), and the comparisons that are declared before they are run."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.suites.files import DECLARED, RESULTS, write_json
from benchmarks.tasks.registry import task
from benchmarks.tasks.task import PAPER
from luthier.errors import ConfigError, DataError
from luthier.optimizers.registry import optimizer_named
from luthier.runner.config import check_auto
from luthier.types import Endpoint

T = TypeVar("T")

BY_TASK = ("evaluations", "sizes", "candidates", "temperature")
"""What can differ by task."""


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
    candidates: int | None = None
    """N; None: what the optimizer takes by itself."""
    temperature: float | None = None
    """Of the LM that runs the programs; None: its own."""
    endpoint: str | None = None
    """The same: where it takes requests."""

    @property
    def slug(self) -> str:
        """A name for files."""
        return re.sub(r"[^\w.+-]+", "-", f"{self.task}/{self.optimizer}/{self.seed}")

    def to_json(self) -> dict[str, Any]:
        """Return the case as JSON."""
        return {**asdict(self), "sizes": None if self.sizes is None else list(self.sizes)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Case:
        """Read a case back; settings that a result's file does not name were not given."""
        sizes = data.get("sizes")
        return Case(**{**data, "sizes": None if sizes is None else tuple(sizes)})


@dataclass(frozen=True, slots=True)
class Suite:
    """Cases to run one after the other.

    An optimizer with the paper's settings (``mipro/paper``) runs on a task of the paper with the paper's budget, N, and
    temperature, where the suite does not say otherwise.

    Args:
        tasks: names of tasks.
        optimizers: names of optimizers.
        lm: runs the programs.
        seeds: each is a split and a search of its own.
        evaluations: program runs of each search.
        comparisons: pairs of optimizers, the first claimed to be better: Holm's correction is over these.
        by_task: settings that differ for a task: those of `BY_TASK`.
        proposer_lm: writes instructions; None: ``lm``.
        teacher_lm: makes demos; None: ``lm``.
        candidates: N, for the optimizers that have one.
        temperature: of the LM that runs the programs.
        endpoint: where that LM takes requests, ``chat`` or ``completions``.

    Raises:
        ConfigError: a name is unknown, a setting is out of range, nothing is left to run, or a comparison is unfair.
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
    candidates: int | None = None
    temperature: float | None = None
    endpoint: str | None = None

    def __post_init__(self) -> None:
        for name in self.tasks:
            task(name)
        for name in self.optimizers:
            optimizer_named(name)
        if not (self.tasks and self.optimizers and self.seeds):
            raise ConfigError("a suite needs at least one task, one optimizer, and one seed")
        if strange_seeds := [seed for seed in self.seeds if not _is_whole(seed, 0)]:
            raise ConfigError(f"seeds: {strange_seeds[0]!r} is no whole number from 0 on")
        if strange := [name for name in self.by_task if name not in self.tasks]:
            raise ConfigError(f"settings are given for {strange[0]!r}, which is none of the suite's tasks")
        _check_settings("", {name: getattr(self, name) for name in BY_TASK if name != "sizes"})
        for name, own in self.by_task.items():
            _check_settings(f"by_task.{name}: ", own)
        if self.endpoint is not None and self.endpoint not in set(Endpoint):
            raise ConfigError(f"endpoint = {self.endpoint!r}: must be one of {', '.join(Endpoint)}")
        given = [self.candidates, *(own.get("candidates") for own in self.by_task.values())]
        if any(given) and not any(map(_has_candidates, self.optimizers)):
            raise ConfigError(f"candidates: none of {', '.join(self.optimizers)} has an N to set")
        self._check_evaluations()
        self._check_comparisons()

    def _check_evaluations(self) -> None:
        """Refuse searches that cannot score even one candidate beside the original."""
        for name, optimizer in product(self.tasks, self.optimizers):
            case = self._case(self.seeds[0], name, optimizer)
            train, val, _ = case.sizes or task(name).sizes
            try:
                check_auto(case.evaluations, optimizer_named(optimizer), train, val)
            except ConfigError as error:
                raise ConfigError(f"{optimizer} on {name}: {error}; give more evaluations, or smaller sizes") from error

    def _check_comparisons(self) -> None:
        """Refuse to claim anything of what is not run, or of optimizers one of which the paper's settings give more."""
        if unknown := [name for pair in self.comparisons for name in pair if name not in self.optimizers]:
            raise ConfigError(f"a comparison names {unknown[0]!r}, which is none of the suite's optimizers")
        if alike := [first for first, second in self.comparisons if first == second]:
            raise ConfigError(f"a comparison names {alike[0]!r} twice; it is between two optimizers")
        for name, (first, second) in product(self.tasks, self.comparisons):
            a, b = (self._case(self.seeds[0], name, optimizer) for optimizer in (first, second))
            if differs := [each for each in ("evaluations", "temperature") if getattr(a, each) != getattr(b, each)]:
                what = " and ".join(differs)
                raise ConfigError(
                    f"{first!r} and {second!r} cannot be compared on {name!r}: only one of them takes the paper's "
                    f"{what}; give {what}, which then hold for both"
                )

    def cases(self) -> Iterator[Case]:
        """Yield the cases, each once, seed by seed, so that an unfinished suite has whole seeds."""
        for seed, name, optimizer in dict.fromkeys(product(self.seeds, self.tasks, self.optimizers)):
            yield self._case(seed, name, optimizer)

    def _case(self, seed: int, name: str, optimizer: str) -> Case:
        of, own = task(name), self.by_task.get(name, {})
        sizes = own.get("sizes")
        evaluations, candidates, temperature = (
            own.get(each, getattr(self, each)) for each in ("evaluations", "candidates", "temperature")
        )
        candidates = candidates if _has_candidates(optimizer) else None
        if of.paper is not None and optimizer.endswith(PAPER):
            train, val, _ = sizes or of.sizes
            evaluations = of.paper.full_evaluations * (train + val) if evaluations is None else evaluations
            candidates = of.paper.candidates(optimizer) if candidates is None else candidates
            temperature = of.paper.temperature if temperature is None else temperature
        return Case(
            task=name,
            optimizer=optimizer,
            lm=self.lm,
            seed=seed,
            evaluations=evaluations,
            sizes=None if sizes is None else (sizes[0], sizes[1], sizes[2]),
            proposer_lm=self.proposer_lm,
            teacher_lm=self.teacher_lm,
            candidates=candidates,
            temperature=temperature,
            endpoint=self.endpoint,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the suite as JSON."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Suite:
        """Read a suite back, or one that somebody wrote.

        Raises:
            ConfigError: it has a key that no suite has, lacks one, or has something of another kind there.
        """
        readers: dict[str, Callable[[Any], Any]] = {
            "tasks": _names,
            "optimizers": _names,
            "lm": _name,
            "seeds": _listed,
            "evaluations": lambda number: number,
            "comparisons": lambda pairs: tuple(map(_pair, _listed(pairs))),
            "by_task": _tables,
            "proposer_lm": lambda name: None if name is None else _name(name),
            "teacher_lm": lambda name: None if name is None else _name(name),
            "candidates": lambda number: number,
            "temperature": lambda number: number,
            "endpoint": lambda name: None if name is None else _name(name),
        }
        if unknown := [key for key in data if key not in readers]:
            raise ConfigError(f"a suite has no {unknown[0]!r}; it has {', '.join(readers)}")
        if lacking := [key for key in ("tasks", "optimizers", "lm") if key not in data]:
            raise ConfigError(f"the suite lacks {lacking[0]!r}")
        found: dict[str, Any] = {}
        for key, read in readers.items():
            try:
                found |= {key: read(data[key])} if key in data else {}
            except TypeError as error:
                raise ConfigError(f"the suite's {key} cannot be read: {error}") from error
        return Suite(**found)


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
        ConfigError: another suite was declared there, or comparisons come after results.
    """
    file = folder / DECLARED
    if file.exists():
        suite = _join(read_suite(file), suite, folder)
    elif suite.comparisons and any((folder / RESULTS).glob("*.json")):
        raise ConfigError(
            f"{folder} has results already, and no {DECLARED}: comparisons are declared before the first run; leave "
            "them out, or take another --out"
        )
    write_json(file, suite.to_json())
    return suite


def _join(known: Suite, more: Suite, folder: Path) -> Suite:
    """Return both suites as one.

    Raises:
        ConfigError: they differ in what holds for all cases, or for a task that both have.
    """
    for name in (each.name for each in fields(Suite) if each.name not in ("tasks", "optimizers", "seeds", "by_task")):
        was, is_ = getattr(known, name), getattr(more, name)
        if was != is_ and not (name == "comparisons" and not is_):
            raise _differing(folder, name, was, is_)
    for name in set(known.tasks) & set(more.tasks):
        settings_were, settings_are = (each.to_json()["by_task"].get(name, {}) for each in (known, more))
        for setting in BY_TASK:
            was, is_ = settings_were.get(setting), settings_are.get(setting)
            if was != is_:
                raise _differing(folder, f"{setting} of {name}", was, is_)
    return replace(
        known,
        tasks=_joined(known.tasks, more.tasks),
        optimizers=_joined(known.optimizers, more.optimizers),
        seeds=_joined(known.seeds, more.seeds),
        by_task={**more.by_task, **known.by_task},
    )


def _differing(folder: Path, what: str, was: object, is_: object) -> ConfigError:
    told = ("none" if value is None else repr(value) for value in (was, is_))
    return ConfigError(
        "{} holds runs of a suite with another {}: {} there, {} here; take another --out".format(folder, what, *told)
    )


def _check_settings(where: str, given: Mapping[str, Any]) -> None:
    if unknown := [name for name in given if name not in BY_TASK]:
        raise ConfigError(f"{where}there is no setting {unknown[0]!r}; there are {', '.join(BY_TASK)}")
    for name, value in given.items():
        match name:
            case "evaluations":
                good, needed = _is_whole(value, 1), "a whole number, at least 1,"
            case "candidates":
                good, needed = _is_whole(value, 2), "a whole number, at least 2 with the original,"
            case "temperature":
                good, needed = type(value) in (int, float) and 0 <= value < math.inf, "a number, at least 0,"
            case _:
                good = isinstance(value, list | tuple) and len(value) == 3 and all(_is_whole(n, 1) for n in value)
                needed = "three whole numbers, at least 1 each, train, val, and test,"
        if value is not None and not good:
            raise ConfigError(f"{where}{name} = {value!r}: {needed} must be given, or nothing")


def _is_whole(value: object, least: int) -> bool:
    return type(value) is int and value >= least


def _has_candidates(optimizer: str) -> bool:
    made: Any = optimizer_named(optimizer)
    return any(each.name == "candidates" for each in fields(made))


def _listed(value: object) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} is no list; write {json.dumps([value])}")
    return tuple(value)


def _names(value: object) -> tuple[str, ...]:
    return tuple(map(_name, _listed(value)))


def _pair(value: object) -> tuple[str, str]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise TypeError(f'{value!r} is no pair of optimizers; write [["mipro", "mipro0"]]')
    better, other = _names(value)
    return better, other


def _tables(value: object) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping) or not all(isinstance(own, Mapping) for own in value.values()):
        raise TypeError(f"{value!r} is no table of settings by task; write a section [by_task.NAME]")
    return {str(name): dict(own) for name, own in value.items()}


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no name")
    return value


def _joined(known: Sequence[T], more: Sequence[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys([*known, *more]))
