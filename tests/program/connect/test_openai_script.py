"""A script in the shape of the openai package's own examples: brought over by a few lines, tuned, left as it was."""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import luthier as lt
from luthier.canonical import uniform_order
from tests.lm.server import OpenAIServer
from tests.repository.desk import tickets
from tests.repository.sources import ROOT

BEFORE, AFTER = (ROOT / "examples" / "openai_script" / name for name in ("before.py", "after.py"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    with OpenAIServer(answer) as served:
        monkeypatch.setenv("OPENAI_BASE_URL", served.url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield served


def answer(body: Mapping[str, Any]) -> str:
    """Sort six tickets of ten right, nine when told to take care, and a little more with demos; propose otherwise."""
    messages, asked = body["messages"], str(body["messages"][-1]["content"])
    if "response_format" in body:
        return json.dumps({"reference": asked.strip(".?").split()[-1], "urgent": "charged" in asked})
    if body.get("max_tokens") == 5:
        words = {"billing": ("charged", "invoice", "refund"), "delivery": ("parcel", "arrived", "package")}
        right = next((queue for queue, known in words.items() if any(word in asked for word in known)), "account")
        share = 0.5 + 0.4 * ("carefully" in messages[0]["content"]) + 0.02 * min(5, len(messages) - 2)
        return right if uniform_order("queue", asked) / 2**64 < share else "other"
    if "proposed instruction" not in str(messages):
        return "Complaints of customers about money, parcels, and logins."
    number = uniform_order("proposal", json.dumps(body, sort_keys=True)) % 997
    return f"Read the customer's words {'carefully' if number % 5 else 'quickly'}, then answer (way {number})."


def script(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a script; its client reads the environment."""
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def run(path: Path, lines: list[str], *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(path), *arguments],
        input="\n".join(lines),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_two_calls_are_brought_over_by_eight_lines() -> None:
    before, after = (path.read_text(encoding="utf-8").splitlines() for path in (BEFORE, AFTER))
    diff = list(difflib.ndiff(before, after))
    added = [line[2:].strip() for line in diff if line.startswith("+ ") and line[2:].strip()]
    removed = [line for line in diff if line.startswith("- ")]
    assert added == [
        "import luthier as lt",
        "client = lt.connect(OpenAI())",
        "@lt.predictor(instruction=CLASSIFY)",
        '{"role": "system", "content": lt.prompt().instruction},',
        "*lt.prompt().demo_messages(),",
        "@lt.predictor(instruction=EXTRACT)",
        '{"role": "system", "content": lt.prompt().instruction},',
        "*lt.prompt().demo_messages(),",
    ]
    assert len(removed) == 3


def test_run_as_a_script_it_says_and_sends_what_it_did_before(server: OpenAIServer) -> None:
    lines = [row["ticket"] for row in tickets(3)]
    said, sent = [], []
    for path in (BEFORE, AFTER):
        said.append(run(path, lines))
        sent.append((list(server.bodies), list(server.paths)))
        server.bodies.clear()
        server.paths.clear()
    assert said[0] == said[1]
    assert len(said[0].splitlines()) == 3
    assert sent[0] == sent[1]
    assert len(sent[0][0]) == 6


def test_it_is_tuned_saved_deployed_and_left_alone(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = script(AFTER, monkeypatch)
    rows = [{**row, "reference": row["ticket"].strip(".?").split()[-1]} for row in tickets(150)]

    def metric(example: Any, prediction: Mapping[str, Any]) -> float:
        return 0.8 * bool(prediction["queue"] == example.queue) + 0.2 * bool(
            prediction["reference"] == example.reference
        )

    def sent_for(ticket: str) -> list[bytes]:
        """Return the bodies that the untuned script sends outside of a study."""
        server.bodies.clear()
        module.handle(ticket)
        return list(server.bodies)

    before = sent_for("Where is my package 7?")
    result = lt.optimize(
        module.handle,
        rows,
        metric,
        lm=lt.LM("gpt-4.1-mini", client=module.client),
        auto=300,
        budget=lt.Budget(lm_calls=3000),
        study_dir=tmp_path / "study",
    )
    assert result.decision == "adopt", result.verdict.sentence
    baseline = next(event for event in result.events if event["event"] == "baseline")
    assert "unmetered" not in baseline
    assert baseline["usage"]["lm_calls"] == 2 * baseline["n"]

    result.candidate.save(tmp_path / "prompts")
    assert "carefully" in (tmp_path / "prompts" / "classify.md").read_text(encoding="utf-8")
    server.requests.clear()
    deployed = lt.bind(module.handle, lm=lt.LM("gpt-4.1-mini", client=module.client), candidate=result.candidate)
    assert deployed("Where is my package 7?")["queue"] == "delivery"
    assert "carefully" in server.requests[0]["messages"][0]["content"]
    assert server.requests[0]["model"] == "gpt-4.1-mini"
    assert sent_for("Where is my package 7?") == before
    module.client.close()


def test_the_example_of_an_own_client_runs() -> None:
    def adding(body: Mapping[str, Any]) -> str:
        numbers = re.findall(r"\d+", body["messages"][-1]["content"])
        return str(sum(map(int, numbers))) if "exact" in body["messages"][0]["content"] else "about a hundred"

    with OpenAIServer(adding) as served:
        said = run(ROOT / "examples" / "own_client.py", [], served.url, "my-model")
        assert len(served.requests) == 1 + 2 * 5
    first, original, better = said.splitlines()
    assert first == "about a hundred"
    assert ": 0% right, " in original
    assert ": 100% right, " in better
