"""Comparing a prediction with a label column: the ready-made metrics' insides."""

from __future__ import annotations

import dataclasses
import enum
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, overload

from luthier.errors import MetricError
from luthier.evaluation.data import label_columns

# A sign counts where nothing stands before it: "5-3" ends in 3, not in -3.
_NUMBER = re.compile(r"(?:(?<![\w.)])[-+])?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class FieldMetric:
    """A metric that compares the prediction with a label column.

    Called with an example and a prediction, it scores; called with a column's name, it returns the metric for that
    column. Without a name it takes the example's only label. A prediction that has fields (a mapping, a dataclass, a
    pydantic model) is asked for the field of the column's name. Where the label is a list, any of its items will do.
    """

    def __init__(self, name: str, compare: Callable[..., float], field: str | None = None, **options: float) -> None:
        self.__name__ = self.__qualname__ = name
        self.field = field
        self.options = options
        self._compare = compare

    @overload
    def __call__(self, example: Mapping[str, Any], prediction: Any, /) -> float: ...

    @overload
    def __call__(self, field: str | None = None, **options: float) -> FieldMetric: ...

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Score, or return the metric for a column.

        Raises:
            MetricError: the column cannot be told, is not there, or its value cannot be compared.
        """
        if len(args) == 2 and not options:
            return self._score(*args)
        field = args[0] if args else options.pop("field", None)
        if len(args) > 1 or not (field is None or isinstance(field, str)):
            raise MetricError(f"call {self.__name__}(example, prediction), or {self.__name__}('column')")
        if unknown := sorted(set(options) - set(self.options)):
            raise MetricError(f"{self.__name__} has no setting {unknown[0]!r}")
        return FieldMetric(self.__name__, self._compare, field, **{**self.options, **options})

    def column(self, example: Mapping[str, Any]) -> str:
        """Return the column that is compared.

        Raises:
            MetricError: it cannot be told, or the example has none of that name.
        """
        if self.field is not None:
            if self.field not in example:
                raise MetricError(f"{self!r}: the data have no column {self.field!r}; they have {', '.join(example)}")
            return self.field
        labels = label_columns(example)
        if len(labels) != 1:
            told = (
                f"there are several: {', '.join(labels)}. Name one: {self.__name__}({labels[0]!r})"
                if labels
                else "there is none"
            )
            raise MetricError(f"{self.__name__} compares with the only label column, but {told}")
        return labels[0]

    def __repr__(self) -> str:
        shown = [] if self.field is None else [repr(self.field)]
        return f"{self.__name__}({', '.join(shown + [f'{name}={value!r}' for name, value in self.options.items()])})"

    def _score(self, example: Mapping[str, Any], prediction: Any) -> float:
        column = self.column(example)
        label = example[column]
        value = _part(prediction, column, whole=isinstance(label, Mapping))
        right = label if isinstance(label, list | tuple) and not isinstance(plain(value), list) else [label]
        return max((float(self._compare(item, value, **self.options)) for item in right), default=0.0)


def equal(label: Any, value: Any) -> bool:
    """Say whether a prediction is the label; text and other types are compared as text."""
    if isinstance(value, enum.Enum) and label == value.name:
        return True
    value = plain(value)
    if isinstance(label, str) != isinstance(value, str):
        return _as_text(label) == _as_text(value)
    if isinstance(label, str):
        return label.strip() == str(value).strip()
    return bool(label == value)


def same_words(label: Any, value: Any) -> bool:
    """Say whether label and prediction agree after ``normalize``."""
    return normalize(_as_text(label)) == normalize(_as_text(plain(value)))


def token_overlap(label: Any, value: Any) -> float:
    """Return the F1 of the prediction's words against the label's (SQuAD)."""
    right, given = normalize(_as_text(label)).split(), normalize(_as_text(plain(value))).split()
    if not right or not given:
        return float(right == given)
    common = sum((Counter(right) & Counter(given)).values())
    return 2 * common / (len(right) + len(given))


def contained(label: Any, value: Any) -> bool:
    """Say whether the label's words occur in the prediction, one after the other."""
    wanted, given = normalize(_as_text(label)), normalize(_as_text(plain(value)))
    if not wanted:
        return not given
    # Whole words only ("no" is not in "know"), without asking scripts that write no blanks for any.
    return re.search(f"(?<![a-z0-9]){re.escape(wanted)}(?![a-z0-9])", given) is not None


def numbers_agree(label: Any, value: Any, tolerance: float) -> bool:
    """Say whether the last numbers of label and prediction differ by at most ``tolerance``."""
    wanted = _number(label)
    if wanted is None:
        raise MetricError(f"numeric_match needs a number in the label column, but found {label!r:.200}")
    given = _number(plain(value))
    return given is not None and abs(given - wanted) <= tolerance


def normalize(text: str) -> str:
    """Return text in lower case, without punctuation and articles, blanks collapsed (SQuAD)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def plain(value: Any) -> Any:
    """Return a prediction as JSON would hold it: enums, dataclasses, and models opened."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _part(prediction: Any, column: str, *, whole: bool) -> Any:
    """Return the field of a prediction that has fields, else the prediction itself."""
    if isinstance(prediction, Mapping):
        names = tuple(prediction)
    elif dataclasses.is_dataclass(prediction) and not isinstance(prediction, type):
        names = tuple(f.name for f in dataclasses.fields(prediction))
    elif hasattr(type(prediction), "model_fields"):
        names = tuple(type(prediction).model_fields)
    elif isinstance(prediction, tuple) and hasattr(prediction, "_fields"):
        names = prediction._fields
    else:
        return prediction
    if column in names:
        return prediction[column] if isinstance(prediction, Mapping) else getattr(prediction, column)
    if whole:
        return prediction
    raise MetricError(
        f"the prediction has no field {column!r} to compare with the column of that name; it has: "
        f"{', '.join(map(str, names))}. Name the column after the field, or write a metric of your own"
    )


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value).strip()


def _number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = _NUMBER.findall(value.replace("−", "-")) if isinstance(value, str) else []
    return float(found[-1].replace(",", "")) if found else None
