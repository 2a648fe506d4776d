"""A program that returns no value is told so, before money is spent where it can be known."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest

import luthier as lt
from luthier.errors import ConfigError, DiscoveryError
from luthier.lm.doubles import ScriptedLM
from luthier.program.program import discover

Team = Literal["network", "hardware"]
ROWS = [{"message": f"{'wifi' if i % 2 else 'screen'} {i}", "team": ["hardware", "network"][i % 2]} for i in range(80)]


@lt.predictor
def team(message: str) -> Team:
    """Which team?"""
    return lt.predict()


@lt.predictor
async def ateam(message: str) -> Team:
    """Which team?"""
    return await lt.predict()


def answer(request: lt.Request) -> str:
    return "network" if "wifi" in str(request.messages[-1].content) else "hardware"


def streams(message: str) -> Iterator[str]:
    yield team(message=message)


async def astreams(message: str) -> AsyncIterator[str]:
    yield await ateam(message=message)


class Streams:
    def __call__(self, message: str) -> Iterator[str]:
        yield from team(message=message)

    def run(self, message: str) -> Iterator[str]:
        yield team(message=message)


GENERATORS: dict[str, Callable[..., Any]] = {
    "a generator": streams,
    "an async generator": astreams,
    "an instance": Streams(),
    "a method": Streams().run,
    "a partial": functools.partial(streams),
    "an async partial": functools.partial(astreams, message="a"),
}


def loops(message: str) -> Any:
    return (team(message=message) for _ in range(2))


def maps(message: str) -> Any:
    return map(str.upper, [team(message=message)])


def hands_on(message: str) -> Any:
    return streams(message)


def sync_of_async(message: str) -> Any:
    return ateam(message=message)


async def forgets_await(message: str) -> Any:
    return ateam(message=message)


async def task(message: str) -> Any:
    return asyncio.ensure_future(ateam(message=message))


async def async_items(message: str) -> Any:
    return astreams(message)


PROMISES = [loops, maps, hands_on, sync_of_async, forgets_await, task, async_items]


@pytest.fixture
def lm() -> Iterator[ScriptedLM]:
    yield ScriptedLM(answer)


def study(program: Any, lm: ScriptedLM, directory: Path, **given: Any) -> Any:
    metric = given.pop("metric", lt.exact_match("team"))
    return lt.optimize(program, ROWS, metric, lm=lt.LM(lm), auto=60, study_dir=directory, **given)


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_generator_is_refused_before_any_call(kind: str, lm: ScriptedLM, tmp_path: Path) -> None:
    program = GENERATORS[kind]
    for what in (
        lambda: lt.evaluate(program, ROWS, lt.exact_match("team"), lm=lt.LM(lm)),
        lambda: lt.check(program, ROWS, lt.exact_match("team"), lm=lt.LM(lm), study_dir=tmp_path / "c"),
        lambda: study(program, lm, tmp_path / "s"),
    ):
        with pytest.raises(DiscoveryError, match=r"yield.*return"):
            what()
    assert lm.calls == 0 and not (tmp_path / "s").exists()


@pytest.mark.parametrize("program", PROMISES, ids=lambda program: program.__name__)
def test_a_promise_of_a_value_is_none_and_ends_the_study_at_the_first(
    program: Any, lm: ScriptedLM, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"{program.__name__} returned a .*(await|yields)"):
        lt.evaluate(program, ROWS, lt.exact_match("team"), lm=lt.LM(lm), concurrency=1)
    with pytest.raises(ConfigError, match=rf"{program.__name__} returned a .*(await|yields)"):
        study(program, lm, tmp_path / "s", concurrency=1)
    assert lm.calls <= 2


def test_what_runs_a_generator_to_its_end_is_a_program_like_any_other(lm: ScriptedLM) -> None:
    def collected(fn: Callable[..., Iterator[str]]) -> Callable[..., str]:
        @functools.wraps(fn)
        def run(*args: Any, **kwargs: Any) -> str:
            return "".join(fn(*args, **kwargs))

        return run

    assert lt.evaluate(collected(streams), ROWS, lt.exact_match("team"), lm=lt.LM(lm)).mean == 1.0


@lt.predictor
def forgets_in_body(message: str) -> Team:
    """Which team?"""
    lt.predict()


@lt.predictor
async def aforgets_in_body(message: str) -> Team:
    """Which team?"""
    await lt.predict()


class Forgets:
    @lt.predictor
    def method(self, message: str) -> Team:
        """Which team?"""
        said: Team = lt.predict()
        print(said)  # noqa: T201 - what users write

    def __call__(self, message: str) -> Team:
        return self.method(message=message)


def forgets(message: str) -> Team:
    team(message=message)


async def aforgets(message: str) -> str:
    if message:
        await ateam(message=message)
        return
    return None


class ForgetsToo:
    def __call__(self, message: str) -> dict[str, str]:
        {"team": team(message=message)}


def by_body(message: str) -> Team:
    return forgets_in_body(message=message)


async def by_abody(message: str) -> Team:
    return await aforgets_in_body(message=message)


@pytest.mark.parametrize(
    ("program", "named"),
    [
        (by_body, "'forgets_in_body'"),
        (by_abody, "'aforgets_in_body'"),
        (Forgets(), "'Forgets.method'"),
        (forgets, "forgets"),
        (aforgets, "aforgets"),
        (ForgetsToo(), "ForgetsToo"),
        (functools.partial(forgets), "forgets"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_return_that_can_be_seen_to_be_missing_is_told_before_any_call(
    program: Any, named: str, lm: ScriptedLM, tmp_path: Path
) -> None:
    with pytest.raises(DiscoveryError, match=rf"{named}.*return"):
        study(program, lm, tmp_path / "s")
    with pytest.raises(DiscoveryError, match=rf"{named}.*return"):
        lt.evaluate(program, ROWS, lt.exact_match("team"), lm=lt.LM(lm))
    assert lm.calls == 0


def looks_up(message: str) -> Team:
    return {}.get(team(message=message))


def by_branch(message: str) -> str:
    said = team(message=message)
    if said == "elsewhere":
        return said
    return None


def not_annotated(message):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - the case
    team(message=message)


async def anot_annotated(message):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - the case
    await ateam(message=message)


def loses(message: str) -> Annotated[str, "the team"]:
    found: list[str] = []
    return found.append(team(message=message))  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    "program", [looks_up, by_branch, not_annotated, anot_annotated, loses], ids=lambda program: program.__name__
)
def test_a_program_that_returns_none_in_every_run_of_the_baseline_stops_there(
    program: Any, lm: ScriptedLM, tmp_path: Path
) -> None:
    result = study(program, lm, tmp_path / "s")
    found = lt.check(program, ROWS, lt.exact_match("team"), lm=lt.LM(lm), study_dir=tmp_path / "c")
    assert (result.decision, found.unmeetable) == ("unmeetable", "none")
    for sentence in (result.verdict.sentence, found.sentence):
        assert re.search(rf"{program.__name__} returned None.*team'.*return", sentence)
    assert 0 < lm.calls < 80


def optional(message: str) -> Optional[Team]:  # noqa: UP045 - the older spelling
    team(message=message)
    return None


def sometimes(message: str) -> Team:
    said = team(message=message)
    return said if message.endswith("1") else None


@pytest.mark.filterwarnings("ignore::luthier.errors.LabelWarning")
@pytest.mark.parametrize("program", [optional, sometimes], ids=lambda program: program.__name__)
def test_none_where_it_is_meant_or_now_and_then_is_a_prediction(program: Any, lm: ScriptedLM, tmp_path: Path) -> None:
    assert study(program, lm, tmp_path).decision in ("adopt", "keep", "undecided")


def test_a_metric_that_may_look_at_the_trace_alone_needs_no_return(lm: ScriptedLM, tmp_path: Path) -> None:
    def metric(example: Any, prediction: Any, trace: Any) -> bool:
        return bool(trace.calls[-1].outputs["team"] == example.team)

    assert study(not_annotated, lm, tmp_path, metric=metric)
    assert lt.evaluate(not_annotated, ROWS, metric, lm=lt.LM(lm)).mean == 1.0


def test_bodies_that_end_otherwise_are_left_alone() -> None:
    def raises(message: str) -> Team:
        team(message=message)
        raise NotImplementedError

    def jumps(message: str) -> Team | str:
        return team(message=message) and (message or None)

    def assigned(message: str) -> Team:
        said = None
        if team(message=message):
            said = "network"
        return said

    for program in (raises, jumps, assigned):
        assert discover(program).predictors == (team,)
