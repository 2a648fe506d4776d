"""Programs that return None in every run, though something else is wanted: a ``return`` is missing somewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from luthier.evaluation.data import Row
from luthier.evaluation.matching import FieldMetric
from luthier.evaluation.metrics import Metric
from luthier.evaluation.rollout import Outcome, Rollout
from luthier.program.program import Program
from luthier.program.returned import returns_nothing
from luthier.program.returns import may_return_none


def nothing_returned(program: Program, metric: Metric, rows: Mapping[str, Row], rollouts: Sequence[Rollout]) -> bool:
    """Say whether the runs of the original returned None, all that came to their end, where that cannot be meant.

    It can where the annotation lets an answer decide between None and a value, and where the metric may look at the
    trace alone.
    """
    ended = [rollout for rollout in rollouts if rollout.outcome is Outcome.SCORED]
    if 2 * len(ended) <= len(rollouts) or any(rollout.prediction is not None for rollout in ended):
        return False
    allowed = may_return_none(program.function)
    if allowed is False:
        return True
    if allowed and not returns_nothing(program.function):
        return False
    if isinstance(metric.function, FieldMetric):
        examples = [rows[rollout.job.example].example for rollout in ended]
        return all(example[metric.function.column(example)] is not None for example in examples)
    return allowed is None and not metric.needs_trace and all(rollout.value == 0 for rollout in ended)
