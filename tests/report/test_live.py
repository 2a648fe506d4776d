"""The report as a live page, in a real browser, while a study writes."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from luthier.net.serve import LoopbackPages
from luthier.report.live import LiveReport
from luthier.study.events import read
from luthier.study.journal import Journal
from tests.cli.project import OPTIMIZE, environment, luthier, project
from tests.report.browser import BROWSER, Browser
from tests.report.fixture import Event, hostile, journal
from tests.report.test_page import POISON


class Growing:
    """A study's directory whose journal is written step by step."""

    def __init__(self, directory: Path, events: list[Event]) -> None:
        directory.mkdir()
        self.directory = directory
        self._file = Journal(directory / "journal.jsonl")
        self._left = [{k: v for k, v in event.items() if k not in ("v", "seq", "time", "sum")} for event in events]

    def write(self, until: str | None = None, *, most: int = 10_000) -> None:
        """Write events up to the first of that name, and it, too."""
        for _ in range(min(most, len(self._left))):
            event = self._left.pop(0)
            name = event["event"]
            self._file.append(read(event))
            if name == until:
                break

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Growing]:
    study = Growing(tmp_path / "study", journal())
    yield study
    study.close()


@pytest.fixture(scope="module")
def one_browser() -> Iterator[Browser]:
    if BROWSER is None:
        pytest.skip("no browser here")
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Browser) -> Browser:
    one_browser.look()
    return one_browser


def serve(study: Growing) -> LoopbackPages:
    return LoopbackPages({"": LiveReport(study.directory)})


def test_the_page_follows_the_study_to_its_end(growing: Growing, browser: Browser) -> None:
    growing.write("baseline")
    with serve(growing) as pages:
        browser.open(pages.url)
        browser.wait_for("document.getElementById('live').textContent === 'Live: follows the study'")
        assert "Not finished" in browser.run("document.querySelector('.hero').innerText")
        growing.write("tell")
        browser.wait_for("[...document.querySelectorAll('h2')].some(h => h.textContent === 'Score by trial')", 10)
        growing.write()
        browser.wait_for("document.getElementById('live').textContent === 'Finished'", 15)
        assert "Not finished" not in browser.run("document.querySelector('.hero').innerText")
        headings = browser.run("[...document.querySelectorAll('h2')].map(h => h.textContent)")
        assert headings == _headings(growing)
        assert browser.problems == []


def test_what_is_open_and_where_one_reads_stays_as_it_was(growing: Growing, browser: Browser) -> None:
    growing.write("tell")
    browser.look(height=500)
    with serve(growing) as pages:
        browser.open(pages.url)
        browser.run("document.querySelector('main details').open = true")
        place = "Math.round(document.querySelector('main details').getBoundingClientRect().top) + 0"
        browser.run("document.querySelector('main details').scrollIntoView()")
        browser.run("document.querySelector('main details summary').focus()")
        before = browser.run(place)
        opened = browser.run("document.querySelector('main details summary').textContent")
        trials = "document.querySelector('.tiles').innerText"
        shown = browser.run(trials)
        for _ in range(6):
            growing.write("tell")
        browser.wait_for(f"{trials} !== {json.dumps(shown)}", 10)
        assert browser.run("document.querySelector('main details[open] summary').textContent") == opened
        assert abs(browser.run(place) - before) <= 2
        assert browser.run("document.activeElement.textContent") == opened
        assert browser.problems == []


def test_selected_text_is_not_taken_away(growing: Growing, browser: Browser) -> None:
    growing.write("baseline")
    with serve(growing) as pages:
        browser.open(pages.url)
        browser.run("getSelection().selectAllChildren(document.querySelector('h1'))")
        words = browser.run("getSelection().toString()")
        growing.write("tell")
        time.sleep(2.5)
        assert browser.run("getSelection().toString()") == words
        browser.run("getSelection().removeAllRanges()")
        browser.wait_for("[...document.querySelectorAll('h2')].some(h => h.textContent === 'Score by trial')", 10)


def test_nothing_that_a_model_wrote_runs(tmp_path: Path, browser: Browser) -> None:
    study = Growing(tmp_path / "study", hostile(journal(), POISON))
    study.write("proposals")
    with serve(study) as pages:
        browser.open(pages.url)
        study.write()
        browser.wait_for("document.getElementById('live').textContent === 'Finished'", 15)
        assert browser.run("document.querySelectorAll('script').length") == 1
        assert browser.run("document.querySelectorAll('img, iframe, [onerror]').length") == 0
        # Even what an escape had missed would not run.
        browser.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.owned=1>')")
        browser.run("document.body.append(Object.assign(document.createElement('script'), {text: 'window.owned=1'}))")
        browser.run("fetch('http://127.0.0.1:9/').catch(() => 0)")
        assert browser.run("window.owned") is None
        assert len([each for each in browser.problems if "Content Security Policy" in each]) >= 2
    study.close()


