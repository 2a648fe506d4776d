"""Calls that luthier sees nothing of: counted by predictor, and told before more is spent on them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping

from luthier.budget import Budget, Ledger
from luthier.errors import UnmeteredWarning
from luthier.evaluation.rollout import Rollout
from luthier.program.trace import OUTSIDE


def unmetered_sentence(counts: Mapping[str, int], *, limits: Iterable[str] = ()) -> str:
    """Say what luthier could not see, what follows, and what to do."""
    told = ", ".join(
        f"{count} outside of any predictor" if name == OUTSIDE else f"{count} of predictor {name!r}"
        for name, count in sorted(counts.items())
    )
    capped = f"the budget's cap ({', '.join(limits)}) does not cover them" if limits else "no bill counts them"
    return (
        f"unmetered calls: {told}; {capped}. Connect their client (lt.connect), or declare what they used "
        "(lt.prompt().used(...))."
    )


class UnmeteredWatch:
    """Looks at every rollout that ends, and tells once, at the first with unmetered calls, that a cap misses them.

    Attributes:
        limits: names of what is capped.

    Args:
        budget: what caps; nothing is told where it limits neither money nor tokens nor calls.
        ledger: whose refusals are to say so, too.
        tell: told the sentence; None warns.
    """

    def __init__(self, budget: Budget | None, ledger: Ledger | None, tell: Callable[[str], None] | None = None) -> None:
        self.limits = () if budget is None else tuple(budget.limits)
        self._ledger = ledger
        self._tell = tell
        self._told = False

    def look(self, rollout: Rollout) -> None:
        """Look at a rollout that has ended."""
        if self._told or not self.limits or not rollout.trace.unmetered:
            return
        self._told = True
        sentence = unmetered_sentence(rollout.trace.unmetered, limits=self.limits)
        if self._ledger is not None:
            names = sorted(rollout.trace.unmetered)
            self._ledger.remark = f"Unmetered calls ({', '.join(names)}) came on top: the cap does not cover them."
        if self._tell is not None:
            self._tell(sentence)
        else:
            warnings.warn(sentence, UnmeteredWarning, stacklevel=2)
