"""Classes with ``__init__`` and methods are programs like functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.evaluation.rollout import Outcome
from luthier.lm.doubles import ScriptedLM
from luthier.program.program import discover
from tests.studies import world


class Described:
    """Two stages, what they work with, and a helper of a base class."""

    def __init__(self, separator: str = " ", *, size: Any = None) -> None:
        self.separator = separator
        self.size = world.size if size is None else size

    @lt.predictor(name="parity", stop=["#parity"])
    def odd_or_even(self, number: str) -> str:
        """Say whether the number is even."""
        return lt.predict()

    def joined(self, *parts: str) -> str:
        return self.separator.join(parts)

    def stages(self, number: str) -> list[str]:
        return [self.odd_or_even(number=number), self.size(number=number)]

    def __call__(self, number: str) -> str:
        return self.joined(*self.stages(number))


class Derived(Described):
    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def stages(self, number: str) -> list[str]:
        return [str(stage) for stage in super().stages(number)]

    def run(self, number: str) -> str:
        return self.joined(*self.stages(number))

    @classmethod
    def made(cls, number: str) -> str:
        return cls().run(number)

    @staticmethod
    def plain(number: str) -> str:
        return Derived().run(number)


class Async:
    def __init__(self, separator: str) -> None:
        self._separator = separator

    @lt.predictor(name="parity", stop=["#parity"])
    async def odd_or_even(self, number: str) -> str:
        """Say whether the number is even."""
        return await lt.predict()

    async def size(self, number: str) -> str:
        return await acheck_size(number=number)

    async def __call__(self, number: str) -> str:
        return f"{await self.odd_or_even(number=number)}{self._separator}{await self.size(number)}"


@lt.predictor(name="size", stop=["#size"])
async def acheck_size(number: str) -> str:
    """Say whether the number is small."""
    return await lt.predict()


class Slotted:
    __slots__ = ("program",)

    def __init__(self, program: Callable[..., str]) -> None:
        self.program = program

    def __call__(self, number: str) -> str:
        return self.program(number=number)


PROGRAMS: dict[str, Callable[..., Any]] = {
    "an instance": Described(),
    "a bound method": Derived().run,
    "an instance of a derived class": Derived(),
    "a class method": Derived.made,
    "a static method": Derived.plain,
    "an async instance": Async(" "),
    "an instance that holds another": Slotted(Described()),
    "a method of an instance that holds another": Slotted(Derived().run).__call__,
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_the_predictors_of_a_class_are_found_and_answer(kind: str) -> None:
    lm = lt.LM(ScriptedLM(world.answer))
    names = [predictor.name for predictor in discover(PROGRAMS[kind]).predictors]
    assert set(names) == {"parity", "size"}
    found = lt.evaluate(PROGRAMS[kind], world.rows(6), lt.exact_match("answer"), lm=lm)
    assert found.count(Outcome.SCORED) == 6 and found.usage.calls == 12


def test_a_class_is_tuned_resumed_and_bound_with_its_prompts(tmp_path: Path) -> None:
    lm = lt.LM(ScriptedLM(world.answer))
    arguments: dict[str, Any] = {"lm": lm, "study_dir": tmp_path, "auto": "light"}
    result = lt.optimize(Described(), world.rows(100), lt.exact_match("answer"), **arguments)
    assert result.decision == "adopt"
    again = lt.optimize(Described(), world.rows(100), lt.exact_match("answer"), **arguments)
    assert again.verdict == result.verdict
    bound = lt.bind(Described("-"), lm=lm, candidate=result.candidate)
    assert "-" in bound(number="7")


def test_two_instances_tune_apart_what_they_name_apart() -> None:
    first, second = Described(), Described(size=world.size.named("other_size"))

    def both(number: str) -> str:
        return first(number) + second(number)

    assert [predictor.name for predictor in discover(both).predictors] == ["other_size", "parity", "size"]
