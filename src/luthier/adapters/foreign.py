"""A predictor that another framework calls: luthier gives it its prompt and notes what it did."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from luthier.lm.lm import LM
from luthier.lm.request import Completion, Usage, total_usage
from luthier.program.body import Body
from luthier.program.candidate import Prompt
from luthier.program.component import value_in
from luthier.program.context import Run
from luthier.program.predictor import Predictor
from luthier.program.render import CallSettings
from luthier.program.signature import Signature
from luthier.program.trace import Call
from luthier.program.values import value_to_json

__all__ = ["Asked", "ForeignPredictor", "asked_now", "calling"]


class ForeignPredictor(Predictor[..., Any]):
    """A predictor with a signature that was read off another framework's object.

    Args:
        signature: its fields and its original instruction; its name is the predictor's.
        original: the prompt it has before any tuning.
        function: the user's function nearest to the call, for the proposer to read.
        lm: the LM that the framework's object has of its own.
    """

    def __init__(self, signature: Signature, original: Prompt, function: FunctionType, lm: LM | None = None) -> None:
        self._function = function
        self._signature = signature
        self._takes_instance = False
        self._body = Body.OWN
        self.name = signature.name
        self.settings = CallSettings()
        self.lm = lm
        self.is_async = False
        self.__dict__["original"] = original

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __deepcopy__(self, memo: Any) -> ForeignPredictor:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: the framework's own object is what one calls.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"predictor {self.name!r} belongs to another framework: call the program, not this")

    def prompt_in(self, run: Run) -> Prompt:
        """Return its prompt of the run's candidate, or the original.

        Raises:
            CandidateError: the prompt was made for another signature.
        """
        return value_in(run.candidate, self)


@dataclass(slots=True)
class Asked:
    """What was asked of the LM during one call of a predictor."""

    predictor: ForeignPredictor
    completions: list[Completion] = field(default_factory=list)
    lm: str = ""
    """Identity of the LM that answered last."""

    @property
    def usage(self) -> Usage | None:
        """Tokens of all the calls together; None where there was none."""
        known = [completion.usage or Usage(calls=1) for completion in self.completions]
        return total_usage(known) if known else None

    @property
    def text(self) -> str:
        """What the LM answered last."""
        return self.completions[-1].text if self.completions else ""

    @property
    def finish_reason(self) -> str:
        """Why it stopped."""
        return self.completions[-1].finish_reason if self.completions else "stop"


_asked: contextvars.ContextVar[Asked | None] = contextvars.ContextVar("luthier_asked", default=None)


def asked_now() -> Asked | None:
    """Return the collector of the predictor call that runs in this context."""
    return _asked.get()


class Noted:
    """How a call ended, as the framework's object tells it."""

    __slots__ = ("outputs", "reasoning")

    def __init__(self) -> None:
        self.outputs: Mapping[str, Any] | None = None
        self.reasoning: str | None = None


@contextmanager
def calling(
    predictor: ForeignPredictor,
    inputs: Mapping[str, Any],
    run: Run,
    unreadable: Callable[[Exception], str | None],
) -> Iterator[Noted]:
    """Number a call of a predictor, collect what it asks the LM, and note how it ended.

    The block sets what the call gave. ``unreadable`` says what the LM answered where an error means that the answer
    could not be read; such a call is noted as unreadable, and the error passes.
    """
    index = run.begin(predictor)
    asked, noted = Asked(predictor), Noted()
    token = _asked.set(asked)
    note = functools.partial(_note, run, predictor, index, inputs, asked)
    try:
        yield noted
    except Exception as error:
        if unreadable(error) is not None:
            note(noted, error=str(error).strip().split("\n", 1)[0] or type(error).__name__)
        raise
    else:
        if noted.outputs is not None:
            note(noted, error=None)
    finally:
        _asked.reset(token)


def _note(
    run: Run,
    predictor: ForeignPredictor,
    index: int,
    inputs: Mapping[str, Any],
    asked: Asked,
    noted: Noted,
    *,
    error: str | None,
) -> None:
    names = {known.name for known in predictor.signature.inputs}
    run.record(
        Call(
            predictor.name,
            index,
            {name: value_to_json(value) for name, value in inputs.items() if name in names},
            None if error is not None else noted.outputs,
            None if error is not None else noted.reasoning,
            asked.text,
            asked.finish_reason,
            asked.usage,
            error=error,
            lm=asked.lm,
        )
    )
