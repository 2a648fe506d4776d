"""The tasks by name. A new task is one new file with a ``TASK``, and one line here."""

from __future__ import annotations

import importlib

from benchmarks.tasks.task import Task
from luthier.errors import ConfigError

_HOMES = {
    "hotpotqa": "benchmarks.tasks.hotpotqa:TASK",
    "hotpotqa_conditional": "benchmarks.tasks.hotpotqa_conditional:TASK",
    "hover": "benchmarks.tasks.hover:TASK",
    "scone": "benchmarks.tasks.scone:TASK",
    "iris": "benchmarks.tasks.iris_task:IRIS",
    "iris_typo": "benchmarks.tasks.iris_task:IRIS_TYPO",
    "heart_disease": "benchmarks.tasks.heart_disease:TASK",
    "scone_short": "benchmarks.tasks.short:SCONE",
    "iris_short": "benchmarks.tasks.short:IRIS",
    "iris_typo_short": "benchmarks.tasks.short:IRIS_TYPO",
    "heart_disease_short": "benchmarks.tasks.short:HEART_DISEASE",
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
