"""Faults that only this package tells apart."""

from __future__ import annotations

from luthier.errors import (
    AccessDenied,
    BudgetExhausted,
    CallTimeout,
    ConfigError,
    RequestRejected,
    ServerFault,
    StoreError,
    StudyPaused,
    Unavailable,
    Unreachable,
    WeightsError,
)

ENDS_ALL = (StudyPaused, BudgetExhausted, AccessDenied, RequestRejected, ConfigError, WeightsError, StoreError)
"""Errors that no rollout of a study can get past."""
INFRASTRUCTURE = (Unavailable, ConnectionError, TimeoutError)
"""Errors that leave a rollout unscored."""


class NeverSent(Unreachable):
    """The connection was never made, so the server cannot have worked, or bill."""


class BadAnswer(ServerFault):
    """The answer was cut on its way, is no JSON, or holds no choice."""


class GivenUp(CallTimeout):
    """User code cancelled the call, by a timeout of its own for one, before there was an answer."""
