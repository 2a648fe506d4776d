"""Words and runs of words: what texts are compared by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_SCRIPT_WITHOUT_SPACES = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_WORD = re.compile(rf"[{_SCRIPT_WITHOUT_SPACES}]|[^\W{_SCRIPT_WITHOUT_SPACES}]+(?:[.,]\d+)*")


def words_of(text: str) -> list[str]:
    """Return a text's words in lower case; of scripts that write no spaces, its characters."""
    return _WORD.findall(text.lower())


def normalized(text: str) -> str:
    """Return a text's words in lower case: what two texts that differ only in punctuation and layout share."""
    return " ".join(words_of(text))


def runs(words: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    """Return all runs of so many words."""
    for start in range(len(words) - length + 1):
        yield tuple(words[start : start + length])
