"""Every extra, installed alone in a fresh environment: does what it is for work, and what does it weigh?

``python -m benchmarks.extras [EXTRA …]`` writes ``benchmarks/results/extras.md``; with names, only those are measured,
and the file's other rows stay.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "extras.md"
BASE = "(none)"
_MB = 1 << 20

_STUDY = """
import luthier as lt

@lt.predictor
def shout(text: str) -> str:
    '''Say it louder.'''
    return lt.predict()

def program(text: str) -> str:
    return shout(text=text)

def study(**settings):
    rows = [{"text": f"hey {n}", "label": "HEY" if n % 2 else "HO"} for n in range(60)]
    lm = lt.LM(lambda request: "HEY")
    return lt.optimize(program, rows, lt.exact_match("label"), lm=lm, auto="light", **settings)
"""
USES = {
    BASE: "assert study().report.is_file()",
    "local": "import xllamacpp\nfrom luthier.lm.local import child",
    "bench": "import bm25s, scipy\nfrom benchmarks.suites import comparing",
    "openai": "import openai\nfrom luthier.program.connect import connect\nconnect(openai.OpenAI(api_key='none'))",
    "templates": "import jinja2, yaml\nfrom luthier.program.templates import jinja, yaml as files\nlt.Template",
    "dspy": "from luthier.integrations.dspy import Luthier",
    "langgraph": "import langgraph.graph\nfrom luthier.integrations.langchain import connect, lm_of, tunable",
    "pydantic-ai": "import pydantic_ai\nimport luthier.integrations.pydantic_ai",
    "ray": "import ray\nimport luthier.integrations.ray",
    "mlflow": (
        "from luthier.integrations import mlflow\n"
        "with mlflow.tracking('sqlite:///runs.db') as listener:\n    study(on_event=listener)\n"
        "import mlflow as theirs\n"
        "(run,) = theirs.MlflowClient('sqlite:///runs.db').search_runs(['1'])\n"
        "assert run.info.status == 'FINISHED' and 'best_so_far' in run.data.metrics"
    ),
    "otel": (
        "from luthier.integrations import otel\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import SimpleSpanProcessor\n"
        "from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter\n"
        "kept, provider = InMemorySpanExporter(), TracerProvider()\n"
        "provider.add_span_processor(SimpleSpanProcessor(kept))\n"
        "with otel.tracing(provider):\n    study()\n"
        "assert any(span.name.startswith('chat ') for span in kept.get_finished_spans())"
    ),
}
"""What is tried with each. An adapter that is not there yet is said to be missing, and is no failure."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one extra came to."""

    extra: str
    packages: int
    megabytes: float
    seconds: float
    works: str


def main(names: list[str]) -> int:
    """Measure, write the table, and return how many extras do not work."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = [BASE, *tomllib.load(file)["project"]["optional-dependencies"]]
    unknown = [name for name in names if name not in extras]
    if unknown or (forgotten := [extra for extra in extras if extra not in USES]):
        print(f"no such extra, or nothing to try it with: {', '.join(unknown or forgotten)}")
        return 2
    rows = {row.extra: row for row in _known()}
    with tempfile.TemporaryDirectory(prefix="luthier-extras-") as folder:
        wheel = _wheel(Path(folder))
        for extra in names or extras:
            rows[extra] = row = _measured(extra, wheel, Path(folder) / "environment")
            print(f"{extra:<12} {row.packages:>4} packages {row.megabytes:>8.1f} MB {row.seconds:>6.0f} s  {row.works}")
    RESULT.write_text(_page([rows[extra] for extra in extras if extra in rows]), encoding="utf-8")
    return sum(row.works.startswith("no:") for row in rows.values())


def _wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def _measured(extra: str, wheel: Path, environment: Path) -> Row:
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
    python = environment / "bin" / "python"
    before = _size(environment)
    what = str(wheel) if extra == BASE else f"{wheel}[{extra}]"
    began = time.perf_counter()
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", what],
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        return Row(extra, 0, 0.0, seconds, f"no: not installed: {done.stderr.strip().splitlines()[-1]}")
    listed = subprocess.run([str(python), "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    packages = sum(each["name"] not in ("pip", "setuptools") for each in json.loads(listed.stdout))
    return Row(extra, packages, (_size(environment) - before) / _MB, seconds, _works(extra, python, environment))


def _works(extra: str, python: Path, folder: Path) -> str:
    script = folder / "use.py"
    script.write_text(f"{_STUDY}\n{USES[extra]}\n", encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSTARTUP")}
    done = subprocess.run([str(python), str(script)], cwd=folder, env=kept, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return "yes"
    last = done.stderr.strip().splitlines()[-1]
    return "installs; no adapter yet" if "No module named 'luthier.integrations." in last else f"no: {last[:200]}"


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _known() -> list[Row]:
    """Return the rows of an earlier run."""
    marker = "<!-- "
    lines = RESULT.read_text(encoding="utf-8").splitlines() if RESULT.exists() else []
    return [Row(**json.loads(line.removeprefix(marker).removesuffix(" -->"))) for line in lines if line[:6] == "<!-- {"]


def _page(rows: list[Row]) -> str:
    base = next((row for row in rows if row.extra == BASE), None)
    lines = [
        "# Extras, each alone",
        "",
        "`python -m benchmarks.extras`: each installed in a fresh environment, and what it is for is tried. Sizes",
        "are of installed files without byte code; downloads may come from pip's cache, so seconds tell little.",
        "",
        "| extra | packages | MB | beyond luthier alone | seconds | works |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        more = "" if base is None or row is base else f"+{row.megabytes - base.megabytes:.1f}"
        name = row.extra if row.extra == BASE else f"`{row.extra}`"
        lines.append(f"| {name} | {row.packages} | {row.megabytes:.1f} | {more} | {row.seconds:.0f} | {row.works} |")
    return "\n".join([*lines, "", *(f"<!-- {json.dumps(asdict(row))} -->" for row in rows), ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
