"""Results on disk: one file a case, read with a word about what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.files import DECLARED, RESULTS
from benchmarks.suites.suite import Case
from luthier.errors import ConfigError, DataError

_PARTS = {
    "done": ("scoring", "test", "prompts", "curve", "counts", "insight"),
    "failed": ("error",),
}
"""What results hold beside case and status."""
COUNTED = (
    *("search_rollouts", "rollouts", "new_rollouts", "calls_paid"),
    *("tokens_cached", "tokens_uncached", "tokens_out"),
)
"""The four counts beside each other."""


def known_result(case: Case, folder: Path) -> dict[str, Any] | None:
    """Return what a finished case came to; None where it has yet to be run, or its file cannot be read.

    Raises:
        ConfigError: the file holds the result of another case.
    """
    file = file_of(case, folder)
    try:
        result = read_result(file) if file.exists() else None
    except DataError:  # its study is kept, and tells the same again
        return None
    if result is None or result["status"] != "done":
        return None
    if (other := Case.from_json(result["case"])) != case:
        theirs, ours = other.to_json(), case.to_json()
        differs = next(name for name in ours if ours[name] != theirs[name])
        raise ConfigError(
            f"{file} is the result of another case: its {differs} is {theirs[differs]!r}, here it is "
            f"{ours[differs]!r}; take another --out"
        )
    return result


def file_of(case: Case, folder: Path) -> Path:
    """Return where a case's result is kept."""
    return folder / RESULTS / f"{case.slug}.json"


def read_result(file: Path) -> dict[str, Any] | None:
    """Return the result that a file holds; None where it holds something else.

    Raises:
        DataError: it cannot be read, or lacks what a result has.
    """
    again = "delete it, and run the same `python -m benchmarks run` again, which takes it from the study"
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}; {again}") from error
    if not isinstance(result, dict) or "case" not in result:
        return None
    try:
        case = Case.from_json(result["case"])
        if lacking := [part for part in _PARTS[result["status"]] if part not in result]:
            raise DataError(f"{file} lacks {lacking[0]!r}; {again}")
        _check(case, result)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        told = f"there is no {error}" if isinstance(error, KeyError) else error
        raise DataError(f"{file} is no result of a case: {told}; {again}") from error
    return result


def _check(case: Case, result: Mapping[str, Any]) -> None:
    """Look at whatever tables are made of.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: something is missing, or of another kind.
    """
    if type(case.seed) is not int or not all(isinstance(name, str) for name in (case.task, case.optimizer, case.lm)):
        raise TypeError("task, optimizer, and LM must be texts, the seed a whole number")
    _numbers([number for number in (case.temperature, case.evaluations, case.candidates) if number is not None])
    if result["status"] != "done":
        return
    test, scoring, counts = result["test"], result["scoring"], result["counts"]
    _numbers([scoring["n"], scoring["before"], scoring["after"], *test["before"], *test["after"]])
    if not len(test["examples"]) == len(test["before"]) == len(test["after"]) or scoring["n"] < 1:
        raise ValueError("scores and examples are not equally many, or none")
    _numbers([counts[name] for name in COUNTED] + [phase["calls_asked"] for phase in counts["phases"].values()])
    _numbers([number for place in result["curve"] for number in place])
    if not result["curve"] or any(len(place) != 2 for place in result["curve"]):
        raise ValueError("the curve has no places")


def _numbers(values: Sequence[object]) -> None:
    if strange := [value for value in values if not isinstance(value, (int, float)) or value != value]:
        raise TypeError(f"{strange[0]!r} is no number")


def read_results(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the results of all cases in folders of runs, or in folders that hold results alone.

    Raises:
        DataError: as ``results_by_folder``.
    """
    return [result for own in results_by_folder(folders).values() for result in own]


def results_by_folder(folders: Iterable[Path]) -> dict[Path, list[dict[str, Any]]]:
    """Return the same by folder; the results of a suite are told as of the suite's folder, which declares it.

    Raises:
        DataError: a folder is missing, a file cannot be read, or two files hold results of one case.
    """
    found: dict[Path, list[dict[str, Any]]] = {}
    known: dict[Case, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"there is no folder {folder}")
        of_suite = folder.resolve().parent
        home = of_suite if folder.resolve().name == RESULTS and (of_suite / DECLARED).exists() else folder
        own = found.setdefault(home, [])
        for file in sorted((home / RESULTS if (home / RESULTS).is_dir() else home).glob("*.json")):
            result = read_result(file)
            if result is None:
                continue
            first = known.setdefault(Case.from_json(result["case"]), file)
            if first is file:
                own.append(result)
            elif not first.samefile(file):
                raise DataError(f"{first} and {file} are results of the same case; which of them counts is not known")
    return found
