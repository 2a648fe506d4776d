"""What travels between the driver and its workers. Ray moves it by its own serialization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from luthier.errors import UserError
from luthier.evaluation.data import Row
from luthier.evaluation.executor import Workplace
from luthier.evaluation.metrics import Judge, Metric
from luthier.evaluation.rollout import Job
from luthier.lm.lm import LM
from luthier.lm.request import Request, Usage
from luthier.program.component import Component
from luthier.program.lms import LMs
from luthier.program.program import Program
from luthier.program.signature import Signature
from luthier.types import Role


@dataclass(frozen=True, slots=True)
class Kit:
    """What workers need for all rollouts of one workplace."""

    program: Program
    metric: Metric
    lm: LM
    known: frozenset[str]
    concurrency: int

    @staticmethod
    def of(workplace: Workplace) -> Kit:
        """Return what workers need; the program's components are known by name, and are found again where it runs."""
        program = replace(workplace.program, components=())
        metric = workplace.metric
        if (judge := metric.judge_lm) is not None:
            metric = replace(metric, function=replace(cast(Judge, metric.function), lm=moved(judge)))
        return Kit(program, metric, moved(workplace.lm), workplace.known, workplace.concurrency)


@dataclass(frozen=True, slots=True)
class Task:
    """One rollout to be made. The demos of its candidate bring their images."""

    job: Job
    row: Row
    lms: LMs
    role: Role
    first: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a rollout."""

    rollout: Any
    """Without its job; None where something was raised."""
    error: Raised | None
    met: tuple[Component, ...]
    declared: tuple[Declared, ...]


@dataclass(frozen=True, slots=True)
class Declared:
    """What user code said that it used."""

    lm: LM
    usage: Usage
    role: Role


@dataclass(frozen=True, slots=True)
class Whose:
    """The predictor a call with private fields is for, so that who watches at the driver can hide them."""

    name: str
    signature: Signature
    inputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToAnswer:
    """A request to an LM."""

    lm: LM
    request: Request
    role: Role
    whose: Whose | None


@dataclass(frozen=True, slots=True)
class ToKeep:
    """The result of a function that is computed once (``lt.recorded``), by its key."""

    key: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What a rollout wants of the driver."""

    ticket: int
    rollout: int
    what: ToAnswer | ToKeep


@dataclass(frozen=True, slots=True)
class Raised:
    """An error on its way: without its causes and its traceback, which hold objects that need not travel."""

    kind: type[BaseException]
    arguments: tuple[Any, ...]
    state: dict[str, Any]

    @staticmethod
    def of(error: BaseException) -> Raised:
        """Return an error as it travels."""
        state = {name: value for name, value in vars(error).items() if not name.startswith("__")}
        return Raised(type(error), error.args, state)

    def error(self) -> BaseException:
        """Return the error, made again."""
        made = self.kind.__new__(self.kind, *self.arguments)
        made.args = self.arguments
        vars(made).update(self.state)
        return made


def moved(lm: LM) -> LM:
    """Return the LM as it travels: never with its key, and a callable or client stays where it is."""
    return lm if isinstance(lm.model, str) else lm.with_settings(model=_Elsewhere(lm)).known_as(lm.identity)


def moved_all(lms: LMs) -> LMs:
    """Return LMs as they travel; what was one LM is one there, too."""
    made = {id(lm): moved(lm) for lm in (lms.default, *lms.by_name.values())}
    named = {name: made[id(lm)] for name, lm in lms.by_name.items()}
    return LMs(made[id(lms.default)], named, lms.alone, lms.closed)


class _Elsewhere:
    """Stands for a callable that is asked where it was made."""

    def __init__(self, lm: LM) -> None:
        self.__name__ = self.__qualname__ = lm.name
        self.supports_grammar = lm.supports_grammar
        self.supports_schema = lm.supports_schema

    def __call__(self, request: Request) -> str:
        raise UserError(f"{self.__name__} is asked by the driver, not by a worker")
