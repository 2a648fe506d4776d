"""Guards for proposers below 3B parameters, which copy what they are shown and seldom write long texts well.

What they turn away an able proposer may mean: an example of form, a line of code, a rule from the data summary.
"""

from __future__ import annotations

import re

from luthier.propose.wording import normalized, runs, words_of

LIMIT = 1200
"""Characters of an instruction that a small task LM can follow; a long original allows twice its own length."""

_ECHO_WORDS, _COPY_WORDS, _LOOP_WORDS = 7, 5, 5
_LOOP_RUNS = 20

REFUSAL = re.compile(
    r"\b(?:as an ai\b|as a (?:large )?language model\b|"
    r"i(?:'m| am) (?:sorry|unable)|i (?:can ?not|can't|won't) |i apologi[sz]e)",
    re.IGNORECASE,
)
PLACEHOLDER = re.compile(
    r"\{\{?\s*[A-Za-z_][\w. ]*\}?\}|\[(?:your|insert|placeholder|instruction|task|new)\b[^\]\n]*\]|"
    r"<(?:your|insert|placeholder|instruction|proposed|new)\b[^>\n]*>|\{\s*\}",
    re.IGNORECASE,
)
CODE = re.compile(
    r"^\s*(?:def \w+\(|class \w+[:(]|import \w+|from \w+ import |return\b.*[()]|print\(|#include)", re.MULTILINE
)
_HEADING = re.compile(
    r"^\W*(?:dataset summary|program code|program description|task demos|previous instructions|"
    r"basic instruction|current instruction|proposed instruction|improved instruction)\s*:",
    re.IGNORECASE | re.MULTILINE,
)


def echoes(text: str, original: str, meta_prompt: str, facts: str) -> bool:
    """Whether a text has a heading or a run of words of the meta-prompt, or copies half of its facts."""
    if _HEADING.search(text) and not _HEADING.search(original):
        return True
    opening = normalized(meta_prompt.split("\n")[0])
    if opening and normalized(text).startswith(opening):
        return True
    ours = set(runs(words_of(meta_prompt), _ECHO_WORDS)) - set(runs(words_of(original), _ECHO_WORDS))
    return any(run in ours for run in runs(words_of(text), _ECHO_WORDS)) or _copies(text, facts, original)


def repeats(text: str) -> bool:
    """Whether half of a text's short runs of words stand in it already."""
    every = list(runs(words_of(text), _LOOP_WORDS))
    return len(every) > _LOOP_RUNS and len(set(every)) < len(every) / 2


def _copies(text: str, facts: str, original: str) -> bool:
    """Whether half of a text's runs of words are copied from the meta-prompt, the original instruction apart."""
    own = list(runs(words_of(text), _COPY_WORDS))
    copied = set(runs(words_of(facts), _COPY_WORDS)) - set(runs(words_of(original), _COPY_WORDS))
    return len(own) >= _COPY_WORDS and sum(run in copied for run in own) >= len(own) / 2
