"""Programs that return None in every run, though something else is wanted: a ``return`` is missing somewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from luthier.errors import ProgramFailed
from luthier.evaluation.compare import FieldMetric
from luthier.evaluation.data import Row
from luthier.evaluation.metrics import Metric
from luthier.evaluation.rollout import Outcome, Rollout
from luthier.program.program import Program
from luthier.program.returns import may_return_none


def check_something_returned(
    program: Program, metric: Metric, rows: Mapping[str, Row], rollouts: Sequence[Rollout]
) -> None:
    """Refuse to go on where nothing but None was returned.

    Raises:
        ProgramFailed: `nothing_returned` says why.
    """
    if sentence := nothing_returned(program, metric, rows, rollouts):
        raise ProgramFailed(sentence)


def nothing_returned(program: Program, metric: Metric, rows: Mapping[str, Row], rollouts: Sequence[Rollout]) -> str:
    """Say that all runs of the original returned None where that cannot be meant; "" where they did not, or it can.

    It cannot be meant where the program's annotation says otherwise, or where it has none and the metric compares with
    a label that is never None.
    """
    returned = [rollout for rollout in rollouts if rollout.outcome is Outcome.SCORED]
    if not returned or any(rollout.prediction is not None for rollout in returned):
        return ""
    meant = may_return_none(program.function)
    if meant is None:
        meant = not _labels_say_otherwise(metric, [rows[rollout.job.example] for rollout in returned])
    if meant:
        return ""
    calls = [call for rollout in returned for call in rollout.trace.calls[-1:] if call.outputs is not None]
    last = f" Predictor {calls[0].predictor!r}, which it called last, gave {calls[0].outputs!r:.200}." if calls else ""
    return (
        f"the program {program.name} returned None in all of {len(returned)} runs of the original, so nothing can be "
        f"scored.{last} Does it, or a function it calls, forget a `return`?"
    )


def _labels_say_otherwise(metric: Metric, rows: Sequence[Row]) -> bool:
    if not isinstance(metric.function, FieldMetric):
        return False  # it may look at the trace alone
    return all(row.example[metric.function.column(row.example)] is not None for row in rows)
