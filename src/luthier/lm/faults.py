"""A fault that only this package tells apart."""

from __future__ import annotations

from luthier.errors import Unreachable


class NeverSent(Unreachable):
    """The connection was never made, so the server cannot have worked, or bill."""
