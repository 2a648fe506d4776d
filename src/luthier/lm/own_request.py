"""Requests of the user's own clients: stored, joined, retried, and charged like any other; sent by their client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from luthier.canonical import content_hash
from luthier.errors import RequestRejected
from luthier.lm.request import KEY_VERSION, Completion, Request


@dataclass(frozen=True, slots=True)
class OwnRequest(Request):
    """A request whose bytes are the client's: an LM's settings fill nothing in, and its completer is not asked.

    The other fields only say how much it may read and write at most.
    """

    told: Any = None
    """All of it that can change the answer, as JSON."""
    ask: Callable[[], Awaitable[Completion]] | None = field(default=None, compare=False, repr=False)
    """Sends it; called on the engine's loop, once for every attempt."""

    def key(self, lm_identity: str) -> str:
        """Return the store key of this request to the LM of that identity."""
        return content_hash([KEY_VERSION, lm_identity, "own", self.told, self.sample])


class OwnRejected(RequestRejected):
    """The server refuses a request of the user's client, whose business it is to say so.

    Attributes:
        status: the reply's status.
        content: its body.
    """

    def __init__(self, message: str, *, status: int, content: bytes) -> None:
        super().__init__(message)
        self.status = status
        self.content = content
