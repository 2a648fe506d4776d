"""From what the user chose as ``executor=`` to an executor."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

from luthier.errors import ConfigError
from luthier.evaluation.executor import Executor
from luthier.evaluation.making import Here

_NAMED = {"ray": "luthier.adapters.ray"}
"""By name: the module whose ``cluster()`` opens an executor; imported only when it is asked for."""
ExecutorChoice: TypeAlias = Executor | str | None
"""What ``executor=`` takes: None or "local": this process; "ray"; or an executor that is open already."""


def opened(executor: ExecutorChoice) -> AbstractContextManager[Executor]:
    """Return what was chosen as a context manager; an executor that was handed in stays open after it.

    Raises:
        ConfigError: there is no executor of that name, or its package is not installed.
    """
    if executor is None or executor == "local":
        return nullcontext(Here())
    if not isinstance(executor, str):
        return nullcontext(executor)
    home = _NAMED.get(executor)
    if home is None:
        raise ConfigError(f"executor={executor!r}: must be one of local, {', '.join(_NAMED)}, or an open executor")
    found: AbstractContextManager[Executor] = importlib.import_module(home).cluster()
    return found
