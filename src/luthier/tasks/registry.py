"""The tasks by name. A new task is one new file with a ``TASK``, and one line here."""

from __future__ import annotations

import importlib

from luthier.errors import ConfigError
from luthier.tasks.task import Task

_HOMES = {
    "hotpotqa": "luthier.tasks.hotpotqa:TASK",
    "hotpotqa_conditional": "luthier.tasks.hotpotqa_conditional:TASK",
    "hover": "luthier.tasks.hover:TASK",
    "scone": "luthier.tasks.scone:TASK",
    "iris": "luthier.tasks.iris_task:IRIS",
    "iris_typo": "luthier.tasks.iris_task:IRIS_TYPO",
    "heart_disease": "luthier.tasks.heart_disease:TASK",
    "scone_short": "luthier.tasks.short:SCONE",
    "iris_short": "luthier.tasks.short:IRIS",
    "iris_typo_short": "luthier.tasks.short:IRIS_TYPO",
    "heart_disease_short": "luthier.tasks.short:HEART_DISEASE",
}


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks."""
    return tuple(_HOMES)


def task(name: str) -> Task:
    """Return the task of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in _HOMES:
        raise ConfigError(f"there is no task {name!r}; the tasks are {', '.join(_HOMES)}")
    module, _, attribute = _HOMES[name].partition(":")
    found: Task = getattr(importlib.import_module(module), attribute)
    return found
