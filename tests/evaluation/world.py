"""An evaluator on a scripted LM; the programs say whether a number is even."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import luthier as lt
from luthier.budget import Ledger
from luthier.evaluation.data import Row, load_rows, parameters_of
from luthier.evaluation.evaluator import Evaluator
from luthier.evaluation.rollout import Job, Rollout
from luthier.lm.doubles import ScriptedLM
from luthier.lm.gateway import Gateway, RetryPolicy
from luthier.lm.request import Completion, Request
from luthier.lm.store import Store
from luthier.program.program import discover


@lt.predictor
def kind(number: str) -> Literal["even", "odd"]:
    """Say whether the number is even."""
    return lt.predict()


@lt.predictor
async def akind(number: str) -> Literal["even", "odd"]:
    """Say whether the number is even."""
    return await lt.predict()


def program(number: str) -> str:
    return kind(number=number)


async def aprogram(number: str) -> str:
    return await akind(number=number)


TRUTH = {0: "even", 1: "odd"}


DATA = [{"number": str(i), "answer": TRUTH[i % 2]} for i in range(10)]


def asked(request: Request) -> int:
    return int(request.messages[-1].text.split()[-1])


def right(request: Request) -> str:
    return TRUTH[asked(request) % 2]


class World:
    """An evaluator on a scripted LM."""

    def __init__(
        self,
        function: Callable[..., Any] = program,
        metric: Any = lt.exact_match,
        answer: Callable[[Request], Completion | str] = right,
        *,
        data: Any = DATA,
        concurrency: int = 4,
        ledger: Ledger | None = None,
        latency: float = 0.0,
        lm: lt.LM | None = None,
        store: Store | None = None,
    ) -> None:
        self.double = ScriptedLM(answer, latency=latency)
        self.lm = lt.LM(self.double) if lm is None else lm
        self.program = discover(function)
        self.rows: list[Row] = load_rows(data, parameters_of(self.program))
        self.gateway = Gateway(store=store, ledger=ledger, retry=RetryPolicy(first=0.01, give_up_after=0.05))
        self.seen: list[Rollout] = []
        self.evaluator = Evaluator(
            self.program,
            metric,
            {row.id: row for row in self.rows},
            self.lm,
            self.gateway,
            concurrency=concurrency,
            on_rollout=self.seen.append,
        )

    def jobs(self, repeat: int = 0) -> list[Job]:
        return [Job(self.program.original, row.id, repeat) for row in self.rows]

    def run(self) -> list[Rollout]:
        try:
            return asyncio.run(self.evaluator.rollouts(self.jobs()))
        finally:
            self.gateway.close()


def outcomes(rollouts: list[Rollout]) -> list[str]:
    return [rollout.outcome.value for rollout in rollouts]
