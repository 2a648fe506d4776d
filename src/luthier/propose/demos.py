"""Demos from what rollouts and rows have to offer, each with its provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from luthier.evaluation.rollout import Rollout
from luthier.program.candidate import Demo, DemoSource, Provenance
from luthier.program.inputs import normal_inputs
from luthier.program.signature import Field, Signature
from luthier.program.trace import Call
from luthier.program.values import read_label, value_to_json
from luthier.propose.fields import shown

if TYPE_CHECKING:
    from luthier.evaluation.data import Row
    from luthier.program.lms import LMs

_SHORT_KEY = 11


def bootstrapped_demos(
    rollout: Rollout,
    signatures: Mapping[str, Signature],
    hidden: frozenset[str],
    teacher: LMs,
    *,
    again: bool = False,
) -> dict[str, list[Demo]]:
    """Return a demo of every readable predictor call in a rollout that passed (MIPRO §3.1), or passed when tried again.

    Its source says which.
    """
    source = DemoSource.RETRIED if again else DemoSource.BOOTSTRAPPED
    demos: dict[str, list[Demo]] = {}
    for call in rollout.trace.calls:
        if call.predictor not in signatures or call.outputs is None or call.error is not None:
            continue
        signature = signatures[call.predictor]
        outputs = _chosen(call.outputs, shown(signature.outputs, hidden))
        if not outputs:
            continue
        provenance = _provenance(source, rollout, call, teacher)
        demo = Demo(_chosen(call.inputs, shown(signature.inputs, hidden)), outputs, call.reasoning, provenance)
        demos.setdefault(call.predictor, []).append(demo)
    return demos


def completed_demos(
    rollout: Rollout, row: Row, signatures: Mapping[str, Signature], hidden: frozenset[str], teacher: LMs
) -> dict[str, list[Demo]]:
    """Return demos with a predictor's real inputs and the row's columns for outputs, whether the rollout passed or not.

    Only predictors whose every output is a label column can be completed. Where the call itself came to another
    answer the demo is corrective: it shows what this predictor cannot do yet. Reasoning is kept only where it did not.
    """
    demos: dict[str, list[Demo]] = {}
    for call in rollout.trace.calls:
        if call.predictor not in signatures:
            continue
        signature = signatures[call.predictor]
        outputs = _labels(row.labels, shown(signature.outputs, hidden))
        if outputs is None:
            continue
        right = call.outputs is not None and _chosen(call.outputs, shown(signature.outputs, hidden)) == outputs
        source = DemoSource.COMPLETED if right else DemoSource.CORRECTIVE
        provenance = _provenance(source, rollout, call, teacher)
        inputs = _chosen(call.inputs, shown(signature.inputs, hidden))
        demos.setdefault(call.predictor, []).append(
            Demo(inputs, outputs, call.reasoning if right else None, provenance)
        )
    return demos


def labeled_demos(
    rows: Sequence[Row], signatures: Mapping[str, Signature], hidden: frozenset[str]
) -> dict[str, list[Demo]]:
    """Return a demo of every row whose columns cover a predictor's inputs and outputs by name."""
    demos: dict[str, list[Demo]] = {name: [] for name in signatures}
    for row in rows:
        columns = {**row.inputs, **row.labels}
        for name, signature in signatures.items():
            outputs = _labels(columns, shown(signature.outputs, hidden))
            inputs = shown(signature.inputs, hidden)
            if outputs is None or any(field.name not in columns for field in inputs):
                continue
            provenance = Provenance(DemoSource.LABELED, example=row.id, predictor=name)
            values = _normal(columns, inputs)  # which holds the images until the demo does
            demos[name].append(Demo(_json(values), outputs, None, provenance))
    return demos


def _chosen(values: Mapping[str, Any], fields: tuple[Field, ...]) -> dict[str, Any]:
    return _json(_normal(values, fields))


def _normal(values: Mapping[str, Any], fields: tuple[Field, ...]) -> dict[str, Any]:
    return normal_inputs(fields, {field.name: values[field.name] for field in fields if field.name in values})


def _json(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value_to_json(value) for name, value in values.items()}


def _labels(columns: Mapping[str, Any], fields: tuple[Field, ...]) -> dict[str, Any] | None:
    if not fields or any(field.name not in columns or columns[field.name] is None for field in fields):
        return None
    try:
        # As the predictor itself would have given it: "3" for an int is 3.
        return {f.name: value_to_json(read_label(f.type, columns[f.name])) for f in fields}
    except ValueError:
        # A column that speaks another vocabulary than the field (0, 1, 2 for names) would teach wrong answers.
        return None


def _provenance(source: DemoSource, rollout: Rollout, call: Call, teacher: LMs) -> Provenance:
    job, lm = rollout.job, teacher.answering(call.predictor)
    return Provenance(
        source,
        example=job.example,
        rollout=f"{job.candidate.key[:_SHORT_KEY]}/{job.example}/{job.repeat}",
        predictor=call.predictor,
        call=call.index,
        teacher=lm.identity,
        temperature=lm.temperature if job.temperature is None else job.temperature,
    )
