"""Predictors at work outside a study: ``lt.use`` for a block of code, ``lt.bind`` for services and threads."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from luthier.program.candidate import Candidate
from luthier.program.context import Run, running
from luthier.program.program import Program, Tunable, find_program

if TYPE_CHECKING:
    from luthier.lm.lm import LM

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def use(lm: LM, candidate: Candidate | None = None) -> Iterator[None]:
    """Let predictors called inside the ``with`` block ask ``lm``, with the candidate's prompts.

    It reaches as far as a context variable does: this thread and the tasks started in it. Threads of your own need
    ``lt.bind``.

    Raises:
        CandidateError: a predictor is called whose fields are not those its prompt was made for.
    """
    from luthier.lm.gateway import Gateway

    gateway = Gateway(lasting=True)
    try:
        with running(Run(lm, gateway, candidate, ambient=True)):
            yield
    finally:
        gateway.close()


def bind(
    program: Callable[P, R],
    *,
    lm: LM,
    candidate: Candidate | None = None,
    predictors: Sequence[Tunable] | None = None,
) -> Callable[P, R]:
    """Return the program, sync or async as it is, tied to an LM and a candidate; call it from any thread or loop.

    Raises:
        CandidateError: the candidate was made for something else; the message names the predictor and the difference.
    """
    from luthier.lm.gateway import Gateway

    found = find_program(program, predictors)
    if candidate is not None:
        found.check(candidate)
    gateway = Gateway(lasting=True)

    def run() -> Run:
        return Run(lm, gateway, candidate, ambient=True)

    bound = _bound_async(found, run) if found.is_async else _bound(found, run)
    return cast(Callable[P, R], bound)


def _bound(program: Program, run: Callable[[], Run]) -> Callable[..., Any]:
    @_like(program.function)
    def bound(*args: Any, **kwargs: Any) -> Any:
        with running(run()):
            return program.function(*args, **kwargs)

    return bound


def _bound_async(program: Program, run: Callable[[], Run]) -> Callable[..., Any]:
    @_like(program.function)
    async def bound(*args: Any, **kwargs: Any) -> Any:
        with running(run()):
            return await program.function(*args, **kwargs)

    return bound


def _like(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    # A program may be a partial or an instance, which have no name to copy.
    names = tuple(name for name in functools.WRAPPER_ASSIGNMENTS if hasattr(function, name))
    return functools.wraps(function, assigned=names, updated=())
