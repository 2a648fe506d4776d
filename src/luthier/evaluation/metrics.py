"""Metrics: what a score may be, and the metrics that come with luthier."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.canonical import canonical_json, content_hash
from luthier.errors import MetricError, Unavailable, Unparseable
from luthier.evaluation.matching import (
    FieldMetric,
    contained,
    equal,
    numbers_agree,
    plain,
    same_items,
    same_words,
    token_overlap,
)
from luthier.evaluation.rollout import Score
from luthier.program.trace import Trace
from luthier.types import Role

if TYPE_CHECKING:
    from luthier.lm.lm import LM
    from luthier.program.predictor import Predictor

_ROUNDING = 1e-9
"""Sums of weights such as 0.1 + 0.2 + 0.7 may miss 1 by so much."""
_JUDGE_ATTEMPTS = 3

exact_match = FieldMetric("exact_match", equal)
"""1 where the prediction equals the label, else 0. ``exact_match("species")`` names the label's column."""

normalized_match = FieldMetric("normalized_match", same_words)
"""1 where prediction and label agree without case, punctuation, and articles, else 0."""

token_f1 = FieldMetric("token_f1", token_overlap)
"""F1 over words, as SQuAD scores answers (Rajpurkar et al. 2016); of several right answers the nearest counts."""

contains = FieldMetric("contains", contained)
"""1 where the label's words occur in the prediction, without case, punctuation, and articles, else 0."""

numeric_match = FieldMetric("numeric_match", numbers_agree, tolerance=1e-6)
"""1 where the last number of the prediction is within ``tolerance`` of the label's, else 0.

Numbers are read as people write them: ``3,5``, ``1.234,50``, ``12 500 €``, ``−3``, ``1/2``, ``2 × 10³``, ``12 %``.
"""

set_match = FieldMetric("set_match", same_items, whole_lists=True)
"""1 where prediction and label hold the same items in any order, else 0; duplicates and case do not count.

A text is read as a list in JSON or Python, or as items between line ends, semicolons, bars, or commas.
"""


