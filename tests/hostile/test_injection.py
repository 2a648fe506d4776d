"""What models and data say is shown, never run: tried in a real browser where there is one."""

from __future__ import annotations

import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.lm.request import Request

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ATTACKS = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\"><svg onload=document.title='owned'>",
    "<!-- --><iframe src=javascript:parent.document.title='owned'></iframe>",
    "</style><style>body{display:none}</style><script>document.title='owned'//",
    "<a href=\"javascript:document.title='owned'\">x</a>\u2028\u202e<base href=//evil>",
    "{{constructor.constructor('document.title=1')()}}]]>",
)


def attack(number: int) -> str:
    return ATTACKS[number % len(ATTACKS)]


@lt.predictor
def size(number: str) -> str:
    """</h1><script>document.title='owned'</script> Say whether the number is small."""
    return lt.predict()


def program(number: str) -> str:
    return size(number=number)


def answer(request: Request) -> str:
    text = "\n".join(message.text for message in request.messages)
    if "instruction" in text and "number:" not in text[-200:]:
        return f"Be careful. {attack(request.sample)} Answer in one word, way {request.sample}."
    number = int("".join(c for c in request.messages[-1].text if c.isdigit())[-2:] or 0)
    return f"{attack(number)}"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows: list[dict[str, Any]] = [
        {"number": f"{attack(i)} {i}", "size": attack(i) if i % 3 else "other", "category": attack(i)}
        for i in range(80)
    ]
    result = lt.optimize(
        program,
        rows,
        lt.exact_match("size"),
        lm=lt.LM(answer, temperature=0.7),
        optimizer=lt.MIPRO(candidates=4, demo_sizes=(0, 3), instructions=3, trials=6, minibatch=6, closing=2),
        study_dir=tmp_path_factory.mktemp("injection") / "study",
    )
    assert "owned" in result.report.read_text(encoding="utf-8"), "the attacks are in the report"
    return result.report


class Tags(HTMLParser):
    """Collects what could act."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "img", "base", "object", "embed", "form", "link", "a"):
            self.found.append(tag)
        self.found += [name for name, value in attrs if name.startswith("on") or "javascript:" in (value or "")]


def test_no_tag_of_an_attack_is_a_tag_of_the_report(report: Path) -> None:
    tags = Tags()
    tags.feed(report.read_text(encoding="utf-8"))
    assert tags.found == []


@pytest.mark.skipif(BROWSER is None, reason="no browser here")
def test_nothing_runs_in_a_browser(report: Path) -> None:
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom",
        f"--user-data-dir={report.parent / 'browser'}", report.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert "<title>owned</title>" not in done.stdout
    assert "luthier report</title>" in done.stdout
    assert "body{display:none}" not in done.stdout.split("</style>", 1)[0]


def test_export_and_journal_are_plain_json(report: Path) -> None:
    for line in (report.parent / "journal.jsonl").read_text(encoding="utf-8").split("\n")[:-1]:
        assert json.loads(line)["event"]
