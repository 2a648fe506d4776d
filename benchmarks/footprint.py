"""What it costs to have a library at all: start-up, what an import loads, and what an install weighs."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
HEAVY = ("numpy", "aiohttp", "optuna", "typer", "pydantic", "rich", "sqlalchemy", "litellm", "openai", "httpx")
_STARTS = 5
_LOADED = (
    "{statement}; import json, sys; "
    "print(json.dumps({{'modules': len(sys.modules), 'heavy': [m for m in {heavy!r} if m in sys.modules]}}))"
)


def imports(peer_python: Path | None) -> dict[str, Any]:
    """Return how long ``import`` takes beyond a bare start, and what it loads, for luthier and for the peers."""
    here = Path(sys.executable)
    statements = {
        "luthier": (here, "import luthier"),
        # Names are looked up when they are first used, so this is what a deployed program really loads.
        "luthier, with predictor, LM, bind": (here, "import luthier as lt; lt.predictor, lt.LM, lt.bind"),
    }
    if peer_python is not None:
        statements |= {"dspy": (peer_python, "import dspy"), "gepa": (peer_python, "import gepa")}
    return {name: _import(statement, python) for name, (python, statement) in statements.items()}


def _import(statement: str, python: Path) -> dict[str, Any]:
    pairs = [(_seconds(python, statement), _seconds(python, "pass")) for _ in range(_STARTS)]
    code = _LOADED.format(statement=statement, heavy=HEAVY)
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        "milliseconds": round(1000 * statistics.median(took - bare for took, bare in pairs)),
        "bare_start_milliseconds": round(1000 * statistics.median(bare for _, bare in pairs)),
        "modules": loaded["modules"],
        "heavy_modules": loaded["heavy"],
    }


def _seconds(python: Path, statement: str) -> float:
    started = time.perf_counter()
    subprocess.run([str(python), "-c", statement], check=True, capture_output=True)
    return time.perf_counter() - started


def installs(peer_python: Path | None) -> dict[str, Any]:
    """Return what installs into fresh environments weigh, pip left out: our core, and the peers' versions."""
    with tempfile.TemporaryDirectory() as folder:
        found = {"luthier": _install(_source_in(Path(folder)), Path(folder) / "luthier")}
        # MIPROv2 needs optuna, which DSPy's core does without.
        for name, extra in (("dspy", ""), ("dspy", "[optuna]"), ("gepa", "")) if peer_python is not None else ():
            wanted = f"{name}{extra}=={_version(name, peer_python)}"
            found[f"{name}{extra}"] = _install(wanted, Path(folder) / f"{name}{extra}")
    return found


def _source_in(folder: Path) -> str:
    """Copy what a build reads, so that it leaves nothing in the checkout."""
    source = folder / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    return str(source)


def _install(what: str, home: Path) -> dict[str, Any]:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "--disable-pip-version-check"]
    done = subprocess.run([*pip, "install", "--quiet", what], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {"failed": done.stderr.strip()[-400:]}
    [packages] = home.glob("lib/python*/site-packages")
    sizes = [(file.suffix, file.stat().st_blocks * 512) for file in packages.rglob("*") if file.is_file()]
    return {
        "mb": round(sum(size for _, size in sizes) / 1e6),
        "mb_without_bytecode": round(sum(size for suffix, size in sizes if suffix != ".pyc") / 1e6),
        "distributions": len(list(packages.glob("*.dist-info"))),
    }


def _version(name: str, python: Path | None) -> str:
    code = f"import importlib.metadata; print(importlib.metadata.version({name!r}))"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    print(json.dumps({"imports": imports(given), "installs": installs(given)}, indent=1))
