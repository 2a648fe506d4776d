"""DSPy's engine seam, led through luthier's gateway: metered, stored, joined, retried, and budgeted there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import dspy

from luthier.errors import ConfigError
from luthier.integrations.dspy.client import DspyClient, without_connection
from luthier.integrations.dspy.wire import hotter, to_request, to_response
from luthier.integrations.foreign import ForeignPredictor
from luthier.lm.lm import LM
from luthier.lm.request import Completion, Request
from luthier.program.call import note_own, pending_call
from luthier.program.context import Run, current_run

RUN = "luthier_run"
"""Among DSPy's settings: the run. DSPy hands its settings on to threads it starts, but not other context variables."""

_SAMPLING = ("temperature", "max_tokens", "top_p")
_PARAMETERS = frozenset(
    {"response_format", "tools", "tool_choice", "temperature", "max_tokens", "top_p", "stop", "seed"}
)


def run_here() -> Run | None:
    """Return the run of this context, in threads that DSPy started, too."""
    return current_run() or dspy.settings.get(RUN)


def routed(lm: Any, own: LM | None) -> Any:
    """Return a ``dspy.LM`` that is like ``lm`` to DSPy, and asks luthier's gateway.

    Args:
        lm: a DSPy LM, or an ``lt.LM``.
        own: who answers; None: the run's LM, be it the task's or the teacher's.
    """
    engine, async_engine = GatewayEngine(lm, own), AsyncGatewayEngine(lm, own)
    if isinstance(lm, LM):
        return dspy.LM(lm.name, cache=False, num_retries=0, engine=engine, async_engine=async_engine)
    made = dspy.LM(lm.model, cache=False, num_retries=0, engine=engine, async_engine=async_engine)
    made.model_type = lm.model_type if lm.model_type != "text" else "chat"
    made.kwargs = without_connection(lm.kwargs)
    made.callbacks = list(lm.callbacks or [])
    made.use_developer_role = getattr(lm, "use_developer_role", False)
    return made


@dataclass(frozen=True, slots=True)
class _Question:
    run: Run
    lm: LM
    request: Request


class GatewayEngine:
    """Answers DSPy's requests in the current run.

    Args:
        like: whose capabilities DSPy's adapters are told.
        own: who answers; None: the run's LM.
    """

    def __init__(self, like: Any, own: LM | None) -> None:
        self._like = like
        self._own = own
        ours = isinstance(like, LM)
        self.supports_function_calling = True if ours else bool(like.supports_function_calling)
        self.supports_reasoning = False if ours else bool(like.supports_reasoning)
        self.supports_response_schema = like.supports_schema if ours else bool(like.supports_response_schema)
        self.supported_params = _PARAMETERS if ours else frozenset(like.supported_params)

    def complete(self, request: Any) -> Any:
        """Return the response, blocking this thread.

        Raises:
            LMError, BudgetExhausted, StudyPaused: as the gateway does.
            ConfigError: there is no run.
        """
        question = self._question(request)
        with question.run.asking():
            completion = question.run.gateway.complete_blocking(question.lm, question.request, question.run.role)
        return _answer(completion, request.model, question)

    def _question(self, request: Any) -> _Question:
        run = run_here()
        if run is None:
            raise ConfigError("this DSPy LM answers only inside a luthier study")
        asking = _predictor(run)
        lm = (self._own or run.lm) if asking is None else run.lm_of(asking)
        whole = isinstance(lm.model, DspyClient)
        request = hotter(self._sampled_as(request, lm), None if lm.temperature is None else run.temperature)
        asked = to_request(request, whole=whole)
        temperature = asked.temperature if asked.temperature is not None else (1.0 if whole else lm.temperature)

        def number() -> int:
            return run.sample("" if asking is None else asking.name, lambda: asked.key(lm.identity))

        if temperature == 0 and not run.bypass_cache:
            return _Question(run, lm, replace(asked, draw=number))
        return _Question(run, lm, replace(asked, sample=number()))

    def _sampled_as(self, request: Any, lm: LM) -> Any:
        """Return the request with the sampling settings of who answers, where the program itself set none."""
        if isinstance(lm.model, DspyClient) and lm.model.theirs is self._like:
            return request
        own, config = {} if isinstance(self._like, LM) else self._like.kwargs, request.config
        # What another LM has set; luthier's fills in what is left out.
        other = lm.model.theirs.kwargs if isinstance(lm.model, DspyClient) else {}
        changes = {name: other.get(name) for name in _SAMPLING if getattr(config, name) == own.get(name)}
        return replace(request, config=replace(config, **changes))


class AsyncGatewayEngine(GatewayEngine):
    """Does the same for programs that are awaited."""

    async def complete(self, request: Any) -> Any:
        """Return the response.

        Raises:
            LMError, BudgetExhausted, StudyPaused: as the gateway does.
            ConfigError: there is no run.
        """
        question = self._question(request)
        with question.run.asking():
            completion = await question.run.gateway.complete(question.lm, question.request, question.run.role)
        return _answer(completion, request.model, question)


def _predictor(run: Run) -> ForeignPredictor | None:
    """Return the predictor of this run whose call it is that asks."""
    call = pending_call.get()
    if call is None or call.run is not run or not isinstance(call.predictor, ForeignPredictor):
        return None
    return call.predictor


def _answer(completion: Completion, model: str, question: _Question) -> Any:
    note_own(question.run, question.lm, completion)
    return to_response(completion, model)
