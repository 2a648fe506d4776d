"""Where the original scores nothing at all: is that for reasons that no prompt can change?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from luthier.evaluation.data import Row
from luthier.evaluation.labels import unmet_labels
from luthier.evaluation.matching import FieldMetric
from luthier.evaluation.metrics import Metric
from luthier.evaluation.nothing import nothing_returned
from luthier.evaluation.rollout import Outcome, Rollout
from luthier.lm.redact import redact
from luthier.program.output_type import shape_of
from luthier.program.program import Program
from luthier.program.shape import Kind, Shape
from luthier.program.values import output_shapes, value_to_json
from luthier.propose.fields import named_text, private_names, value_text
from luthier.study import events as journal

_LEAST = 10
"""Fewer answers that nobody could read may be chance."""
_EXAMPLES = 3
_LONGEST = 120
_PRIVATE = "(private)"


def zero_baseline(
    program: Program, metric: Metric, rollouts: Sequence[Rollout], rows: Mapping[str, Row]
) -> dict[str, Any] | None:
    """Return what is recorded of a baseline whose every score is 0, or means nothing; None of any other.

    ``reason`` is why no prompt can change it, null where one may: ``unparseable``, every answer was; ``none``, every
    run returned None (then ``program`` is its name, and ``last`` the predictor that it called last); ``labels``, no
    label equals anything that the program answers. ``examples``: ids of three to look at (``examples_text``).
    """
    examples = [rollout.job.example for rollout in _various(rollouts, rows)]
    if nothing_returned(program, metric, rows, rollouts):
        last = next((rollout.trace.calls[-1].predictor for rollout in rollouts if rollout.trace.calls), None)
        return {"reason": "none", "examples": examples, "program": program.name, "last": last}
    if any(rollout.value > 0 for rollout in rollouts):
        return None
    return {"reason": _reason(program, metric, rollouts, rows), "examples": examples}


def reason_sentence(zero: Mapping[str, Any], outcomes: Sequence[journal.Outcome]) -> str | None:
    """Say why a baseline of zeros can never be met, and what to look at; None where prompts may change it."""
    n = len(outcomes)
    match zero["reason"]:
        case "none":
            after = "" if zero["last"] is None else f" after its last call, of predictor {zero['last']!r}"
            return (
                f"The program {zero['program']} returned None in every run that ended, of {n}, so no prompt "
                f"can score. Look at what it returns{after}: is a `return` missing, in it or in a function it calls?"
            )
        case "labels":
            return (
                f"No label can match what the program answers, on any of {n} validation examples. Look at the label "
                f"column and at the metric: are they spelled as the answers are?"
            )
        case "unparseable" if n >= _LEAST:
            first = outcomes[0]
            return (
                f"No answer could be read on any of {n} validation examples (predictor {first.blamed!r}, the first: "
                f"{first.error or 'no reason given'}). Look at the answers first: is it the right model and "
                f"endpoint, and is max_tokens large enough?"
            )
    return None


def zero_warning(n: int) -> str:
    """Say what to look at where every score is 0 and prompts may change it."""
    return f"The original scores 0 on all {n} validation examples: compare what it predicts with the labels."


def examples_text(
    program: Program, metric: Metric, rollouts: Sequence[Rollout], rows: Mapping[str, Row], shown: Collection[str]
) -> str:
    """Return the predictions for the examples ``shown`` beside their labels, private ones hidden, as one sentence.

    It is told and never recorded, for the journal holds ids alone.
    """
    hidden = private_names(program)
    told = [
        f"{_predicted(rollout, hidden)} where the label is {_label(metric, rows[rollout.job.example], hidden)}"
        for rollout in rollouts
        if rollout.job.example in shown
    ]
    return f"Such as: {'; '.join(told)}."


def _reason(program: Program, metric: Metric, rollouts: Sequence[Rollout], rows: Mapping[str, Row]) -> str | None:
    if all(rollout.outcome is Outcome.UNPARSEABLE for rollout in rollouts):
        return "unparseable"
    scored = [rollout for rollout in rollouts if rollout.outcome is Outcome.SCORED]
    if len(scored) < len(rollouts):
        return None
    return "labels" if _no_label_can_match(program, metric, scored, rows) else None


def _no_label_can_match(program: Program, metric: Metric, scored: Sequence[Rollout], rows: Mapping[str, Row]) -> bool:
    compared = metric.function
    if not isinstance(compared, FieldMetric):
        return False
    column = compared.column(rows[scored[0].job.example].example)
    labels = [rows[rollout.job.example].example[column] for rollout in scored]
    shape = _observed_shape(program, scored)
    return shape is not None and len(unmet_labels(compared, shape, labels)) == len(labels)


def _observed_shape(program: Program, scored: Sequence[Rollout]) -> Shape | None:
    """Return what the predictions are: values that one predictor gave in every run, or all of one plain type."""
    predictions = [value_to_json(rollout.prediction) for rollout in scored]
    for predictor in program.predictors:
        shapes = output_shapes(predictor.signature)
        name, shape = next(iter(shapes.items()))
        if len(shapes) == 1 and shape.kind is Kind.CHOICE:
            last = [rollout.trace.of(predictor.name)[-1:] for rollout in scored]
            if all(
                calls and calls[0].outputs is not None and calls[0].outputs.get(name) == prediction
                for calls, prediction in zip(last, predictions, strict=True)
            ):
                return shape
    if all(isinstance(prediction, str) for prediction in predictions):
        return Shape(Kind.TEXT)
    if all(isinstance(prediction, bool) for prediction in predictions):
        return shape_of(bool)
    if all(isinstance(prediction, int | float) for prediction in predictions):
        return Shape(Kind.NUMBER)
    return None


def _various(rollouts: Sequence[Rollout], rows: Mapping[str, Row]) -> list[Rollout]:
    """Return a few rollouts, of as many classes as there are."""
    first: dict[str, Rollout] = {}
    for rollout in rollouts:
        first.setdefault(rows[rollout.job.example].stratum, rollout)
    rest = [rollout for rollout in rollouts if rollout not in first.values()]
    return [*first.values(), *rest][:_EXAMPLES]


def _predicted(rollout: Rollout, hidden: frozenset[str]) -> str:
    calls = rollout.trace.calls
    if hidden and any(hidden & (call.outputs or {}).keys() for call in calls):
        return f"predicted {_PRIVATE}"
    if rollout.outcome is Outcome.UNPARSEABLE:
        blamed = [call for call in calls if call.predictor == rollout.blamed] or calls
        return "answered " + (_PRIVATE if hidden else _quoted(blamed[-1].text if blamed else ""))
    if rollout.outcome is Outcome.ERROR:
        return "the program raised"
    return f"predicted {_quoted(rollout.prediction)}"


def _label(metric: Metric, row: Row, hidden: frozenset[str]) -> str:
    compared = metric.function
    if isinstance(compared, FieldMetric):
        column = compared.column(row.example)
        return _PRIVATE if column in hidden else _quoted(row.example[column])
    shown = {name: value for name, value in row.labels.items() if name not in hidden}
    if len(row.labels) == 1:
        return _quoted(*shown.values()) if shown else _PRIVATE
    return redact(named_text(shown, limit=_LONGEST, separator=", ")) or "not there"


def _quoted(value: Any) -> str:
    text = redact(value_text(value, _LONGEST))
    return repr(text) if isinstance(value, str) else text
