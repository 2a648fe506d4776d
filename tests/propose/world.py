"""A small world for proposals: a two-stage program over petals, a teacher and a proposer that follow functions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from luthier.evaluation.data import Example, Row
from luthier.evaluation.rollout import Job, Outcome, Rollout, Score
from luthier.lm.lm import LM
from luthier.lm.request import Completion, Request
from luthier.program.candidate import Candidate, Kind, Prompt
from luthier.program.signature import Field, Private, Signature
from luthier.program.text import Guard
from luthier.program.trace import Call, Trace
from luthier.propose.proposer import Proposer
from luthier.types import Role

if TYPE_CHECKING:
    from luthier.evaluation.evaluator import Evaluator
    from luthier.program.program import Program

Sizes = Literal["small", "medium", "large"]
Species = Literal["setosa", "versicolor", "virginica"]
SPECIES = ("setosa", "versicolor", "virginica")
SIZES = ("small", "medium", "large")

SIZE = Signature(
    "petal_size",
    "Say how large the petal is.",
    (Field("petal", str), Field("owner", str, private=True)),
    (Field("size", Sizes, choices=SIZES),),
)
KIND = Signature(
    "species",
    "Name the species of the iris.",
    (Field("size", str), Field("petal", str, "length x width")),
    (Field("species", Species, choices=SPECIES),),
)

Run = Callable[[Row, Job], list[Call]]


def classify(petal: str, owner: Annotated[str, Private] = "") -> str:
    """Stand in for the program's function; it is never run."""
    return petal + owner


def program(*signatures: Signature) -> Program:
    """Return a program of these predictors."""
    bare = {"kind": Kind.PROMPT, "tools": (), "guard": Guard()}
    predictors = tuple(SimpleNamespace(name=s.name, signature=s, **bare) for s in signatures or (SIZE, KIND))
    original = Candidate({p.name: Prompt(p.signature.instruction) for p in predictors})
    given = {"predictors": predictors, "texts": (), "function": classify, "name": "tests:classify"}
    return cast("Program", SimpleNamespace(**given, original=original))


def rows(n: int) -> list[Row]:
    """Return n petals of three species in turn, each with an owner who must stay unknown."""
    made = []
    for i in range(n):
        inputs = {"petal": f"{i}.5 x 0.{i}", "owner": f"Secret Owner Number {i}"}
        labels = {"species": SPECIES[i % 3]}
        made.append(Row(f"row{i}", Example({**inputs, **labels}, ["species"]), inputs, labels, SPECIES[i % 3]))
    return made


def call(predictor: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any] | None, index: int = 0) -> Call:
    """Return a call as a trace has it."""
    error = None if outputs is not None else "unreadable"
    return Call(predictor, index, inputs, outputs, None, "text", "stop", None, error)


def knows(*known: str) -> Run:
    """Return a teacher that answers rightly for these species, and the first of them for the others."""

    def run(row: Row, job: Job) -> list[Call]:
        del job
        truth = row.stratum
        answer = truth if truth in known else (known or ("nothing",))[0]
        size = SIZES[SPECIES.index(truth)]
        return [
            call("petal_size", row.inputs, {"size": size}),
            call("species", {"size": size, "petal": row.inputs["petal"]}, {"species": answer}),
        ]

    return run


class FakeEvaluator:
    """Rolls out by a function from row and job to calls; the last call's answer is the prediction."""

    def __init__(self, data: Sequence[Row], run: Run, of: Program | None = None) -> None:
        self.rows = {row.id: row for row in data}
        self.program = of if of is not None else program()
        self.jobs: list[Job] = []
        self.batches: list[int] = []
        self.lost: Counter[str] = Counter()
        """How often infrastructure takes a rollout of an example."""
        self._run = run

    async def rollouts(self, jobs: Sequence[Job], *, lm: LM | None = None, role: Role = Role.TASK) -> list[Rollout]:
        """Return a rollout for each job, in order."""
        assert lm is not None and role is Role.TEACHER
        await asyncio.sleep(0)
        self.jobs.extend(jobs)
        self.batches.append(len(jobs))
        return [self._rollout(job) for job in jobs]

    def _rollout(self, job: Job) -> Rollout:
        if self.lost[job.example] > 0:
            self.lost[job.example] -= 1
            return Rollout(job, Outcome.UNSCORED, None, None, Trace([]), error="Unreachable")
        row = self.rows[job.example]
        calls = self._run(row, job)
        last = calls[-1].outputs
        if last is None:
            return Rollout(job, Outcome.UNPARSEABLE, Score(0.0), None, Trace(calls))
        right = last.get("species") == row.labels["species"]
        return Rollout(job, Outcome.SCORED, Score(float(right)), last, Trace(calls))


def evaluator(data: Sequence[Row], run: Run, of: Program | None = None) -> tuple[Evaluator, FakeEvaluator]:
    """Return an evaluator, and the same again as what it is."""
    fake = FakeEvaluator(data, run, of)
    return cast("Evaluator", fake), fake


def teacher() -> LM:
    """Return an LM that is never asked: the evaluator is a double."""
    return LM(lambda request: "")


def original(of: Program | None = None) -> Candidate:
    """Return the prompts as they are written in the program."""
    return Candidate({p.name: Prompt(p.signature.instruction) for p in (of or program()).predictors})


@dataclass
class FakeGateway:
    """Completes requests by a function; keeps them."""

    answer: Callable[[Request], str | Completion]
    delays: Callable[[Request], float] = lambda request: 0.0
    requests: list[Request] = field(default_factory=list)

    async def complete(self, lm: LM, request: Request, role: Role) -> Completion:
        """Return the function's answer."""
        assert role is Role.PROPOSER
        self.requests.append(request)
        await asyncio.sleep(self.delays(request))
        answer = self.answer(request)
        return Completion(answer) if isinstance(answer, str) else answer

    @property
    def texts(self) -> list[str]:
        """What was asked."""
        return [request.messages[0].text for request in self.requests]


def proposer(answer: Callable[[Request], str | Completion], **options: Any) -> tuple[Proposer, FakeGateway]:
    """Return a proposer that answers by a function, and the gateway that saw its requests."""
    gateway = FakeGateway(answer, **options)
    return Proposer(cast(Any, gateway), teacher()), gateway
