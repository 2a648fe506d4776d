"""Can the labels be met at all? They are held against what the program can return before anything is paid for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.canonical import canonical_json
from luthier.errors import DataError, MetricError
from luthier.evaluation.data import Row
from luthier.evaluation.matching import FieldMetric, as_text, items_of
from luthier.evaluation.metrics import Metric, exact_match, normalized_match, numeric_match, set_match
from luthier.evaluation.numbers import number_of
from luthier.program.program import Program
from luthier.program.returned import returned_for
from luthier.program.shape import Kind, Shape
from luthier.program.values import value_of, value_to_json

_SHOWN = 5
"""So many labels, choices, and rows are named in a message."""
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """What was found out about the labels."""

    warnings: tuple[str, ...] = ()
    unmet: frozenset[str] = frozenset()
    """Ids of the rows whose label no answer can match."""


def check_labels(metric: Metric, program: Program, rows: Sequence[Row]) -> LabelCheck:
    """Hold the label column that a metric compares against what the program can return.

    Metrics of the user's own are not looked into: nobody knows what they compare.

    Raises:
        DataError: no label can be matched by what the program returns for certain, or every label is missing.
        MetricError: the metric needs numbers, and a label is none.
    """
    compared = metric.function
    if not isinstance(compared, FieldMetric) or not rows:
        return LabelCheck()
    column = compared.column(rows[0].example)
    labels = [row.example[column] for row in rows]
    _refuse_what_is_no_number(compared, column, rows, labels)
    if all(label is None for label in labels):
        raise DataError(
            f"the label column {column!r} is empty in every row, so {compared!r} has nothing to compare with"
        )
    returned = returned_for(program, column)
    if returned is None:
        is_whole = compared.__name__ == exact_match.__name__  # the program may return mappings, too
        unmet = [i for i, label in enumerate(labels) if label is None or (isinstance(label, Mapping) and not is_whole)]
        shape, by, certain = Shape(Kind.JSON), "the program", False
    else:
        shape, by, certain = returned.shape, returned.by, returned.is_certain
        unmet = unmet_labels(compared, shape, labels)
    if not unmet:
        return LabelCheck()
    told = _told(compared, column, [labels[index] for index in unmet], shape, by, hidden=_is_private(program, column))
    if len(unmet) == len(rows):
        if certain:
            raise DataError(f"no label in the column {column!r} can match: {told}")
        return LabelCheck((f"no label in the column {column!r} matches what {by} can answer as it is: {told}",))
    places = sorted(rows[index].number for index in unmet)
    numbers = ", ".join(map(str, places[:_SHOWN])) + (", …" if len(places) > _SHOWN else "")
    warning = f"{len(unmet)} of {len(rows)} labels in the column {column!r} cannot match (rows {numbers}): {told}"
    return LabelCheck((warning,), frozenset(rows[index].id for index in unmet) if certain else frozenset())


def unmet_labels(metric: FieldMetric, shape: Shape, labels: Sequence[Any]) -> list[int]:
    """Return the places of the labels that no value of a shape can match."""
    known: dict[str, bool] = {}
    unmet = []
    for index, label in enumerate(labels):
        key = canonical_json(label)
        if key not in known:
            known[key] = can_match(metric, shape, label)
        if not known[key]:
            unmet.append(index)
    return unmet


def can_match(metric: FieldMetric, shape: Shape, label: Any) -> bool:
    """Say whether some value of a shape scores above 0 with a label."""
    if shape.kind in (Kind.JSON, Kind.RECORD, Kind.MAPPING) or (shape.kind is Kind.LIST and shape.item is None):
        return True
    values = [*_candidates(metric, shape, label), *([None] if shape.optional else [])]
    return any(_scores(metric, label, value) for value in values)


def _candidates(metric: FieldMetric, shape: Shape, label: Any) -> Iterable[Any]:
    """Return values of a shape of which one scores with a label, if any value of the shape does."""
    match shape.kind:
        case Kind.CHOICE:
            return [choice.value for choice in shape.choices]
        case Kind.INTEGER | Kind.NUMBER:
            numbers = [number_of(as_text(item) if isinstance(item, str) else item) for item in _each(label)]
            values = [number.value for number in numbers if number is not None] + [0.0, 1.0]  # also for False and True
            return values if shape.kind is Kind.NUMBER else [round(value) for value in values]
        case Kind.LIST:
            return _lists(metric, shape, label)
        case _:
            if isinstance(label, Mapping):
                return []
            # What an LM answers is never empty.
            return [text for text in (*map(as_text, _each(label)), canonical_json(label)) if text and text != "null"]


def _lists(metric: FieldMetric, shape: Shape, label: Any) -> Iterable[Any]:
    if shape.item is None:
        return []
    made = []
    for item in items_of(label):
        alone = [value for value in _candidates(metric, shape.item, item) if _scores(metric, item, value)]
        if not alone:
            return []
        made.append(alone[0])
    try:
        return [value_of(shape, value_to_json(made))]
    except ValueError:
        return [made]


def _each(label: Any) -> list[Any]:
    return list(label) if isinstance(label, list | tuple) else [label]


def _scores(metric: FieldMetric, label: Any, value: Any) -> bool:
    try:
        return metric.score(label, value) > 0
    except MetricError:
        return False


def _refuse_what_is_no_number(metric: FieldMetric, column: str, rows: Sequence[Row], labels: Sequence[Any]) -> None:
    if metric.__name__ != numeric_match.__name__:
        return
    wrong = [
        f"row {row.number} has {_short(label)}"
        for row, label in zip(rows, labels, strict=True)
        if not _each(label) or any(number_of(item) is None for item in _each(label))
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more rows)" if len(wrong) > 1 else ""
        raise MetricError(f"numeric_match needs a number in the label column {column!r}, but {wrong[0]}{more}")


def _is_private(program: Program, column: str) -> bool:
    fields = [field for one in program.predictors for field in (*one.signature.inputs, *one.signature.outputs)]
    return any(field.private and field.name == column for field in fields)


def _told(metric: FieldMetric, column: str, labels: Sequence[Any], shape: Shape, by: str, *, hidden: bool) -> str:
    """Say which labels cannot match, unless they are hidden; what can be answered; and what would help."""
    distinct = list({canonical_json(label): label for label in labels}.values())
    named = ", ".join(_short(label) for label in distinct[:_SHOWN]) + (", …" if len(distinct) > _SHOWN else "")
    is_known = shape.kind is not Kind.JSON
    answers = f", and {by} can only answer {_possible(shape)}" if is_known else ""
    kind = "the label is" if len(distinct) == 1 else "the labels are"
    remedy = _remedy(metric, column, distinct, shape, hidden=hidden)
    return f"{kind} {'private' if hidden else named}{answers}. {remedy}"


def _remedy(metric: FieldMetric, column: str, labels: Sequence[Any], shape: Shape, *, hidden: bool) -> str:
    if not hidden and any(isinstance(label, Mapping) for label in labels):
        fields = next(", ".join(map(str, label)) for label in labels if isinstance(label, Mapping))
        return f"A label that is a mapping (of {fields}) is compared whole: make a column of the field you mean"
    if all(label is None or label == "" for label in labels):
        return "Leave out the rows that have no label, or fill it in"
    fitting = {Kind.INTEGER: numeric_match, Kind.NUMBER: numeric_match, Kind.LIST: set_match}
    for other in (fitting.get(shape.kind, normalized_match), normalized_match, set_match, numeric_match):
        if other.__name__ != metric.__name__ and all(can_match(other, shape, label) for label in labels):
            return f"Use lt.{other.__name__}({column!r}), which reads them as the same"
    mapped = "" if hidden else _mapping(labels, shape)
    return f"Map the labels to what can be answered{mapped}, or change the type of the output"


def _mapping(labels: Sequence[Any], shape: Shape) -> str:
    """Return an example of a mapping, where the labels look like choices or are their numbers."""
    texts = {choice.text.casefold(): choice.json for choice in shape.choices}
    if not texts:
        return ""
    if all(isinstance(label, int) for label in labels) and set(labels) <= set(range(len(shape.choices))):
        pairs = {label: shape.choices[label].json for label in sorted(labels)}
        return f" (such as {pairs!r}, if that is their order)"
    pairs = {}
    for label in labels:
        text = as_text(label).casefold()
        alike = [word for word in texts if text and (word.startswith(text) or text.startswith(word))]
        near = alike or difflib.get_close_matches(text, texts, n=1)
        if near:
            pairs[label if isinstance(label, str | int | float) else text] = texts[near[0]]
    return f" (such as {pairs!r})" if pairs and len(pairs) <= _SHOWN else ""


def _possible(shape: Shape) -> str:
    if shape.kind is Kind.CHOICE:
        texts = [choice.text for choice in shape.choices]
        return ", ".join(texts[: 2 * _SHOWN]) + (", …" if len(texts) > 2 * _SHOWN else "")
    if shape.kind is Kind.LIST and shape.item is not None:
        return f"a list of {_possible(shape.item)}"
    return f"a {shape.kind.value}" if shape.kind is not Kind.TEXT else "text"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
