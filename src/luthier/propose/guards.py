"""Guards: what is wrong with a proposed instruction, if anything."""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.program.text import Guard
from luthier.propose.fields import Subject, named_text, value_text

if TYPE_CHECKING:
    from luthier.evaluation.data import Row

LIMIT = 1200
"""Characters; an original longer than half of it allows twice its own length."""

_ECHO_WORDS = 7
_COPY_WORDS = 5
_QUOTE_WORDS = 8
_PHRASE_WORDS, _NUMBER_WORDS = 4, 3
"""A value of so many words is a quotation; one with numbers sooner."""
_COMMON = 0.2
"""What stands in more than this share of rows belongs to the task, not to a row."""
_MOST_ROWS, _MOST_WORDS = 1000, 400
_LEAST_WORDS = 3

_REFUSAL = re.compile(
    r"\b(?:as an ai\b|as a (?:large )?language model\b|"
    r"i(?:'m| am) (?:sorry|unable)|i (?:can ?not|can't|won't) |i apologi[sz]e)",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"\{\{?\s*[A-Za-z_][\w. ]*\}?\}|\[(?:your|insert|placeholder|instruction|task|new)\b[^\]\n]*\]|"
    r"<(?:your|insert|placeholder|instruction|proposed|new)\b[^>\n]*>|\{\s*\}",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"^\s*(?:def \w+\(|class \w+[:(]|import \w+|from \w+ import |return\b.*[()]|print\(|#include)", re.MULTILINE
)
_HEADING = re.compile(
    r"^\W*(?:dataset summary|program code|program description|task demos|previous instructions|"
    r"basic instruction|current instruction|proposed instruction|improved instruction)\s*:",
    re.IGNORECASE | re.MULTILINE,
)
_WORD = re.compile(r"\w+(?:[.,]\d+)*")


class Fault(enum.StrEnum):
    """Why a proposal was rejected."""

    EMPTY = "empty"
    CUT = "cut"
    TOO_LONG = "too long"
    REFUSAL = "refusal"
    PLACEHOLDER = "placeholder"
    CODE = "code"
    ANSWER = "answer instead of instruction"
    REPETITION = "repeats itself"
    ECHO = "echoes the meta-prompt"
    QUOTE = "quotes training data"
    OVER_LIMIT = "longer than its guard allows"
    LACKS = "lacks what it must contain"
    FORBIDDEN = "contains what is forbidden"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class TrainingText:
    """The texts that a proposal must not quote, indexed once for many checks."""

    runs: frozenset[int]
    """Hashes of runs of words that stand in few rows."""
    phrases: frozenset[str]
    """Whole values too short for a run, yet too long to be met by chance, normalised."""
    answers: frozenset[str]
    """All label values, normalised."""

    @staticmethod
    def of(rows: Sequence[Row], texts: Iterable[str] = ()) -> TrainingText:
        """Index rows, and further texts such as demos of inner predictors.

        Private columns count, too: a proposer is not shown them, but whatever way one came, it must not stay.
        """
        seen = rows[:_MOST_ROWS]
        runs, phrases = Counter[int](), Counter[str]()
        for row in seen:
            values = {**row.inputs, **row.labels}
            words = [_words(value_text(value))[:_MOST_WORDS] for value in values.values()]
            whole = _words(named_text(values))[:_MOST_WORDS]
            runs.update({run for text in (whole, *words) for run in _runs(text, _QUOTE_WORDS)})
            phrases.update({" ".join(text) for text in words if _telling(text)})
        limit = max(1.0, _COMMON * len(seen))
        rare = {run for run, count in runs.items() if count <= limit}
        for text in texts:
            rare.update(run for run in _runs(_words(text), _QUOTE_WORDS) if run not in runs)
        answers = frozenset(normalized(value_text(value)) for row in seen for value in row.labels.values())
        return TrainingText(frozenset(rare), frozenset(p for p, n in phrases.items() if n <= limit), answers)

    def quoted(self, text: str, *, allowed: str = "") -> bool:
        """Whether a text quotes a row, or a value of one, that ``allowed`` does not quote itself."""
        permitted = set(_runs(_words(allowed), _QUOTE_WORDS))
        if any(run in self.runs and run not in permitted for run in _runs(_words(text), _QUOTE_WORDS)):
            return True
        flat, free = f" {normalized(text)} ", f" {normalized(allowed)} "
        return any(f" {phrase} " in flat and f" {phrase} " not in free for phrase in self.phrases)


