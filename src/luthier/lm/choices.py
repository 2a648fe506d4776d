"""Answers of which a few whole texts are possible: what begins as one of them only is that one."""

from __future__ import annotations

import functools
from collections.abc import Sequence


def completed(text: str, choices: Sequence[str]) -> str | None:
    """Return the only choice that begins with ``text``, or None."""
    fitting = {choice for choice in choices if choice.startswith(text)}
    return fitting.pop() if len(fitting) == 1 else None


@functools.lru_cache(maxsize=1024)
def beginnings(choices: tuple[str, ...]) -> tuple[str, ...]:
    """Return the shortest texts that tell each choice from all others; none where one would be met too early.

    A choice that another one begins with has none: only its end tells.
    """
    found = {choice: _beginning(choice, choices) for choice in choices}
    enough = tuple(dict.fromkeys(text for text in found.values() if text is not None))
    for choice, own in found.items():
        need = len(choice if own is None else own)
        # A server looks for these everywhere, not only where the answer begins.
        if any(text in choice and choice.index(text) + len(text) < need for text in enough):
            return ()
    return enough


def _beginning(choice: str, choices: Sequence[str]) -> str | None:
    starts = (choice[:length] for length in range(1, len(choice) + 1))
    return next((start for start in starts if completed(start, choices) is not None), None)
