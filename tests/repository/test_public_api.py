"""What `import luthier` offers."""

from __future__ import annotations

import inspect

import luthier
from tests.repository.sources import PACKAGE


def test_all_names_every_public_name_and_no_other() -> None:
    homes = {name for names in luthier._HOMES.values() for name in names}
    assert set(luthier.__all__) == homes | {"__version__"}


def test_all_is_sorted_and_names_nothing_twice() -> None:
    # As ruff sorts it: constants, then classes, then functions.
    def rank(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)

    assert list(luthier.__all__) == sorted(set(luthier.__all__), key=rank)


def test_every_public_name_can_be_imported() -> None:
    missing = [name for name in luthier.__all__ if getattr(luthier, name, None) is None]
    assert not missing


def test_no_module_takes_the_place_of_a_public_name() -> None:
    # Importing luthier.export would make `lt.export` the module.
    modules = {path.stem if path.suffix else path.name for path in PACKAGE.iterdir()}
    assert not modules & set(luthier.__all__)


def test_every_public_class_and_function_says_what_it_is() -> None:
    bare = [name for name in luthier.__all__ if _describable(getattr(luthier, name)) and not _described(name)]
    assert not bare, f"say in one sentence what these are: {bare}"


def test_a_misspelt_name_is_an_attribute_error() -> None:
    assert not hasattr(luthier, "optimise")


def _describable(value: object) -> bool:
    return inspect.isclass(value) or inspect.isfunction(value)


def _described(name: str) -> bool:
    text = (getattr(luthier, name).__doc__ or "").strip()
    return bool(text) and not text.startswith(f"{name}(")  # a dataclass's generated one says nothing
