"""What happened in one run of a program: its predictor calls, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.lm.request import Usage, total_usage


@dataclass(frozen=True, slots=True)
class Call:
    """One predictor call. Inputs and outputs are JSON; they hold private fields, too: mind where they go."""

    predictor: str
    index: int
    """The how-manieth call of this predictor in the run, from 0."""
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
    """What was wrong with the answer (``luthier.program.badly``), whether it could be read or not."""
    lm: str = ""
    """Identity of the LM that answered; empty where the body made its own call."""


@dataclass(slots=True)
class Trace:
    """The predictor calls of one run, in the order in which they ended."""

    calls: list[Call] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    """Names of the texts that the run has read."""

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
        known = [call.usage for call in self.calls if call.usage is not None]
        # At least one each, because a callable that reports its tokens need not say that it is one call.
        more = sum(max(0, usage.calls - 1) for usage in known)
        return replace(total_usage(known), calls=len(self.calls) + more)

    @property
    def usage_by_lm(self) -> dict[str, Usage]:
        """The same by the LM's identity; calls that a body made itself have none."""
        return {lm: Trace([call for call in self.calls if call.lm == lm]).usage for lm in self._lms()}

    def _lms(self) -> list[str]:
        return list(dict.fromkeys(call.lm for call in self.calls if call.lm))
