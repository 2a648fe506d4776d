"""Predictors are found wherever a program's code names them, from its source and from bytecode alone."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import ConfigError
from luthier.program import mentions
from luthier.program.program import discover


@pytest.fixture(params=["source", "bytecode"])
def read(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How functions are read."""
    if request.param == "bytecode":
        monkeypatch.setattr(mentions, "_definition", lambda function: None)
    return str(request.param)


def names(program: Callable[..., Any]) -> list[str]:
    return [component.name for component in discover(program).components]


@lt.predictor
def first(text: str) -> str:
    """Say it first."""
    return lt.predict()


@lt.predictor
def second(text: str) -> str:
    """Say it second."""
    return lt.predict()


class Desk:
    @lt.predictor
    def complain(self, text: str) -> str:
        """What is wrong?"""
        return lt.predict()

    @lt.predictor
    def queue(self, text: str, complaint: str) -> str:
        """Choose the queue."""
        return lt.predict()

    def __call__(self, text: str) -> Any:
        said = self.complain(text=text)
        return said, self.queue(text=text, complaint=said)

    def stage(self, text: str) -> str:
        return first(text=text)


class Inner(Desk):
    def stage(self, text: str) -> str:
        return super().stage(text) + second(text=text)

    def run(self, text: str) -> str:
        return super().stage(text)

    def named(self, text: str) -> str:
        return super(Inner, self).stage(text)  # noqa: UP008 - the older spelling

    def deep(self, text: str) -> str:
        done: list[Callable[[], str]] = [lambda: self.stage(text) for _ in range(2)]
        return "".join(step() for step in done)

    def quiet(self, text: str) -> str:
        return f"{text} {self.complain(text=text)!r}"


def test_two_locals_that_are_loaded_in_one_step_hide_no_predictor(read: str) -> None:
    assert names(Desk()) == ["Desk.complain", "Desk.queue"]


@pytest.mark.parametrize(
    ("method", "found"),
    [
        ("stage", ["first", "second"]),
        ("run", ["first"]),
        ("named", ["first"]),
        ("deep", ["first", "second"]),
        ("quiet", ["Desk.complain"]),
    ],
)
def test_methods_are_followed_through_super_closures_and_texts(method: str, found: list[str], read: str) -> None:
    if method == "named" and read == "bytecode" and sys.version_info < (3, 12):
        pytest.skip("the bytecode of a call says nothing of its arguments")
    assert set(names(getattr(Inner(), method))) >= set(found)


def test_what_a_parameter_or_a_loop_calls_by_a_predictors_name_is_none(read: str) -> None:
    def program(text: str, items: tuple[Callable[..., str], ...] = ()) -> str:
        called = [second(text) for second in items]
        return "".join([*called, first(text=text), *sorted(called, key=lambda second: second.upper())])

    assert names(program) == ["first"]


def test_conditions_loops_matches_and_handlers_are_looked_into(read: str) -> None:
    def program(text: str) -> str:
        match text:
            case "a":
                return first(text=text)
            case _:
                try:
                    while text:
                        text = text[1:]
                except ValueError:
                    return "" if text else second(text=text)
        return text

    assert names(program) == ["first", "second"]


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    package = tmp_path / "helpdesk"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "steps.py").write_text(
        "import luthier as lt\n\n\n@lt.predictor\ndef triage(text: str) -> str:\n"
        '    """Choose."""\n    return lt.predict()\n',
        encoding="utf-8",
    )
    (package / "broken.py").write_text("raise RuntimeError('not here')\n", encoding="utf-8")
    (package / "main.py").write_text(
        "def absolute(text: str) -> str:\n    from helpdesk.steps import triage\n    return triage(text=text)\n\n\n"
        "def relative(text: str) -> str:\n    from .steps import triage as choose\n    return choose(text=text)\n\n\n"
        "def module(text: str) -> str:\n    import helpdesk.steps\n    return helpdesk.steps.triage(text=text)\n\n\n"
        "def renamed(text: str) -> str:\n    import helpdesk.steps as s\n    return s.triage(text=text)\n\n\n"
        "def submodule(text: str) -> str:\n    from . import steps\n    return steps.triage(text=text)\n\n\n"
        "def guarded(text: str) -> str:\n    from . import broken, steps\n    return steps.triage(text=broken.x)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "helpdesk"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["absolute", "relative", "module", "renamed", "submodule", "guarded"])
def test_what_a_function_imports_when_it_runs_is_found(name: str, modules: Path) -> None:
    import importlib

    program = getattr(importlib.import_module("helpdesk.main"), name)
    assert names(program) == ["triage"]


def test_installed_packages_are_not_imported_to_look_for_predictors() -> None:
    def program(text: str) -> str:
        import this  # noqa: F401 - of the standard library

        import xllamacpp  # noqa: F401 - installed or not

        return first(text=text)

    known = set(sys.modules)
    assert names(program) == ["first"]
    assert {"this", "xllamacpp"}.isdisjoint(set(sys.modules) - known)


def test_source_that_was_edited_since_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "import luthier as lt\n\n\n@lt.predictor\ndef one(text: str) -> str:\n    'One.'\n    return lt.predict()\n\n\n"
        "@lt.predictor\ndef two(text: str) -> str:\n    'Two.'\n    return lt.predict()\n\n\n"
        "def program(text: str) -> str:\n    return {}(text=text)\n"
    )
    (tmp_path / "edited_since.py").write_text(source.format("one"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    program = importlib.import_module("edited_since").program
    (tmp_path / "edited_since.py").write_text(source.format("two"), encoding="utf-8")
    del sys.modules["edited_since"]
    assert names(program) == ["one"]


def test_a_program_without_source_is_read_from_its_bytecode() -> None:
    space: dict[str, Any] = {"first": first, "second": second, "__name__": __name__}
    exec("def program(text):\n    said = first(text=text)\n    return said, second(text=said)", space)
    assert names(space["program"]) == ["first", "second"]
    assert names(lambda text: (first(text=text), second(text=text))) == ["first", "second"]
    assert names(functools.partial(space["program"], text="a")) == ["first", "second"]


ROWS = [{"text": str(i), "label": "x"} for i in range(4)]


@pytest.mark.parametrize("how", ["raises", "goes on"])
def test_a_thread_without_its_context_is_told_to_be_the_cause(how: str) -> None:
    def program(text: str) -> str:
        found: dict[str, str] = {}

        def work() -> None:
            with suppress(ConfigError):
                found["said"] = first(text=text)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return found["said"] if how == "raises" else found.get("said", "x")

    with pytest.raises(ConfigError, match=r"'first'.*thread.*copy_context"):
        lt.evaluate(program, ROWS, lt.exact_match, lm=lt.LM(lambda request: "x"))


def test_a_lost_call_of_another_program_is_not_this_ones() -> None:
    over = threading.Event()

    def elsewhere() -> None:
        while not over.wait(0.001):
            with suppress(ConfigError):
                second(text="a")

    def program(text: str) -> str:
        return first(text=text)

    service = threading.Thread(target=elsewhere)
    service.start()
    try:
        assert lt.evaluate(program, ROWS, lt.exact_match, lm=lt.LM(lambda request: "x")).mean == 1.0
    finally:
        over.set()
        service.join()
