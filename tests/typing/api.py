"""The public API as a user's strict type checker sees it. Checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, assert_type

import luthier as lt

Species = Literal["setosa", "versicolor", "virginica"]


@dataclass
class Verse:
    """A structured output."""

    title: str
    lines: list[str]


@lt.predictor
def species(petal: Annotated[str, "length x width in cm"]) -> Species:
    """Name the species."""
    return lt.predict()


@lt.predictor(reasoning=True, max_tokens=400, temperature=0.7)
def verse(topic: str, lines: int = 4) -> Verse:
    """Write a verse."""
    return lt.predict()


@lt.predictor(output="answer")
async def lookup(question: str) -> str:
    """Answer shortly."""
    return lt.predict()


@lt.predictor
def own(question: str) -> str:
    """Answer with the user's own client."""
    current = lt.prompt()
    assert_type(current.instruction, str)
    return "".join(turn["content"] for turn in current.messages(question=question))


class Desk:
    """Predictors may be methods."""

    @lt.predictor
    def urgency(self, ticket: str) -> int:
        """Judge from 1 to 5."""
        return lt.predict()


opinion = species.named("opinion", lm="openai/gpt-4.1")
assert_type(opinion.lm, lt.LM | None)


def later(small: lt.LM, strong: lt.LM, deployed: lt.Candidate) -> None:
    """Several LMs, tuning again, comparing, and checking."""
    lms = {"*": small, "species": strong}
    assert_type(lt.bind(program, lm=lms)("1 x 2"), Species)
    with lt.use({"*": "openai/gpt-4.1-mini"}):
        program("1 x 2")
    metric = lt.exact_match("species")
    result = lt.optimize(program, "data.jsonl", metric, lm=lms, start=[deployed, "prompts/", "original"], anyway=True)
    assert_type(result.stopped, bool)
    assert_type(result.program("1 x 2"), Species)
    found = lt.compare(program, "data.jsonl", metric, lms={"a": small, "b": lms}, candidates={"new": deployed})
    assert_type(found.differences[0].low, float)
    checked = lt.check(program, "data.jsonl", metric, lm=lms, strong_lm=strong, budget=lt.Budget(lm_calls=100))
    assert_type(checked.sentence, str)


def program(petal: str) -> Species:
    """Run one stage."""
    return species(petal=petal)


async def aprogram(question: str) -> str:
    """Run one async stage."""
    return await lookup(question=question)


def metric(example: Mapping[str, Any], prediction: Species) -> bool:
    """Say whether it is right."""
    return bool(prediction == example["species"])


def feedback(example: Mapping[str, Any], prediction: str, trace: Any) -> lt.Score:
    """Say what was wrong."""
    return lt.Score(0.5, feedback="almost", measures={"length": float(len(prediction))})


def predictors_are_typed_by_their_signatures() -> None:
    """A call has the type of the function's result."""
    assert_type(species(petal="4.7 x 1.4"), Species)
    assert_type(verse(topic="rain").lines, list[str])
    assert_type(Desk().urgency(ticket="now!"), int)
    assert_type(species.named("second", temperature=0.7)(petal="4.7 x 1.4"), Species)
    assert_type(species.name, str)


async def async_predictors_are_awaited() -> None:
    """An async predictor gives an awaitable."""
    assert_type(await lookup(question="Why?"), str)


def language_models() -> lt.LM:
    """Every way to name one."""
    lt.LM("openai/gpt-4.1-mini", temperature=0.0, price=lt.Price(input=0.4, output=1.6, cached_input=0.1))
    lt.LM("my-model", base_url="http://localhost:8000/v1", api_key="none", max_in_flight=8, rpm=60, tpm=10_000)
    lt.LM("local/qwen2.5-coder-0.5b", slots=2)
    return lt.LM(answer)


def answer(request: lt.Request) -> lt.Completion:
    """Be an LM."""
    return lt.Completion("setosa")


def evaluating(lm: lt.LM, candidate: lt.Candidate) -> None:
    """Score a program on data in memory or on disk."""
    rows = [{"petal": "4.7 x 1.4", "species": "versicolor"}]
    evaluation = lt.evaluate(program, rows, metric, lm=lm, candidate=candidate, concurrency=8, repeats=2)
    assert_type(evaluation, lt.Evaluation)
    assert_type(evaluation.mean, float)
    lt.evaluate(program, "flowers.jsonl", lt.exact_match("species"), lm=lm, budget=lt.Budget(lm_calls=100))


def tuning(lm: lt.LM) -> None:
    """Tune, read the verdict, save, load, deploy."""
    result = lt.optimize(program, "flowers.jsonl", metric, lm=lm, auto="light", budget=lt.Budget(usd=2.0, seconds=600))
    assert_type(result.decision, Literal["adopt", "keep", "undecided", "unmeetable"])
    assert_type(result.program("4.7 x 1.4"), Species)
    assert_type(result.verdict.sentence, str)
    result.candidate.save("prompts")
    tuned = lt.bind(program, lm=lm, candidate=lt.Candidate.load("prompts"))
    assert_type(tuned("4.7 x 1.4"), Species)
    with lt.use(lm, result.best):
        assert_type(program("4.7 x 1.4"), Species)


async def tuning_async(lm: lt.LM, listener: Callable[[Mapping[str, Any]], None]) -> None:
    """Do the same on the caller's loop."""
    splits = lt.Splits(train="train.jsonl", val="val.jsonl", test="test.jsonl")
    result = await lt.aoptimize(
        aprogram, splits, feedback, lm=lm, proposer_lm=lm, teacher_lm=lm, optimizer=lt.MIPRO(), on_event=listener
    )
    assert_type(await result.program("Why?"), str)
    assert_type((await lt.aevaluate(aprogram, splits.test, feedback, lm=lm)).n, int)
