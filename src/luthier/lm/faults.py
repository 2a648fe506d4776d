"""Faults that only this package tells apart."""

from __future__ import annotations

from luthier.errors import ServerFault, Unreachable


class NeverSent(Unreachable):
    """The connection was never made, so the server cannot have worked, or bill."""


class BadAnswer(ServerFault):
    """The answer was cut on its way, is no JSON, or holds no choice."""
