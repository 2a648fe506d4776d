"""What a study is a study of, and how two manifests differ."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from luthier.errors import JournalError, StudyMismatch

_ABSENT = object()
_SHOWN = 60
_LISTED = 12
_BUDGET = "budget"
_FORMAT = "format"
_UNSAID: Mapping[str, Any] = {_FORMAT: 1, "renderer": 1}
"""What manifests do not say that are older than the saying of it."""


def find_differences(old: Any, new: Any, path: str = "", *, older: bool = False) -> list[str]:
    """Return one line for each difference between two JSON values: where, what it was, what it is.

    What an ``older`` one does not name, it cannot differ in.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            line
            for key in dict.fromkeys([*old, *new])
            for line in find_differences(
                old.get(key, _ABSENT), new.get(key, _ABSENT), f"{path}.{key}" if path else str(key), older=older
            )
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            line
            for i, (before, after) in enumerate(zip(old, new, strict=True))
            for line in find_differences(before, after, f"{path}[{i}]", older=older)
        ]
    same = (type(old) is type(new) and old == new) or (older and old is _ABSENT)
    return [] if same else [f"{path or 'manifest'}: was {_shown(old)}, is {_shown(new)}"]


def check_manifest(where: Path, old: Mapping[str, Any], new: Mapping[str, Any], accept: Collection[str]) -> None:
    """Let a study be continued with ``new`` in place of ``old``.

    Everything must be the same, apart from a raised budget and the top-level keys to ``accept``. A manifest of an older
    ``format`` is held to what it names: later versions of luthier name more, and an upgrade must not strand a study.

    Raises:
        StudyMismatch: the message names each difference, and what to do.
    """
    old, new = {**_UNSAID, **old}, {**_UNSAID, **new}
    ignored = {_BUDGET, _FORMAT, *accept}
    lines = find_differences(
        {key: value for key, value in old.items() if key not in ignored},
        {key: value for key, value in new.items() if key not in ignored},
        older=old[_FORMAT] < new[_FORMAT],
    )
    lines += [f"{line} (a budget may only be raised)" for line in _lowered(old.get(_BUDGET), new.get(_BUDGET))]
    if not lines:
        return
    rest = [f"… and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    listed = "\n".join(f"  - {line}" for line in [*lines[:_LISTED], *rest])
    raise StudyMismatch(
        f"{where} holds a study of something else:\n{listed}\n"
        "Name another study directory to start over, or restore these to continue the study."
    )


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Return the manifest last accepted, or None where none was written yet.

    Raises:
        JournalError: the file is damaged.
    """
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise JournalError(f"{path}: damaged ({error}); delete it to continue from the journal") from error
    if not isinstance(manifest, dict):
        raise JournalError(f"{path}: not a manifest; delete it to continue from the journal")
    return manifest


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest on disk, whole or not at all."""
    draft = path.with_suffix(".tmp")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(manifest, file, ensure_ascii=False, indent=2, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _lowered(old: Any, new: Any) -> list[str]:
    """Return the differences between budgets that are no raises; None is no limit."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        amounts = dict.fromkeys([*old, *new])
        return [
            f"{_BUDGET}.{name}: was {_shown(old.get(name))}, is {_shown(new.get(name))}"
            for name in amounts
            if not _at_least(new.get(name), old.get(name))
        ]
    if new is None or (old is not None and _at_least(new, old)):
        return []
    if old is None and isinstance(new, Mapping) and all(amount is None for amount in new.values()):
        return []
    return [f"{_BUDGET}: was {_shown(old)}, is {_shown(new)}"]


def _at_least(new: Any, old: Any) -> bool:
    if new is None or new == old:
        return True
    return isinstance(old, int | float) and isinstance(new, int | float) and new >= old


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
