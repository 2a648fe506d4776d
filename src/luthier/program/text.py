"""Texts: components that are text only, such as a region of a prompt template or a tool's description.

A text has a name, an original, and facts for the proposer; it takes no demos. Whoever holds some (a template, a
tool) names them in ``luthier_texts``; so they are found by the walk, and they are met when they are read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from luthier.canonical import content_hash
from luthier.errors import ConfigError
from luthier.program.component import value_in
from luthier.program.context import current_run
from luthier.program.prompt import Kind, Prompt

_BYTES_PER_TOKEN = 4.0


@dataclass(frozen=True, slots=True)
class Guard:
    """What a proposed text must keep to; one that does not is rejected, counted by reason, and asked for again.

    Args:
        max_tokens: the longest text, at four bytes of UTF-8 a token.
        must_contain: what must stand in it, letter for letter.
        forbid: what must not, capitals or not.
    """

    max_tokens: int | None = None
    must_contain: Sequence[str] = ()
    forbid: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.must_contain, str) or isinstance(self.forbid, str):
            raise ConfigError("a guard's must_contain and forbid are lists of texts, not one text")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError(f"max_tokens={self.max_tokens}: a guard must allow at least 1")
        object.__setattr__(self, "must_contain", tuple(self.must_contain))
        object.__setattr__(self, "forbid", tuple(self.forbid))

    def too_long(self, text: str) -> bool:
        """Whether a text has more tokens than are allowed."""
        tokens = math.ceil(len(text.encode("utf-8", "surrogatepass")) / _BYTES_PER_TOKEN)
        return self.max_tokens is not None and tokens > self.max_tokens

    def lacks(self, text: str) -> bool:
        """Whether something is not in a text that must be."""
        return any(part not in text for part in self.must_contain)

    def forbids(self, text: str) -> bool:
        """Whether something is in a text that must not be."""
        folded = text.casefold()
        return any(part.casefold() in folded for part in self.forbid)

    @property
    def sentences(self) -> str:
        """The conditions in words, for whoever writes the text."""
        said = []
        if self.must_contain:
            said.append(f"It must contain, letter for letter: {'  '.join(self.must_contain)}")
        if self.forbid:
            said.append(f"It must not contain: {'; '.join(self.forbid)}.")
        if self.max_tokens is not None:
            said.append(f"It may have at most {self.max_tokens} tokens.")
        return "\n".join(said)


@dataclass(frozen=True, slots=True)
class Text:
    """A component that is text only."""

    name: str
    """E.g. ``answer.system``."""
    kind: Kind
    text: str
    """The original."""
    facts: str = ""
    """What it is and what stands around it, as the sentence "It …" goes on; the proposer is shown it."""
    takes: tuple[str, ...] = ()
    """What the original has that must be filled in, e.g. ``{question}``; a text is made for these."""
    guard: Guard = field(default_factory=Guard)
    around: str = ""
    """Identifies what is fixed around it, which is a part of the program."""
    place: str = "an unknown place"
    """Where it is defined, for error messages."""

    @property
    def original(self) -> Prompt:
        """The text before any tuning."""
        return Prompt(self.text, kind=self.kind)

    @property
    def fingerprint(self) -> str:
        """Identifies what a text is made for: its kind and what it takes, not what it says."""
        takes = sorted(set(self.takes))
        line = f"{self.kind.value} with {', '.join(takes)}" if takes else self.kind.value
        return f"{line} # {content_hash([self.kind.value, takes])}"

    def current(self) -> str:
        """Return the text of the current run's candidate; the original outside of any run.

        Raises:
            CandidateError: the candidate's was made for something else.
        """
        run = current_run()
        if run is None:
            return self.text
        run.read(self)
        return value_in(run.candidate, self).instruction


class HoldsTexts(Protocol):
    """Anything with texts to be tuned."""

    @property
    def luthier_texts(self) -> tuple[Text, ...]:
        """Its texts."""
        ...