def check(
    text: str,
    *,
    subject: Subject,
    meta_prompt: str,
    training: TrainingText,
    facts: str = "",
    finish_reason: str = "stop",
    limit: int = LIMIT,
) -> Fault | None:
    """Return what is wrong with a cleaned proposal, None where nothing is.

    Args:
        text: the proposal.
        subject: what it is written for; what the original says itself may be said again.
        meta_prompt: the wording of the meta-prompt, without what it was filled with.
        training: what must not be quoted.
        facts: the whole meta-prompt; a proposal that mostly copies it says nothing new.
        finish_reason: why the proposer stopped.
        limit: the longest proposal, in characters.
    """
    words, original = _words(text), subject.original
    if finish_reason == "length":
        return Fault.CUT
    if len(words) == 0:
        return Fault.EMPTY
    if _echoes(text, original, meta_prompt) or _copies(words, facts, original):
        return Fault.ECHO
    if len(text) > max(limit, 2 * len(original)):
        return Fault.TOO_LONG
    if (fault := _breaks(text, subject.guard) or _wrong_kind(text, subject, training)) is not None:
        return fault
    if _repeats(words):
        return Fault.REPETITION
    if training.quoted(text, allowed=f"{original}\n{subject.known}"):
        return Fault.QUOTE
    return Fault.DUPLICATE if normalized(text) == normalized(original) else None


def normalized(text: str) -> str:
    """Return a text's words in lower case: what two instructions that differ only in dress share."""
    return " ".join(_words(text))


def _breaks(text: str, guard: Guard) -> Fault | None:
    if guard.too_long(text):
        return Fault.OVER_LIMIT
    if guard.lacks(text):
        return Fault.LACKS
    return Fault.FORBIDDEN if guard.forbids(text) else None


def _wrong_kind(text: str, subject: Subject, training: TrainingText) -> Fault | None:
    original, bare = subject.original, text
    for part in subject.guard.must_contain:  # a placeholder that must stand there is none that was left to be filled
        original, bare = original.replace(part, ""), bare.replace(part, "")
    for pattern, fault in ((_REFUSAL, Fault.REFUSAL), (_PLACEHOLDER, Fault.PLACEHOLDER), (_CODE, Fault.CODE)):
        if pattern.search(bare) and not pattern.search(original):
            return fault
    flat = normalized(text)
    answers = {normalized(choice) for field in subject.outputs for choice in field.choices}
    stripped = flat
    for field in subject.outputs:
        stripped = stripped.removeprefix(f"{normalized(field.name)} ")
    if {flat, stripped} & (answers | training.answers):
        return Fault.ANSWER
    return Fault.EMPTY if len(flat.split()) < min(_LEAST_WORDS, len(original.split())) else None


def _telling(words: Sequence[str]) -> bool:
    least = _NUMBER_WORDS if any(word[0].isdigit() for word in words) else _PHRASE_WORDS
    return least <= len(words) < _QUOTE_WORDS


def _repeats(words: Sequence[str]) -> bool:
    runs = list(_runs(words, 5))
    return len(runs) > 20 and len(set(runs)) < len(runs) / 2


def _echoes(text: str, original: str, meta_prompt: str) -> bool:
    if _HEADING.search(text) and not _HEADING.search(original):
        return True
    opening = normalized(meta_prompt.split("\n")[0])
    if opening and normalized(text).startswith(opening):
        return True
    ours = set(_runs(_words(meta_prompt), _ECHO_WORDS)) - set(_runs(_words(original), _ECHO_WORDS))
    return any(run in ours for run in _runs(_words(text), _ECHO_WORDS))


def _copies(words: Sequence[str], facts: str, original: str) -> bool:
    """Whether half of a text's runs of words are copied from the meta-prompt, the original instruction apart."""
    runs = list(_runs(words, _COPY_WORDS))
    copied = set(_runs(_words(facts), _COPY_WORDS)) - set(_runs(_words(original), _COPY_WORDS))
    return len(runs) >= _COPY_WORDS and sum(run in copied for run in runs) >= len(runs) / 2


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _runs(words: Sequence[str], length: int) -> Iterator[int]:
    for start in range(len(words) - length + 1):
        yield hash(" ".join(words[start : start + length]))