def test_the_page_says_when_it_lost_its_server(growing: Growing, browser: Browser) -> None:
    growing.write("baseline")
    with serve(growing) as pages:
        browser.open(pages.url)
        browser.wait_for("document.getElementById('live').className === 'running'")
    browser.wait_for("document.getElementById('live').className === 'lost'", 20)
    browser.wait_for("document.getElementById('live').textContent.includes('luthier show --web')", 20)
    assert browser.run("document.querySelectorAll('main>*').length") > 1


@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_sticks_out(growing: Growing, browser: Browser, width: int) -> None:
    growing.write("tell")
    browser.look(width=width)
    with serve(growing) as pages:
        browser.open(pages.url)
        browser.wait_for("document.getElementById('live').textContent !== ''")
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        assert browser.run("document.getElementById('live').getBoundingClientRect().left >= 0")


def test_a_study_that_is_quiet_says_since_when(growing: Growing) -> None:
    growing.write("tell")
    page = LiveReport(growing.directory)().body.decode()
    last = json.loads((growing.directory / "journal.jsonl").read_text(encoding="utf-8").splitlines()[-1])["time"]
    assert f'data-since="{last}"' in page
    assert 'data-finished="no"' in page


def test_a_torn_last_line_is_not_yet_there_and_damage_is_told(growing: Growing) -> None:
    growing.write("baseline")
    report = LiveReport(growing.directory)
    assert report().status == 200
    with (growing.directory / "journal.jsonl").open("ab") as file:
        file.write(b'{"v":1,"seq":')
        file.flush()
        time.sleep(0.5)
        assert report().status == 200
        file.write(b"nonsense}\n")
    end = time.monotonic() + 5
    while report().status == 200 and time.monotonic() < end:
        time.sleep(0.1)
    assert report().status == 500
    assert b"damaged" in report().body


def test_the_study_that_is_watched_is_not_touched(growing: Growing) -> None:
    growing.write("tell")
    before = {path.name: path.read_bytes() for path in growing.directory.iterdir()}
    LiveReport(growing.directory)()
    assert {path.name: path.read_bytes() for path in growing.directory.iterdir()} == before


def test_the_command_serves_a_running_study_and_ends_at_ctrl_c(tmp_path: Path) -> None:
    at = project(tmp_path)
    slow = [word if word != "python:flowers:lm" else "python:flowers:slow" for word in OPTIMIZE]
    command = [sys.executable, "-m", "luthier"]
    quiet: dict[str, Any] = {"cwd": at, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    study = subprocess.Popen(
        [*command, *slow, "--yes", "--study-dir", "study", "--concurrency", "2"],
        **quiet,
        stderr=subprocess.DEVNULL,
        env={**environment(), "SECONDS_A_CALL": "0.1"},
    )
    try:
        end = time.monotonic() + 60
        while not (at / "study" / "journal.jsonl").exists():
            assert time.monotonic() < end
            time.sleep(0.1)
        web = subprocess.Popen(
            [*command, "show", "study", "--web"], **quiet, stderr=subprocess.PIPE, text=True, env=environment()
        )
        assert web.stderr is not None
        url = re.search(r"http://127\.0\.0\.1:\d+/[0-9a-f]{32}/", web.stderr.readline())
        assert url is not None
        first = _get(url[0])
        assert 'data-finished="no"' in first
        while _get(url[0]) == first:
            assert time.monotonic() < end
            time.sleep(0.2)
        idle = http.client.HTTPConnection("127.0.0.1", urlsplit(url[0]).port or 0)
        idle.connect()
        began = time.monotonic()
        web.send_signal(signal.SIGINT)
        assert web.wait(10) == 0
        assert time.monotonic() - began < 2
        idle.close()
        web.stderr.close()
        assert study.poll() is None, "the study goes on"
    finally:
        study.kill()
        study.wait()


def test_the_command_needs_a_study_and_takes_a_port(tmp_path: Path) -> None:
    nothing = luthier(tmp_path, "show", "nowhere", "--web")
    assert (nothing.returncode, "holds no study" in nothing.stderr) == (2, True)


def _get(url: str) -> str:
    where = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", where.port or 0, timeout=10)
    connection.request("GET", where.path)
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def _headings(study: Growing) -> list[str]:
    from luthier.report.write import report_text

    return re.findall(r"<h2>([^<]+)", report_text(study.directory))
