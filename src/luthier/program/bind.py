"""Predictors at work outside a study: ``lt.use`` for a block of code, ``lt.bind`` for services and threads."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

from luthier.program.candidate import Candidate
from luthier.program.context import Run, running
from luthier.program.lms import LMChoice, LMs, resolve
from luthier.program.program import Program, Tunable, find_program

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def use(lm: LMChoice, candidate: Candidate | None = None) -> Iterator[None]:
    """Let predictors called inside the ``with`` block ask ``lm``, with the candidate's prompts.

    ``lm`` may be a mapping by predictor's name, with ``"*"`` for all others; there is no program here to check its
    names against, as ``lt.bind`` does.

    It reaches as far as a context variable does: this thread and the tasks started in it. Threads of your own need
    ``lt.bind``.

    Raises:
        CandidateError: a predictor is called whose fields are not those its prompt was made for.
    """
    from luthier.lm.gateway import Gateway

    lms, gateway = resolve(lm, None), Gateway(lasting=True)
    try:
        with running(Run(lms.default, gateway, candidate, lms=lms, ambient=True)):
            yield
    finally:
        gateway.close()


def bind(
    program: Callable[P, R],
    *,
    lm: LMChoice | LMs,
    candidate: Candidate | None = None,
    predictors: Sequence[Tunable] | None = None,
) -> Callable[P, R]:
    """Return the program, sync or async as it is, tied to an LM and a candidate; call it from any thread or loop.

    Args:
        program: the program.
        lm: who answers: one LM, or a mapping by predictor's name with ``"*"`` for all others.
        candidate: the prompts; the original ones where left out.
        predictors: the program's predictors; found by reading it where left out.

    Raises:
        ConfigError: ``lm`` names what is no predictor of the program, or leaves one out.
        CandidateError: the candidate was made for something else; the message names the predictor and the difference.
    """
    from luthier.lm.gateway import Gateway

    found = find_program(program, predictors)
    if candidate is not None:
        found.check(candidate)
    lms, gateway = resolve(lm, found.predictors or None), Gateway(lasting=True)

    def run() -> Run:
        return Run(lms.default, gateway, candidate, lms=lms, ambient=True)

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
