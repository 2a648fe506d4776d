"""The notebook in examples/, run by Jupyter's own client and kernel."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from ..repository.sources import ROOT

pytestmark = pytest.mark.integrations


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("default")  # Jupyter's own are not ours to mend
def test_jupyter_runs_every_cell_and_shows_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipykernel", reason="pip install ipykernel")
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    # The kernel is this very Python, whatever kernels are installed.
    kernels = tmp_path / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernels / "kernel.json").write_text(
        json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}), encoding="utf-8"
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), *sys.path]))
    notebook = nbformat.read(ROOT / "examples" / "tour.ipynb", as_version=4)
    nbformat.validate(notebook)
    work = tmp_path / "work"
    work.mkdir()
    client.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(work)}}).execute()
    shown = [out["data"] for cell in notebook.cells for out in cell.get("outputs", ()) if "data" in out]
    assert sum('class="luthier-card"' in data.get("text/html", "") for data in shown) == 3
    assert shown[-1]["text/plain"] == "'delivery'"