@dataclass(frozen=True, slots=True)
class Metric:
    """A user's metric with what luthier found out about it."""

    function: Callable[..., Any]
    name: str
    needs_trace: bool
    """It takes a third argument that has no default."""
    is_async: bool
    _by_keyword: bool = False
    """Its trace is a keyword-only parameter."""
    _of_predictors: tuple[str, ...] = ()
    """Its parameters from ``pred_name`` on, which GEPA fills to ask about one predictor."""

    @staticmethod
    def of(metric: Callable[..., Any] | Metric) -> Metric:
        """Return a callable as a metric; a ``Metric`` is returned as it is.

        Raises:
            MetricError: it is no callable of ``(example, prediction)``, ``(example, prediction, trace)``, or GEPA's
                ``(example, prediction, trace, pred_name, pred_trace)``.
        """
        if isinstance(metric, Metric):
            return metric
        if not callable(metric) or isinstance(metric, type):
            raise MetricError(f"a metric is a function of (example, prediction), not {metric!r}")
        name = getattr(metric, "__qualname__", None) or getattr(metric, "__name__", None) or type(metric).__name__
        if isinstance(metric, FieldMetric):
            return Metric(metric, name, needs_trace=False, is_async=False)
        needs_trace, by_keyword, of_predictors = _shape(metric, name)
        return Metric(metric, name, needs_trace, _is_async(metric), by_keyword, of_predictors)

    @property
    def is_quick(self) -> bool:
        """It is one of luthier's own and only compares values, so it may run on an event loop."""
        return isinstance(self.function, FieldMetric)

    @property
    def judge_lm(self) -> LM | None:
        """The LM of a judge that has one of its own."""
        return self.function.lm if isinstance(self.function, Judge) else None

    @property
    def identity(self) -> str:
        """Hash of its code and, for one of luthier's own, its settings: two metrics that differ have two."""
        from luthier.program.source import code_hash

        settings: list[Any] = []
        if isinstance(self.function, FieldMetric):
            settings = [self.name, self.function.field, self.function.options]
        elif isinstance(self.function, Judge):
            settings = [self.function.instruction, None if self.function.lm is None else self.function.lm.identity]
        return content_hash([code_hash(self.function), settings])

    def check(self, example: Mapping[str, Any], *, dollars: bool = False, tokens: bool = False) -> None:
        """Find what can be found wrong without a prediction; a judge's LM as ``LM.check`` does.

        Raises:
            MetricError: the metric names no label column, or one that the example has not.
            ConfigError: a judge's LM lacks its key or its price.
        """
        if isinstance(self.function, FieldMetric):
            self.function.column(example)
        elif isinstance(self.function, Judge) and self.function.lm is not None:
            self.function.lm.check(dollars=dollars, tokens=tokens)

    def call(self, example: Mapping[str, Any], prediction: Any, trace: Trace) -> Any:
        """Return what the function returns, an awaitable if it is async; in GEPA's form, of the whole program."""
        whole_program = dict.fromkeys(self._of_predictors)
        if not self.needs_trace:
            return self.function(example, prediction, **whole_program)
        if self._by_keyword:
            return self.function(example, prediction, trace=trace, **whole_program)
        return self.function(example, prediction, trace, **whole_program)

    def read(self, returned: Any, example: Mapping[str, Any]) -> Score:
        """Return what the function returned as a score.

        Raises:
            MetricError: it is neither a bool, nor a number in [0, 1], nor a ``Score`` of one, nor a mapping or object
                with ``score`` and ``feedback``.
        """
        score = _as_score(returned)
        if score is None:
            return Score(self._share(returned, example))
        measures = {name: self._number(value, example, name) for name, value in score.measures.items()}
        return Score(self._share(score.value, example), self._feedback(score.feedback, returned, example), measures)

    def _feedback(self, feedback: Any, returned: Any, example: Mapping[str, Any]) -> str | dict[str, str]:
        if isinstance(feedback, str):
            return feedback
        if isinstance(feedback, Mapping) and all(isinstance(text, str) for text in (*feedback, *feedback.values())):
            return dict(feedback)
        raise self._wrong(returned, example, "its feedback is neither text nor a mapping of predictors to texts")

    def _share(self, value: Any, example: Mapping[str, Any]) -> float:
        number = self._number(value, example)
        if not -_ROUNDING <= number <= 1 + _ROUNDING:
            raise self._wrong(value, example, "a score must lie between 0 and 1")
        return min(1.0, max(0.0, number))

    def _number(self, value: Any, example: Mapping[str, Any], measure: str = "") -> float:
        what = f"the measure {measure!r}" if measure else "a score"
        if hasattr(value, "item") and getattr(value, "size", 1) == 1:  # numpy's scalars
            value = value.item()
        if not isinstance(value, bool | int | float):
            raise self._wrong(value, example, f"{what} must be a number")
        if not math.isfinite(value):
            raise self._wrong(value, example, f"{what} must be finite")
        return float(value)

    def _wrong(self, value: Any, example: Mapping[str, Any], why: str) -> MetricError:
        return MetricError(
            f"the metric {self.name} returned {value!r:.200} ({type(value).__name__}), but {why}. "
            "Return a bool, a float in [0, 1], lt.Score(…), or {'score': …, 'feedback': …}. "
            f"The example was {example!r:.500}"
        )


def judge(instruction: str, lm: LM | None = None) -> Judge:
    """Return a metric that asks an LM whether a prediction does what ``instruction`` asks: 1 or 0, with its reasons.

    The judge reads the whole example, labels included, and the prediction. A judge that gives no readable answer
    leaves the rollout unscored.

    Args:
        instruction: what makes a prediction right.
        lm: who judges; the LM under evaluation where left out.
    """
    return Judge(instruction, lm)


