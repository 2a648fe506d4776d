"""From what the user chose as ``executor=`` to an executor."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import entry_points
from typing import TypeAlias

from luthier.errors import ConfigError
from luthier.evaluation.executor import Executor
from luthier.evaluation.making import Here

REGISTERED = "luthier.executors"
"""The group of entry points by whose names packages offer executors: each is a function that opens one."""
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
    registered = entry_points(group=REGISTERED)
    if executor not in registered.names:
        names = ", ".join(sorted({"local", *registered.names}))
        raise ConfigError(f"executor={executor!r}: must be one of {names}, or an open executor")
    found: AbstractContextManager[Executor] = registered[executor].load()()
    return found
