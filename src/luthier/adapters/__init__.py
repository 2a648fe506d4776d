"""The old name of ``luthier.integrations``, forwarded for one release."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

_MOVED = {
    "openai": "luthier.program.connect",
    "recorded": "luthier.program.recorded",
    "templates": "luthier.program.templates",
    "tools": "luthier.program.tool",
}


class _Forwarding(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers ``import luthier.adapters.NAME`` with the module that has taken its place."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(f"{__name__}."):
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        first, *rest = module.__name__.removeprefix(f"{__name__}.").split(".")
        home = ".".join((_MOVED.get(first, f"luthier.integrations.{first}"), *rest))
        warnings.warn(f"{module.__name__} is {home} now", DeprecationWarning, stacklevel=2)
        sys.modules[module.__name__] = importlib.import_module(home)


sys.meta_path.insert(0, _Forwarding())  # before whoever would load the files a second time, under their old names
