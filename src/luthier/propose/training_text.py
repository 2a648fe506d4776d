"""What training rows say, indexed: to find where a proposal quotes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.propose.fields import named_text, value_text
from luthier.propose.wording import normalized, runs, words_of

if TYPE_CHECKING:
    from luthier.evaluation.data import Row

_QUOTE_WORDS = 8
_PHRASE_WORDS, _NUMBER_WORDS = 4, 3
"""A value of so many words is a quotation; one with numbers sooner."""
_COMMON = 0.2
"""What stands in more than this share of rows belongs to the task, not to a row."""
_MOST_ROWS, _MOST_WORDS = 1000, 400
_PRIVATE_CHARACTERS = 5


@dataclass(frozen=True, slots=True)
class TrainingText:
    """The texts of training rows, indexed once for many checks."""

    runs: frozenset[int]
    """Hashes of runs of words that stand in few rows."""
    phrases: frozenset[str]
    """Whole values too short for a run, yet too long to be met by chance, normalised."""
    answers: frozenset[str]
    """All label values, normalised."""
    private: frozenset[str] = frozenset()
    """Values of private columns that are not met by chance, normalised."""

    @staticmethod
    def of(rows: Sequence[Row], texts: Iterable[str] = (), *, hidden: Collection[str] = ()) -> TrainingText:
        """Index rows, and further texts such as demos of inner predictors.

        A label that several rows share is the task's vocabulary, no quotation. Private columns count, too: a proposer
        is not shown them, but whatever way one came, it must not stay.

        Args:
            rows: training rows.
            texts: further texts.
            hidden: names of private columns.
        """
        seen = rows[:_MOST_ROWS]
        found, phrases, private = Counter[int](), Counter[str](), Counter[str]()
        labels = Counter(normalized(value_text(value)) for row in seen for value in row.labels.values())
        for row in seen:
            values = {**row.inputs, **row.labels}
            words = [words_of(value_text(value))[:_MOST_WORDS] for value in values.values()]
            whole = words_of(named_text(values))[:_MOST_WORDS]
            found.update({hash(run) for text in (whole, *words) for run in runs(text, _QUOTE_WORDS)})
            phrases.update({" ".join(text) for text in words if _telling(text) and labels[" ".join(text)] < 2})
            private.update({normalized(value_text(values[name])) for name in hidden if name in values})
        limit = max(1.0, _COMMON * len(seen))
        rare = {run for run, count in found.items() if count <= limit}
        for text in texts:
            new = (hash(run) for run in runs(words_of(text), _QUOTE_WORDS))
            rare.update(run for run in new if run not in found)
        return TrainingText(
            frozenset(rare),
            frozenset(phrase for phrase, count in phrases.items() if count <= limit),
            frozenset(labels),
            frozenset(value for value, count in private.items() if count <= limit and _identifying(value)),
        )

    def quoted(self, text: str, *, allowed: str = "") -> bool:
        """Whether a text quotes a row, or a value of one, that ``allowed`` does not quote itself."""
        permitted = set(runs(words_of(allowed), _QUOTE_WORDS))
        new = (run for run in runs(words_of(text), _QUOTE_WORDS) if run not in permitted)
        return any(hash(run) in self.runs for run in new) or _holds(self.phrases, text, allowed)

    def holds_private(self, text: str, *, allowed: str = "") -> bool:
        """Whether a text has a private value in it that ``allowed`` does not have itself."""
        return _holds(self.private, text, allowed)


def _holds(phrases: Iterable[str], text: str, allowed: str) -> bool:
    flat, free = f" {normalized(text)} ", f" {normalized(allowed)} "
    return any(f" {phrase} " in flat and f" {phrase} " not in free for phrase in phrases)


def _telling(words: Sequence[str]) -> bool:
    least = _NUMBER_WORDS if any(word[0].isdigit() for word in words) else _PHRASE_WORDS
    return least <= len(words) < _QUOTE_WORDS


def _identifying(value: str) -> bool:
    """Whether a private value tells of one person or thing: two words, or a number; a word alone is met by chance."""
    return " " in value or (len(value) >= _PRIVATE_CHARACTERS and any(char.isdigit() for char in value))
