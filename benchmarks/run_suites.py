"""The suites of optimizers on tasks, with a real LM: ``suites.py [a] [c]``. Resumable; hours on two cores.

Runs `benchmarks/suites/*.toml` below ``runs/``, and writes results and tables to ``benchmarks/results/suite-*``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SUITES = ("a", "c")


def main() -> None:
    """Run the suites, or go on with them, and tell what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[*SUITES, []], default=[])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--tables-only", action="store_true", help="tell what there is, and run nothing")
    given = parser.parse_args()
    failed = 0
    for name in given.suites or SUITES:
        out = given.runs / f"suite-{name}"
        kept = ROOT / "benchmarks" / "results" / f"suite-{name}"
        if kept.exists():  # what another checkout has declared and finished is not run again
            shutil.copytree(kept, out, dirs_exist_ok=True)
        if not given.tables_only:
            failed |= luthier("bench", "run", f"{ROOT}/benchmarks/suites/{name}.toml", "--out", str(out))
        shutil.copytree(out / "results", kept / "results", dirs_exist_ok=True)
        if (out / "suite.json").exists():
            shutil.copy(out / "suite.json", kept / "suite.json")
        told = [f"--{form}={kept}.{form.replace('markdown', 'md')}" for form in ("markdown", "html")]
        failed |= luthier("bench", "table", str(kept), *told)
    sys.exit(failed)  # after everything that was found has been kept


def luthier(*arguments: str) -> int:
    """Run the command line; return its exit code."""
    return subprocess.run([sys.executable, "-m", "luthier", *arguments], check=False).returncode


if __name__ == "__main__":
    main()
