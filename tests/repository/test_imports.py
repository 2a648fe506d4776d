"""What is loaded when, and where a package belongs."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.repository.sources import PACKAGE, ROOT, pyproject, python_files, shown, tree

TUNING = ("numpy", "scipy", "optuna", "typer", "rich", "pandas", "polars", "sklearn")
FRAMEWORKS = ("openai", "httpx", "httpx2", "pydantic_ai")
ON_IMPORT = (*TUNING, "aiohttp", "pydantic", "genai_prices", "xllamacpp", "openai", "httpx")

DECORATE = """
import luthier as lt

@lt.predictor
def shout(text: str) -> str:
    \"\"\"Say it louder.\"\"\"
    return lt.predict()
"""

DEPLOY = (
    DECORATE
    + """
def program(text: str) -> str:
    return shout(text=text)

loud = lt.bind(program, lm=lt.LM(lambda request: "HEY"))
assert loud("hey") == "HEY"
"""
)


EXTRAS = (
    "opentelemetry", "mlflow", "ray", "openai", "jinja2", "yaml", "dspy", "langchain", "langchain_core", "langgraph",
    "pydantic_ai", "xllamacpp", "bm25s", "scipy",
)  # fmt: skip

STUDY = (
    DECORATE
    + """
def program(text: str) -> str:
    return shout(text=text)

import pathlib, tempfile
with tempfile.TemporaryDirectory() as folder:
    rows = [{"text": f"hey {n}", "label": "HEY" if n % 2 else "HO"} for n in range(60)]
    result = lt.optimize(
        program, rows, lt.exact_match("label"), lm=lt.LM(lambda request: "HEY"), auto="light",
        study_dir=pathlib.Path(folder) / "study",
    )
    assert result.report.is_file()
"""
)


def test_a_study_without_extras_loads_none_of_their_packages() -> None:
    assert _loaded_by(STUDY, EXTRAS) == []


def test_import_and_decoration_load_no_heavy_package() -> None:
    assert _loaded_by(DECORATE, ON_IMPORT) == []


def test_what_can_talk_to_openais_package_loads_it_only_where_a_client_is_given() -> None:
    assert _loaded_by("import luthier as lt\nlt.connect, lt.LM('m', base_url='http://localhost/v1')", FRAMEWORKS) == []


def test_a_deployed_program_loads_no_tuning_package() -> None:
    assert _loaded_by(DEPLOY, TUNING) == []


@pytest.mark.parametrize("contract", ["language-tower", "optimisation-tower"])
def test_every_layer_named_in_the_architecture_exists_or_is_optional(contract: str) -> None:
    missing = [name for name, optional in _layers(contract).items() if name not in _modules() and not optional]
    assert not missing


def test_every_package_says_where_it_belongs() -> None:
    placed = _layers("language-tower").keys() | _layers("optimisation-tower").keys()
    homeless = _modules() - placed
    assert not homeless, f"name these in the layers of [tool.importlinter] in pyproject.toml: {sorted(homeless)}"


def test_every_package_below_the_bridge_is_held_from_opening_sockets() -> None:
    sockets = next(c for c in _contracts() if c["id"] == "sockets")
    free = {"lm", "net", "_version", "__main__"}
    unguarded = _modules() - {name.removeprefix("luthier.") for name in sockets["source_modules"]} - free
    assert not unguarded, f"add these to the contract 'sockets' in pyproject.toml: {sorted(unguarded)}"


def test_urls_are_opened_only_in_lm_and_net() -> None:
    # import-linter sees `urllib` as one package, and parsing an address is no connection.
    openers = [
        shown(path)
        for path in python_files("src/luthier")
        if path.relative_to(PACKAGE).parts[0] not in ("lm", "net")
        and any(_imports(node, "urllib.request") for node in ast.walk(tree(path)))
    ]
    assert not openers


def test_benchmarks_import_each_other_by_the_name_of_their_package() -> None:
    # They are run as `python -m benchmarks.NAME`: the folder itself is on no path.
    siblings = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    bare = [
        f"{shown(path)}:{node.lineno}"
        for path in python_files("benchmarks")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import | ast.ImportFrom) and any(_imports(node, name) for name in siblings)
    ]
    assert not bare


def _loaded_by(code: str, names: tuple[str, ...]) -> list[str]:
    # A module's own file is needed: predictors read their source.
    probe = f"{code}\nimport json, sys\nprint(json.dumps([n for n in {list(names)!r} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    loaded: list[str] = json.loads(done.stdout)
    return loaded


def _contracts() -> list[dict[str, Any]]:
    contracts: list[dict[str, Any]] = pyproject()["tool"]["importlinter"]["contracts"]
    return contracts


def _layers(contract: str) -> dict[str, bool]:
    """Map each module named in a layers contract to whether it may be absent."""
    found = next(c for c in _contracts() if c["id"] == contract)
    words = [word for layer in found["layers"] for word in re.split(r"\s*[:|]\s*", layer)]
    return {word.strip("()"): word.startswith("(") for word in words}


def _modules() -> set[str]:
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    return files | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def _imports(node: ast.AST, module: str) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name == module for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.module == module or any(f"{node.module}.{alias.name}" == module for alias in node.names)
    return False
