"""Comparing a prediction with a label column: the ready-made metrics' insides."""

from __future__ import annotations

import ast
import dataclasses
import enum
import json
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Set
from decimal import Decimal
from pathlib import PurePath
from typing import Any, overload
from uuid import UUID

from luthier.canonical import canonical_json
from luthier.errors import MetricError, SignatureError
from luthier.evaluation.data import label_columns
from luthier.evaluation.numbers import number_of
from luthier.program.values import folded, read_label, value_to_json

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_SEPARATORS = (r"\s*\n\s*", r"\s*[;；]\s*", r"\s*\|\s*", r"\s*[,，、،]\s*")
"""What parts a text into items; the first that is in it does, so "Smith, J.; Doe, A." has two."""
_BULLET = re.compile(r"(?:[-*•·–]|\d{1,4}[.)])\s+")


class FieldMetric:
    """A metric that compares the prediction with a label column.

    Called with an example and a prediction, it scores; called with a column's name, it returns the metric for that
    column. Without a name it takes the example's only label. A prediction that has fields (a mapping, a dataclass, a
    pydantic model) is asked for the field of the column's name. Where the label is a list, any of its items will do,
    unless the metric compares lists (``whole_lists``).
    """

    def __init__(
        self,
        name: str,
        compare: Callable[..., float],
        field: str | None = None,
        *,
        whole_lists: bool = False,
        **options: float,
    ) -> None:
        self.__name__ = self.__qualname__ = name
        self.field = field
        self.options = options
        self._compare = compare
        self._whole_lists = whole_lists

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
        settings = {**self.options, **options}
        return FieldMetric(self.__name__, self._compare, field, whole_lists=self._whole_lists, **settings)

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
        return self.score(label, _part(prediction, column, whole=isinstance(label, Mapping)))

    def score(self, label: Any, value: Any) -> float:
        """Score what a prediction has for the column against the label.

        Raises:
            MetricError: the label cannot be compared.
        """
        any_will_do = isinstance(label, list | tuple) and not self._whole_lists and not isinstance(plain(value), list)
        right = label if any_will_do else [label]
        return max((float(self._compare(item, value, **self.options)) for item in right), default=0.0)


def equal(label: Any, value: Any) -> bool:
    """Say whether a prediction is the label; text and other types are compared as text."""
    label = read_as(value, label)
    if isinstance(value, Set) and isinstance(label, list | tuple):
        label = sorted(label, key=repr)  # as ``plain`` does with the set
    value = plain(value)
    if isinstance(label, str) != isinstance(value, str):
        return bool(_composed(as_text(label)) == _composed(as_text(value)))
    return bool(_composed(label) == _composed(value))


def read_as(value: Any, label: Any) -> Any:
    """Return a label as JSON, read as the type of a prediction is: ``True`` and ``yes`` for a bool, a name for an enum.

    Where it cannot be read so, or the type is text or a list of several types, it is returned as it is.
    """
    if isinstance(value, enum.Enum):
        return plain(value) if str(label) in (value.name, str(value.value)) else label
    if value is None or isinstance(value, str):
        return label
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        if isinstance(label, list | tuple) and len(label) == len(value):
            return [read_as(item, part) for item, part in zip(value, label, strict=True)]
        return label
    if isinstance(value, Set | dict) or (isinstance(value, int | float) and not isinstance(value, bool)):
        return label
    try:
        return plain(read_label(type(value), label))
    except (ValueError, SignatureError):
        return label


def same_words(label: Any, value: Any) -> bool:
    """Say whether label and prediction agree after ``normalize``."""
    return normalize(as_text(label)) == normalize(as_text(plain(value)))


def same_items(label: Any, value: Any) -> bool:
    """Say whether label and prediction hold the same items, whatever their order, number, and case."""
    return _item_keys(label) == _item_keys(plain(value))


def token_overlap(label: Any, value: Any) -> float:
    """Return the F1 of the prediction's words against the label's (SQuAD)."""
    right, given = normalize(as_text(label)).split(), normalize(as_text(plain(value))).split()
    if not right or not given:
        return float(right == given)
    common = sum((Counter(right) & Counter(given)).values())
    return 2 * common / (len(right) + len(given))


def contained(label: Any, value: Any) -> bool:
    """Say whether the label's words occur in the prediction, one after the other."""
    wanted, given = normalize(as_text(label)), normalize(as_text(plain(value)))
    if not wanted:
        return not given
    # Whole words only ("no" is not in "know"), without asking scripts that write no blanks for any.
    return re.search(f"(?<![a-z0-9]){re.escape(wanted)}(?![a-z0-9])", given) is not None


def numbers_agree(label: Any, value: Any, tolerance: float) -> bool:
    """Say whether the last numbers of label and prediction differ by at most ``tolerance``."""
    wanted = number_of(label)
    if wanted is None:
        raise MetricError(f"numeric_match needs a number in the label column, but found {label!r:.200}")
    given = number_of(plain(value))
    return given is not None and given.agrees(wanted, tolerance)


def normalize(text: str) -> str:
    """Return text in lower case, without any script's punctuation and articles, blanks collapsed (SQuAD).

    Letters that Unicode can spell in several ways (composed, full-width, ligatures) are spelled in one.
    """
    kept = "".join(char for char in folded(text) if char not in string.punctuation and not _is_mark(char))
    return " ".join(_ARTICLES.sub(" ", kept).split())


def items_of(value: Any) -> list[Any]:
    """Return the items of a list, a set, or a text: a list in JSON or Python, or items between separators."""
    if value is None:
        return []
    if isinstance(value, Mapping) or not isinstance(value, str | list | tuple | Set):
        return [value]
    if not isinstance(value, str):
        return list(value)
    text = value.strip()
    if text[:1] in ("[", "(", "{") and (listed := _literal(text)) is not None:
        return listed
    separator = next((sign for sign in _SEPARATORS if re.search(sign, text)), None)
    parts = [text] if separator is None else re.split(separator, text)
    return [item for part in parts if (item := _BULLET.sub("", part.strip(), count=1).strip().strip("\"'"))]


def plain(value: Any) -> Any:
    """Return a prediction as JSON would hold it: enums, dataclasses, and models opened."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump(mode="json")
    if hasattr(value, "isoformat") or isinstance(value, Decimal | UUID | PurePath):
        return value_to_json(value)
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Set):  # has no order of its own
        return sorted((plain(item) for item in value), key=repr)
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


def _literal(text: str) -> list[Any] | None:
    """Return the items of a list that is written as JSON or Python writes it, None where it is none."""
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(found, list | tuple | Set):
            return list(found)
    return None


def _item_keys(value: Any) -> frozenset[str]:
    return frozenset(
        canonical_json(item) if isinstance(item, list | dict) else " ".join(folded(as_text(item)).split())
        for item in map(plain, items_of(value))
    )


def _composed(value: Any) -> Any:
    """Return a value whose texts are stripped, and spelled in one of the two ways Unicode has for accents (NFC)."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value.strip())
    if isinstance(value, list | tuple):
        return [_composed(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _composed(item) for name, item in value.items()}
    return value


def _is_mark(char: str) -> bool:
    """Say whether a sign is punctuation, or takes no room, such as a soft hyphen."""
    return unicodedata.category(char).startswith("P") or unicodedata.category(char) == "Cf"


def as_text(value: Any) -> str:
    """Return a label or a prediction as the text it is compared as."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value).strip()
