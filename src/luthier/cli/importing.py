"""From ``MODULE:FUNCTION`` or ``path/to/file.py:function`` to the user's object."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from luthier.errors import ConfigError, ProgramFailed, UserError

_PACKAGE = Path(__file__).parents[1]


def load(reference: str, what: str) -> Any:
    """Import what a reference names; the working directory counts as a place of modules.

    Args:
        reference: "package.module:name", "name.of.object" after the colon allowed, or "path/to/file.py:name".
        what: what it is for, for messages, e.g. "the program".

    Raises:
        UserError: the reference is malformed, there is no such module or name, or a predictor in it cannot be used.
        ProgramFailed: the module raised while it was imported.
    """
    place, _, name = reference.rpartition(":")
    if not place or not name:
        raise ConfigError(f"{what} {reference!r}: write it as MODULE:FUNCTION or path/to/file.py:function")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found: Any = _module(place, reference, what)
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"{what} {reference!r}: {place} has no {part!r}{_nearest(found, part)}")
        found = getattr(found, part)
    return found


def _module(place: str, reference: str, what: str) -> ModuleType:
    try:
        return _from_file(Path(place), reference, what) if place.endswith(".py") else importlib.import_module(place)
    except UserError as error:
        raise type(error)(f"{error}{_where(error)}") from error
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            raise ConfigError(
                f"{what} {reference!r}: there is no module {error.name!r} here ({Path.cwd()}) or among the installed"
            ) from error
        raise ProgramFailed(f"{what} {reference!r} needs a module that is not installed: {error.name}") from error
    except (ValueError, TypeError) as error:
        if _raised_inside(error):
            raise _failed(error, reference, what) from error
        raise ConfigError(f"{what} {reference!r}: {place!r} is no module's name") from error
    except (Exception, SystemExit) as error:
        raise _failed(error, reference, what) from error


def _from_file(path: Path, reference: str, what: str) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"{what} {reference!r}: there is no file {path}")
    name = path.stem
    # The same file named twice (program and metric) must be the same module, or types would not match.
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) and Path(str(known.__file__)).resolve() == path.resolve():
        return known
    if known is not None:
        name = f"luthier_user_{name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{what} {reference!r}: {path} is no Python file")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _failed(error: BaseException, reference: str, what: str) -> ProgramFailed:
    where = f" ({error.filename}, line {error.lineno})" if isinstance(error, SyntaxError) else _where(error)
    return ProgramFailed(f"{what} {reference!r} raised while it was imported: {type(error).__name__}: {error}{where}")


def _where(error: BaseException) -> str:
    """Return the last line of the user's own that an error passed, in parentheses; empty where it passed none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _is_ours(file: str) -> bool:
    return "importlib" in file or Path(file).is_relative_to(_PACKAGE)


def _raised_inside(error: BaseException) -> bool:
    """Whether the user's module raised, rather than the import of a malformed name."""
    frames = traceback.extract_tb(error.__traceback__)
    return any("importlib" not in frame.filename and frame.filename != __file__ for frame in frames)


def _nearest(found: Any, name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, [known for known in dir(found) if not known.startswith("_")], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
