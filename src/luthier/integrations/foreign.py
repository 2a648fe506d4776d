"""A predictor that another framework calls: luthier gives it its prompt and notes what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType
from typing import Any

from luthier.lm.lm import LM
from luthier.lm.request import Completion
from luthier.program.answer_problems import WRAPPED, problems_of
from luthier.program.body import Body
from luthier.program.call import PendingCall, pending_call
from luthier.program.candidate import Prompt
from luthier.program.component import value_in
from luthier.program.context import Run
from luthier.program.predictor import Predictor
from luthier.program.render import CallSettings
from luthier.program.signature import Signature
from luthier.program.trace import Call
from luthier.program.values import value_to_json

__all__ = ["NO_SOURCE", "ForeignPredictor", "Noted", "calling"]


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

    @property
    def makes_own_call(self) -> bool:
        """No: its framework makes the call, by way of luthier."""
        return False

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


def _no_source() -> None: ...


NO_SOURCE = FunctionType(_no_source.__code__.replace(co_filename="<another framework>"), {"__name__": __name__})
"""The function of a predictor that no function of the user's stands for: no proposer reads its source."""


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
    """Number a call of a predictor, collect what it asks LMs, and note how it ended.

    The block sets what the call gave. ``unreadable`` says what the LM answered where an error means that the answer
    could not be read; such a call is noted as unreadable, and the error passes.
    """
    noted = Noted()
    call = PendingCall(predictor, inputs, run, run.begin(predictor))
    token = pending_call.set(call)
    recorded = False
    try:
        yield noted
        recorded = noted.outputs is not None
        if recorded:
            _record(call, noted, None)
    except Exception as error:
        said = unreadable(error)
        if said is not None:
            recorded = True
            _record(call, noted, str(error).strip().split("\n", 1)[0] or type(error).__name__)
        raise
    finally:
        pending_call.reset(token)
        for lm, usage in call.by_lm.items() if not recorded else ():
            run.note_outside(lm, usage)


def _record(call: PendingCall, noted: Noted, error: str | None) -> None:
    signature, by_lm, usage = call.predictor.signature, call.by_lm, call.usage
    lm, last = call.own[-1] if call.own else (None, Completion(""))
    names = {known.name for known in signature.inputs}
    # How an answer is dressed is the framework's business.
    wrong = () if lm is None else tuple(kind for kind in problems_of(last, signature, lm) if kind != WRAPPED)
    call.run.record(
        Call(
            call.predictor.name,
            call.index,
            {name: value_to_json(value) for name, value in call.inputs.items() if name in names},
            None if error is not None else noted.outputs,
            None if error is not None else noted.reasoning,
            last.text,
            last.finish_reason,
            usage,
            error=error,
            badly=wrong,
            lm="" if lm is None else lm.identity,
            by_lm=by_lm if len(by_lm) > 1 else {},
            unmetered=usage is None or call.unseen,
        )
    )
