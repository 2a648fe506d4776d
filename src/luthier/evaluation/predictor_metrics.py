"""Metrics of single predictors: given by the user, or known by itself where a label column is a predictor's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from luthier.errors import ConfigError
from luthier.evaluation.metrics import Metric, exact_match

if TYPE_CHECKING:
    from luthier.evaluation.data import Row
    from luthier.program.program import Program


def metrics_by_predictor(
    given: Mapping[str, Callable[..., Any]], program: Program, rows: Mapping[str, Row]
) -> dict[str, Metric]:
    """Return the metric of each predictor that has one: those given, and exact match where a label is its output.

    A label column counts by itself only where the predictor's one output has exactly its name and a closed type (a
    choice of few values): free text of the same name may mean something else.

    Raises:
        ConfigError: a name is no predictor's.
        MetricError: one is no metric.
    """
    predictors = {predictor.name: predictor for predictor in program.predictors}
    for name in given:
        if name not in predictors:
            raise ConfigError(f"predictor_metrics: there is no predictor {name!r}; there are {', '.join(predictors)}")
    labels = next(iter(rows.values())).labels if rows else {}
    found = {}
    for name, predictor in predictors.items():
        outputs = predictor.signature.outputs
        if name in given:
            found[name] = Metric.of(given[name])
        elif len(outputs) == 1 and outputs[0].choices and outputs[0].name in labels:
            found[name] = Metric.of(exact_match(outputs[0].name))
    return found


def has_labels(metrics: Mapping[str, Metric], program: Program, rows: Mapping[str, Row]) -> bool:
    """Return whether the right answer of some predictor is known: by its metric, or from columns of its outputs."""
    labels = next(iter(rows.values())).labels if rows else {}
    outputs = [predictor.signature.outputs for predictor in program.predictors]
    return bool(metrics) or any(all(field.name in labels for field in own) for own in outputs)
