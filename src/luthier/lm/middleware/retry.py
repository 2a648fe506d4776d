"""The layer that tries again when infrastructure fails, and the breaker that says when to stop trying."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from luthier.errors import AccessDenied, ConfigError, StudyPaused, Unavailable
from luthier.lm.middleware.call import Call, Gate, Layer
from luthier.lm.request import Completion

_GIVEN_UP = 2  # calls in a row: one may be the fault of its request


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long infrastructure faults are retried.

    Raises:
        ConfigError: a number is negative.
    """

    first: float = 0.5
    """The longest first wait, in seconds; each further one may be twice as long."""
    longest: float = 60.0
    give_up_after: float = 600.0
    """Seconds from the first failure of a call after which no further attempt is made."""
    breaker_failures: int = 20
    """So many failures in a row, or two calls given up, …"""
    breaker_seconds: float = 120.0
    """… and no success for so long end all calls."""

    def __post_init__(self) -> None:
        if min(self.first, self.longest, self.give_up_after, self.breaker_failures, self.breaker_seconds) < 0:
            raise ConfigError(f"{self}: no number may be negative.")


class Breaker:
    """Shuts the gate after many failures in a row and no success for a while, or where access is denied.

    Args:
        policy: how many failures, how long a while.
        gate: what to shut; None: whoever asks outlives all trouble, and may always try again.
        name: of the LM, for people.
    """

    def __init__(self, policy: RetryPolicy, gate: Gate | None, name: str) -> None:
        self._policy = policy
        self._gate = gate
        self._name = name
        self._failures = 0
        self._given_up = 0
        self._failing_since = 0.0

    def succeeded(self) -> None:
        """Count a success."""
        self._failures = self._given_up = 0

    def denied(self, error: AccessDenied) -> None:
        """End all calls: what denies one denies all.

        Raises:
            StudyPaused: they have ended.
        """
        if self._gate is not None:
            self._gate.shut(f"{self._name}: {error}")
            raise StudyPaused(f"{self._name}: {error}") from error

    def failed(self, error: Unavailable, *, final: bool) -> None:
        """Count a failure, and the call as given up where it is the final one."""
        now = time.monotonic()
        if self._failures == 0:
            self._failing_since = now  # not the last success: the line may have been idle since
        self._failures += 1
        self._given_up += final
        silent = now - self._failing_since
        # With few calls in flight, patience with each would add up to hours before there are many failures.
        dead = self._failures >= self._policy.breaker_failures or self._given_up >= _GIVEN_UP
        if self._gate is not None and dead and silent >= self._policy.breaker_seconds:
            self._gate.shut(
                f"{self._name} has not answered for {silent:.0f} s, {self._failures} failures in a row; "
                f"the last was {type(error).__name__}: {error}"
            )


class Retry:
    """Tries again after infrastructure faults, with full-jitter backoff; what the server asks to wait is obeyed."""

    def __init__(
        self,
        inner: Layer,
        policy: RetryPolicy,
        breaker: Breaker,
        gate: Gate,
        on_fault: Callable[[Unavailable, float | None], None],
    ) -> None:
        self._inner = inner
        self._policy = policy
        self._breaker = breaker
        self._gate = gate
        self._on_fault = on_fault

    async def complete(self, call: Call) -> Completion:
        """Return the first answer.

        Raises:
            Unavailable: no attempt succeeded in time.
            AccessDenied: the key or the quota does not allow it, and other calls go on.
            StudyPaused: all calls end.
        """
        failures = 0
        failing_since = 0.0
        while True:
            self._gate.check()
            try:
                completion = await self._inner.complete(call)
            except Unavailable as error:
                now = time.monotonic()
                failing_since = failing_since if failures else now  # time spent waiting for a turn does not count
                failures += 1
                wait = self._wait(call, failures, error)
                final = now + wait - failing_since >= self._policy.give_up_after
                self._breaker.failed(error, final=final)
                self._on_fault(error, None if final else wait)
                self._gate.check()
                if final:
                    raise
            except AccessDenied as error:
                self._breaker.denied(error)
                raise
            else:
                self._breaker.succeeded()
                return completion
            await self._gate.pause(wait)

    def _wait(self, call: Call, failures: int, error: Unavailable) -> float:
        # Full jitter: anything from zero to the bound, so that callers who failed together do not return together.
        bound = min(self._policy.longest, self._policy.first * 2.0 ** min(failures - 1, 32))
        jitter = random.Random(f"{call.key}/{failures}").uniform(0.0, bound)
        return jitter if error.retry_after is None else error.retry_after + jitter / 2
