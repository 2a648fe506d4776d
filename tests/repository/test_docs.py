"""What the documents say runs, type-checks, and exists."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.integrations.collector import Collector
from tests.lm.server import OpenAIServer
from tests.repository.blocks import Block, blocks, documents, needs, with_blocks
from tests.repository.desk import answer, tickets
from tests.repository.sources import ROOT, shown

_SERVER_OF_THE_DOCUMENTS = "http://localhost:8000/v1"
_COLLECTOR_OF_THE_DOCUMENTS = "http://localhost:4318/v1/traces"
_SCRIPT = 'if __name__ == "__main__":'
_PREAMBLE = 'import luthier as lt\nlm = lt.LM("my-model", base_url="{url}", api_key="none")\n'


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty folder with a data set, and the address of a server that every name leads to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # what a page writes, it may import
    rows = tickets(80)
    _write(tmp_path / "tickets.jsonl", rows)
    _write(tmp_path / "rated.jsonl", [{"ticket": row["ticket"], "urgency": "high"} for row in rows])
    with OpenAIServer(answer) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield server.url


@pytest.mark.parametrize("document", [name for name in with_blocks() if name != "README.md"])
def test_every_python_block_runs(document: str, desk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _run_all(document, desk, monkeypatch)


@pytest.mark.integrations
@pytest.mark.parametrize("document", with_blocks(needing=True))
def test_every_python_block_runs_where_its_framework_is(
    document: str, desk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in needs(ROOT / document):
        pytest.importorskip(package)
    monkeypatch.delenv("OPENAI_BASE_URL")  # at which DSPy changes its client
    _run_all(document, desk, monkeypatch)


def test_the_readme_leads_from_a_program_to_a_deployed_one(desk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = _run_all("README.md", desk, monkeypatch)
    assert said["result"].decision in ("adopt", "keep", "undecided")
    assert said["route"](ticket="The parcel 7 never came.") in ("billing", "delivery", "account")
    assert Path("prompts/candidate.json").exists()
    assert Path("runs/tickets/report.html").exists()
    undocumented = _undocumented(Path("runs/tickets/journal.jsonl"))
    assert not undocumented, f"tell of these in docs/events.md: {undocumented}"


def test_the_readmes_command_line_tunes_the_same_program(desk: str) -> None:
    Path("triage.py").write_text(blocks(ROOT / "README.md")[1].code, encoding="utf-8")
    shell = "".join(block.code for block in blocks(ROOT / "README.md", "sh"))
    lines = [line for line in shell.replace("\\\n", " ").splitlines() if line.startswith("luthier ")]
    assert lines
    for line in lines:
        words = shlex.split(line.replace(_SERVER_OF_THE_DOCUMENTS, desk))[1:]
        done = subprocess.run([sys.executable, "-m", "luthier", *words], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 10, 11), done.stderr


def test_every_block_that_is_not_run_says_why() -> None:
    for path in documents():
        assert all(block.no_run is None or len(block.no_run) > 5 for block in blocks(path)), shown(path)


def test_the_readme_type_checks_in_strict_mode(tmp_path: Path) -> None:
    example, *guide = [block.code for block in blocks(ROOT / "README.md")]
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    (tmp_path / "guide.py").write_text("\n\n".join(guide), encoding="utf-8")
    # As `make check` runs it, whose cache tells what luthier's own types are.
    command = [sys.executable, "-m", "mypy", str(tmp_path / "example.py"), str(tmp_path / "guide.py")]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "MYPYPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_first_example_has_twenty_lines_at_most() -> None:
    example = blocks(ROOT / "README.md")[0].code
    assert len([line for line in example.splitlines() if line.strip()]) <= 20


def test_every_make_target_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        name
        for path in documents()
        for name in re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named <= targets


def test_every_relative_link_leads_somewhere() -> None:
    dead = [
        f"{shown(path)}: {target}"
        for path in documents()
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert not dead


def test_every_file_of_the_readmes_tree_exists() -> None:
    tree = next(block.code for block in blocks(ROOT / "README.md", "text") if block.code.startswith("src/luthier/"))
    named = {
        word
        for line in tree.splitlines()
        if line.startswith("  ")
        for word in re.findall(r"\b\w+(?:\.py|/)(?=\s)", line)
    }
    assert named
    assert not [name for name in named if not (ROOT / "src" / "luthier" / name).exists()]
    packages = {f"{path.parent.name}/" for path in (ROOT / "src" / "luthier").glob("*/__init__.py")}
    assert packages <= named


def test_every_decision_record_is_numbered_and_short() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    # Records that were replaced are gone, and their numbers with them.
    assert all(re.match(r"\d{4}-", path.name) for path in records)
    assert len({path.name[:4] for path in records}) == len(records)
    assert not [path.name for path in records if len(path.read_text(encoding="utf-8").splitlines()) > 40]


def _run_all(document: str, url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a document's blocks one after the other in one namespace, and return it."""
    module = ModuleType(re.sub(r"\W", "_", document))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(_PREAMBLE.format(url=url), module.__dict__)
    to_run = [block for block in blocks(ROOT / document) if block.no_run is None]
    with Collector() as collector:
        addresses = {_SERVER_OF_THE_DOCUMENTS: url, _COLLECTOR_OF_THE_DOCUMENTS: collector.endpoint}
        for block in to_run:
            _run(block, module, addresses)
    if any(_COLLECTOR_OF_THE_DOCUMENTS in block.code for block in to_run):
        assert collector.named("chat "), "no span of an LM call came"
    return module.__dict__


def _undocumented(journal: Path) -> set[str]:
    """Names of events and of their fields that the reference does not have."""
    events = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    used = {event["event"] for event in events} | {field for event in events for field in event}
    return used - set(re.findall(r"`(\w+)`", (ROOT / "docs" / "events.md").read_text(encoding="utf-8")))


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _run(block: Block, module: ModuleType, addresses: Mapping[str, str]) -> None:
    """Run a block as a file of its own, so that predictors and reports find their source."""
    code = block.code
    for address, actual in addresses.items():
        code = code.replace(address, actual)
    file = Path.cwd() / f"{module.__name__}_{block.line}.py"
    file.write_text(code, encoding="utf-8")
    if _SCRIPT in code:
        runpy.run_path(str(file), run_name="__main__")
    else:
        exec(compile(code, str(file), "exec", dont_inherit=True), module.__dict__)
