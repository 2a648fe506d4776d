"""What happened in one run of a program: its predictor calls, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.lm.request import Usage, total_usage

OUTSIDE = "(program)"
"""In counts by predictor: what the program did outside of any."""


@dataclass(frozen=True, slots=True)
class Call:
    """One predictor call. Inputs and outputs are JSON; they hold private fields, too: mind where they go."""

    predictor: str
    index: int
    """Which call of this predictor in the run it is, from 0."""
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any] | None
    """None where the answer could not be read."""
    reasoning: str | None
    text: str
    """What the LM answered."""
    finish_reason: str
    usage: Usage | None
    error: str | None = None
    """Why the answer could not be read."""
    badly: tuple[str, ...] = ()
    """What was wrong with the answer (``luthier.program.answer_problems``), whether it could be read or not."""
    lm: str = ""
    """Identity of the LM that answered; empty where the body made its own call, if any, unseen."""
    by_lm: Mapping[str, Usage] = field(default_factory=dict)
    """What each LM used, by identity, where a body's own calls went to several."""
    unmetered: bool = False
    """The predictor's body made its own call, if any, where luthier saw nothing of it."""


@dataclass(slots=True)
class Trace:
    """The predictor calls of one run, in the order in which they ended."""

    calls: list[Call] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    """Names of the texts that the run has read."""
    outside: dict[str, Usage] = field(default_factory=dict)
    """What the user's own clients used besides, outside of any call that ended well, by the LM's identity."""
    unseen: bool = False
    """Whether one of them made a call that leaves no bill, outside of any predictor."""

    def of(self, predictor: str) -> list[Call]:
        """The calls of one predictor."""
        return [call for call in self.calls if call.predictor == predictor]

    @property
    def met(self) -> set[str]:
        """Names of the components that the run has used."""
        return self.read | {call.predictor for call in self.calls}

    @property
    def usage(self) -> Usage:
        """Tokens and calls of the whole run, as if every call had been paid."""
        return total_usage([*self.outside.values(), *(_whole(call) for call in self.calls)])

    @property
    def usage_by_lm(self) -> dict[str, Usage]:
        """The same by the LM's identity; what luthier did not see has none."""
        found: dict[str, Usage] = {}
        for bill in (*({call.lm: _whole(call), **call.by_lm} for call in self.calls if call.lm), self.outside):
            for lm, usage in bill.items():
                found[lm] = found.get(lm, Usage()) + usage
        return found

    @property
    def unmetered(self) -> dict[str, int]:
        """How many calls luthier saw nothing of, by predictor."""
        counts = Counter(call.predictor for call in self.calls if call.unmetered)
        return {**counts, **({OUTSIDE: 1} if self.unseen else {})}


def _whole(call: Call) -> Usage:
    # At least one call, because a callable that reports its tokens need not say that it is one.
    usage = Usage() if call.usage is None else call.usage
    return usage if usage.calls else replace(usage, calls=1)
