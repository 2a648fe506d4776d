"""Which predictors a program has, found without running it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

import luthier as lt
from luthier.errors import CandidateError, DiscoveryError
from luthier.program.candidate import Candidate, Prompt
from luthier.program.predictor import Predictor
from luthier.program.program import code_hash, discover, program_source
from tests.program import helpers
from tests.program.helpers import OPINIONS, tidy


@lt.predictor
def first(text: str) -> str:
    """First."""
    return lt.predict()


@lt.predictor
async def later(text: str) -> str:
    """Later."""
    return lt.predict()


@lt.predictor
def own(text: str) -> str:
    """Make the call itself, by way of another predictor."""
    return first(text=lt.prompt().instruction)


class Stage:
    def __init__(self, inner: Any = None) -> None:
        self.inner = inner

    @lt.predictor
    def answer(self, text: str) -> str:
        """Answer."""
        return lt.predict()

    @lt.predictor
    def idle(self, text: str) -> str:
        """Never mentioned."""
        return lt.predict()

    def run(self, text: str) -> str:
        return self.answer(text)

    def __call__(self, text: str) -> str:
        return self.run(text)


stage = Stage()


def names(program: Callable[..., Any]) -> list[str]:
    return [predictor.name for predictor in discover(program).predictors]


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def test_globals_closures_and_inner_functions_are_followed() -> None:
    @lt.predictor
    def inside(text: str) -> str:
        """Inside."""
        return lt.predict()

    def program(text: str) -> list[str]:
        return [(lambda one: first(text=one))(inside(text=text)) for _ in range(2)]

    assert names(program) == ["first", "inside"]


def test_functions_of_other_user_modules_are_followed_but_not_the_whole_module() -> None:
    assert names(lambda text: tidy(text)) == ["rewrite"]
    assert names(lambda text: helpers.tidy(text)) == ["rewrite"]
    assert names(lambda text: helpers.rewrite(text)) == ["rewrite"]


def test_containers_and_partials_are_looked_into() -> None:
    def program(text: str) -> list[str]:
        return [opinion(text) for opinion in OPINIONS]

    def takes(stage: Any, text: str) -> Any:
        return stage(text)

    assert names(program) == ["opinion_0", "opinion_1"]
    assert names(functools.partial(takes, first)) == ["first"]


def test_decorated_functions_are_seen_through() -> None:
    @decorated
    def program(text: str) -> str:
        return first(text)

    assert names(program) == ["first"]
    assert not discover(program).is_async


def test_instances_are_followed_through_self_and_their_attributes() -> None:
    assert names(stage) == ["Stage.answer"]
    assert names(stage.run) == ["Stage.answer"]
    assert names(Stage(inner=[first])) == ["Stage.answer", "first"]
    assert names(lambda text: stage.run(text)) == ["Stage.answer"]
    assert names(lambda text: stage.answer(text)) == ["Stage.answer"]


def test_a_class_made_inside_the_program_is_looked_into() -> None:
    assert names(lambda text: Stage().run(text)) == ["Stage.answer", "Stage.idle"]


def test_a_predictor_is_a_program_too_and_its_body_is_followed() -> None:
    assert names(own) == ["first", "own"]
    assert discover(later).is_async
    assert [parameter.name for parameter in discover(later).parameters] == ["text"]


def test_predictors_given_replace_the_walk() -> None:
    assert [p.name for p in discover(lambda text: first(text), [later]).predictors] == ["later"]
    with pytest.raises(DiscoveryError, match="not decorated"):
        discover(lambda text: text, [tidy])  # type: ignore[list-item]


def test_no_predictor_is_an_error() -> None:
    with pytest.raises(DiscoveryError, match="calls no predictor"):
        discover(lambda text: len(text))


def test_two_of_one_name_are_an_error_that_says_where_they_are() -> None:
    def make() -> Predictor[[str], str]:
        @lt.predictor(name="first")
        def second(text: str) -> str:
            """Second."""
            return lt.predict()

        return second

    second = make()
    with pytest.raises(DiscoveryError, match=r"called 'first': .*test_discovery.py:\d+ and .*test_discovery.py:\d+"):
        discover(lambda text: first(second(text)))


def test_the_same_twin_made_twice_is_one_predictor() -> None:
    program = discover(first).with_components([first.named("twin"), first.named("twin")])
    assert [p.name for p in program.predictors] == ["first", "twin"]
    with pytest.raises(DiscoveryError, match="twin"):
        program.with_components([later.named("twin")])


def test_the_source_holds_the_program_and_what_it_reaches_once() -> None:
    def program(text: str) -> str:
        return tidy(first(text)) + tidy(text)

    source = program_source(discover(program))
    assert source.count("def tidy(") == source.count("def first(") == source.count("def rewrite(") == 1
    assert source.startswith("def program(")


def test_the_hash_ignores_comments_and_docstrings_but_not_code() -> None:
    def one() -> Callable[..., Any]:
        def program(text: str) -> str:
            """Say something."""
            return first(text)  # a comment

        return program

    def two() -> Callable[..., Any]:
        def program(text: str) -> str:
            return first(
                text)  # fmt: skip

        return program

    def three() -> Callable[..., Any]:
        def program(text: str) -> str:
            return first(text + " ")

        return program

    assert code_hash(one()).split(":")[0] == "b2"
    assert code_hash(one()) == code_hash(two())
    assert code_hash(two()) != code_hash(three())


def test_code_without_source_is_hashed_too() -> None:
    space: dict[str, Any] = {}
    exec("def f(x):\n    return x\ndef g(x):\n    return x + 1\n", space)
    assert code_hash(space["f"]) != code_hash(space["g"])


def test_the_original_candidate_fits_and_drift_is_named() -> None:
    program = discover(lambda text: tidy(first(text)))
    program.check(program.original)
    program.check(Candidate({"first": Prompt("Only one.")}))
    with pytest.raises(CandidateError, match="predictor 'gone'"):
        program.check(Candidate({"gone": Prompt("")}))
    with pytest.raises(
        CandidateError, match=r"'first' was made for `question: str -> first: str`, .* `text: str -> first: str`"
    ):
        program.check(Candidate({"first": Prompt("")}, {"first": "question: str -> first: str # b2:0"}))
