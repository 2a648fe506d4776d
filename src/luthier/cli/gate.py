"""The gate of ``evaluate --baseline``: what a comparison says, and the code that a CI job ends with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.cli.console import say
from luthier.cli.exits import Code
from luthier.errors import ConfigError

if TYPE_CHECKING:
    from luthier.runner.compare import Difference


@dataclass(frozen=True, slots=True)
class Gate:
    """How much worse a candidate may be, and who has to show what.

    Attributes:
        tolerance: as a share of the score: 0.02 is two points.
        shown_good: it fails unless the examples show that the candidate is no worse; else it fails only where they
            show that it is.
    """

    tolerance: float
    shown_good: bool

    @staticmethod
    def of(fail_if_worse: float | None, fail_unless_as_good: float | None) -> Gate | None:
        """Return the gate that the options ask for, None where they ask for none.

        Raises:
            ConfigError: both are given, or a tolerance is no share.
        """
        if fail_if_worse is not None and fail_unless_as_good is not None:
            raise ConfigError("--fail-if-worse and --fail-unless-as-good are two answers to one question: give one")
        tolerance = fail_if_worse if fail_unless_as_good is None else fail_unless_as_good
        if tolerance is None:
            return None
        if not 0 <= tolerance < 1:
            raise ConfigError(f"a tolerance is a share of the score, as 0.02 for two points, not {tolerance:g}")
        return Gate(tolerance, fail_unless_as_good is not None)

    def code(self, difference: Difference) -> Code:
        """Return what the command ends with."""
        standing = difference.standing(self.tolerance)
        if standing == "worse":
            return Code.KEEP
        return Code.UNDECIDED if self.shown_good and standing == "cannot tell" else Code.DONE

    def tell(self, difference: Difference) -> None:
        """Say whether the gate is passed, and why."""
        allowed = f"{100 * self.tolerance:g} point{'' if self.tolerance == 0.01 else 's'}"
        end = "upper" if difference.standing(self.tolerance) == "worse" else "lower"
        at = 100 * (difference.high if end == "upper" else difference.low)
        claim = {
            "worse": f"the candidate is worse by more than {allowed}",
            "as good": f"the candidate is not worse by more than {allowed}",
            "cannot tell": f"these examples cannot tell whether the candidate is worse by more than {allowed}",
        }[difference.standing(self.tolerance)]
        passed = "passed" if self.code(difference) is Code.DONE else "failed"
        say(f"Gate {passed}: {claim} (the interval's {end} end is {at:+.1f}).", style="bold")

    def to_json(self, difference: Difference) -> dict[str, Any]:
        """Return what was asked and what came of it."""
        return {
            "rule": "fail unless as good" if self.shown_good else "fail if worse",
            "tolerance": self.tolerance,
            "standing": difference.standing(self.tolerance),
            "passed": self.code(difference) is Code.DONE,
        }
