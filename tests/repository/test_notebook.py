"""The notebook in examples/ is one, and its cells run from the first to the last."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.repository.sources import ROOT

NOTEBOOK = ROOT / "examples" / "tour.ipynb"

# Each cell is a file of its own, so that predictors find their source; what a cell ends with is shown, as by Jupyter.
RUN = """
import ast, json, sys
from pathlib import Path

space = {"__name__": "__main__"}
shown = []
for number, cell in enumerate(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))):
    file = Path(f"cell_{number}.py")
    file.write_text(cell, encoding="utf-8")
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(file), "exec"), space)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), str(file), "eval"), space)
        shown.append(value._repr_html_() if hasattr(value, "_repr_html_") else repr(value))
Path("shown.json").write_text(json.dumps(shown), encoding="utf-8")
"""


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return found


def test_it_is_a_notebook_without_outputs() -> None:
    read = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (read["nbformat"], read["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in cells()}) == len(cells())
    for cell in cells():
        assert cell["cell_type"] in ("markdown", "code")
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


def test_its_cells_run_in_order_and_show_cards(tmp_path: Path) -> None:
    code = ["".join(cell["source"]) for cell in cells() if cell["cell_type"] == "code"]
    (tmp_path / "cells.json").write_text(json.dumps(code), encoding="utf-8")
    command = [sys.executable, "-c", RUN, "cells.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = json.loads((tmp_path / "shown.json").read_text(encoding="utf-8"))
    assert sum('class="luthier-card"' in each for each in shown) == 3
    assert "Adopt" in shown[2]
    assert shown[-1] == "'delivery'"
    assert (tmp_path / "prompts" / "candidate.json").exists()