@dataclass(frozen=True, slots=True)
class Judge:
    """A metric that asks an LM; see ``judge``."""

    instruction: str
    lm: LM | None = None

    async def __call__(self, example: Mapping[str, Any], prediction: Any) -> Score:
        """Ask for a verdict.

        Raises:
            Unavailable: the LM could not be read, even when asked again.
            MetricError: there is no LM.
        """
        from luthier.program.context import Run, current_run, running

        current = current_run()
        if current is None:
            raise MetricError("a judge needs an LM: call it within lt.evaluate, lt.optimize, or `with lt.use(lm):`")
        predictor = _predictor(self.instruction)
        inputs = {"example": canonical_json(dict(example)), "prediction": _text(prediction)}
        why = ""
        for attempt in range(_JUDGE_ATTEMPTS):
            run = Run(
                self.lm or current.lm,
                current.gateway,
                role=Role.JUDGE,
                repeat=current.repeat * _JUDGE_ATTEMPTS + attempt,
                example=current.example,
                temperature=None if attempt == 0 else 1.0,  # at 0 it would say the same again
                failures=current.failures,
            )
            with running(run):
                try:
                    passes = await predictor(**inputs)
                except Unparseable as error:
                    why = str(error)
                    continue
            return Score(float(passes), feedback=run.trace.calls[-1].reasoning or "" if run.trace.calls else "")
        raise Unavailable(f"the judge gave no readable verdict in {_JUDGE_ATTEMPTS} attempts; the last time {why}")


@functools.lru_cache(maxsize=64)
def _predictor(instruction: str) -> Predictor[..., Any]:
    from luthier.program.predictor import predict, predictor

    async def judge(example: str, prediction: str) -> bool:
        return predict()

    made: Predictor[..., Any] = predictor(name="judge", instruction=instruction, reasoning=True, output="passes")(judge)
    return made


def _text(prediction: Any) -> str:
    value = plain(prediction)
    if isinstance(value, str):
        return value
    try:
        return canonical_json(value)
    except (TypeError, ValueError):
        return repr(value)


def _as_score(returned: Any) -> Score | None:
    """Return a score, or what peers return: a mapping, or an object, with ``score`` and ``feedback``; else None."""
    if isinstance(returned, Score):
        return returned
    if isinstance(returned, Mapping):
        if "score" not in returned:
            return None
        found: dict[str, Any] = {name: returned.get(name) for name in ("score", "feedback", "measures")}
    elif hasattr(returned, "score"):
        found = {name: getattr(returned, name, None) for name in ("score", "feedback", "measures")}
    else:
        return None
    feedback, measures = found["feedback"], found["measures"]
    return Score(
        found["score"], "" if feedback is None else feedback, measures if isinstance(measures, Mapping) else {}
    )


def _shape(metric: Callable[..., Any], name: str) -> tuple[bool, bool, tuple[str, ...]]:
    """Say whether a metric wants the trace, whether by keyword, and which parameters ask about one predictor."""
    try:
        parameters = list(inspect.signature(metric).parameters.values())
    except (TypeError, ValueError):  # some built-in functions have none to show
        return False, False, ()
    names = [p.name for p in parameters]
    of_predictors: tuple[str, ...] = ()
    if "pred_name" in names:
        cut = names.index("pred_name")
        parameters, of_predictors = (
            parameters[:cut],
            tuple(p.name for p in parameters[cut:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)),
        )
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    required = [p for p in positional if p.default is p.empty]
    takes_more = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    by_keyword = keywords == ["trace"]
    if (len(positional) < 2 and not takes_more) or len(required) + len(keywords) > 3 or (keywords and not by_keyword):
        raise MetricError(
            f"the metric {name}{inspect.signature(metric)} cannot be called as metric(example, prediction), "
            "metric(example, prediction, trace), or metric(example, prediction, trace, pred_name, pred_trace); "
            "make it take one of these"
        )
    return len(required) == 3 or by_keyword, by_keyword, of_predictors


def _is_async(metric: Callable[..., Any]) -> bool:
    while isinstance(metric, functools.partial):
        metric = metric.func
    return inspect.iscoroutinefunction(metric) or inspect.iscoroutinefunction(getattr(metric, "__call__", None))  # noqa: B004 - the method is wanted, not whether it is there
