"""What answers the requests of an ``LM``: a client, the embedded engine, or the user's own code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luthier.lm.callables import CallableCompleter
from luthier.lm.request import Completer

if TYPE_CHECKING:
    from luthier.lm.lm import LM


def open_completer(lm: LM) -> Completer:
    """Return the innermost completer of ``lm``."""
    if lm.is_local:
        from luthier.lm.embedded import EmbeddedCompleter

        return EmbeddedCompleter(str(lm.model).removeprefix("local/"), slots=lm.slots, timeout=lm.timeout)
    if lm.address is not None:
        from luthier.lm.client import Client

        return Client(lm.address, timeout=lm.timeout)
    ask: Any = getattr(lm.model, "complete", lm.model)
    return CallableCompleter(ask, name=lm.name, timeout=lm.timeout)
