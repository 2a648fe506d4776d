"""What a misbehaving server does to a study, ours and the peers': ``chaos.py --peer-python PATH``, some minutes.

Everybody tunes the same little program on a model whose best prompt is known, so the prompt that comes out is scored
exactly. The server, in a process of its own, is in order; hits three of ten calls with faults of every kind; resets
all connections for twenty seconds; or answers from one request on that the quota is used up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import luthier as lt  # noqa: E402 - the server is found from the repository's root
from benchmarks.chaos_server import HEALTHY, OUTAGE, TIMEOUT, true_score  # noqa: E402
from luthier.errors import LuthierError  # noqa: E402
from luthier.report.paid import STORE, faults  # noqa: E402

RESULTS = HERE / "results" / "chaos.json"
COMMAND = "python -m benchmarks.chaos --peer-python PATH"
SCENARIOS = {
    "clean": "a server in order",
    "chaos": "three of ten calls hit by faults of every kind",
    "outage": f"every connection reset for {OUTAGE:.0f} s, from request {HEALTHY} on",
    "quota": f"quota used up, from request {HEALTHY} on",
}
TOOLS = {"luthier": "luthier MIPRO", "dspy": "DSPy MIPROv2", "gepa": "gepa"}
_PATIENCE = 600.0

Found = dict[str, Any]
Raw = dict[str, dict[str, dict[str, Found]]]
"""By tool, scenario, and seed."""


@lt.predictor(stop=["#kind"])
def kind(number: str) -> Literal["even", "odd"]:
    """Say whether the number is even or odd."""
    return lt.predict()


def main() -> None:
    """Measure, and add what was found to the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", type=Path, default=None, help="a Python that has dspy and gepa")
    parser.add_argument("--only", choices=TOOLS, default=None)
    parser.add_argument("--scenario", choices=SCENARIOS, default=None)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of the fault plan and of the search")
    given = parser.parse_args()
    raw: Raw = {}
    if RESULTS.exists():
        raw = json.loads(RESULTS.read_text(encoding="utf-8"))["raw"]
    for tool in TOOLS if given.only is None else [given.only]:
        if tool != "luthier" and given.peer_python is None:
            continue
        for scenario in SCENARIOS if given.scenario is None else [given.scenario]:
            for seed in given.seeds:
                found = run(tool, scenario, seed, given.peer_python)
                raw.setdefault(tool, {}).setdefault(scenario, {})[str(seed)] = found
                print(tool, scenario, seed, json.dumps(found), flush=True)
                RESULTS.write_text(json.dumps({"rows": rows(raw), "raw": raw}, indent=1) + "\n", encoding="utf-8")


def run(tool: str, scenario: str, seed: int, peer_python: Path | None) -> Found:
    """Return what a tool makes of a scenario."""
    began = time.perf_counter()
    if tool == "luthier":
        with tempfile.TemporaryDirectory() as folder:
            found = ours(Path(folder) / "study", scenario, seed)
    else:
        with server(scenario, seed) as (url, said):
            found = peer(tool, url, seed, peer_python)
        found |= said
    found["seconds"] = round(time.perf_counter() - began, 1)
    if found.get("instruction") is not None:
        found["score"] = true_score(found["instruction"], found["demos"])
    return found


def ours(study: Path, scenario: str, seed: int) -> Found:
    """Tune with luthier; where that is paused, once more on a server in order, as people would."""
    with server(scenario, seed) as (url, said):
        found = tuned(study, url, seed)
    found |= said
    if found["crash"] is None:
        found["faults counted"] = faults(study / STORE)
    else:
        before = (study / "journal.jsonl").read_text(encoding="utf-8")
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        with server("clean", seed, port) as (url, again):
            resumed = tuned(study, url, seed)
        kept = (study / "journal.jsonl").read_text(encoding="utf-8").startswith(before)
        score = None if resumed["instruction"] is None else true_score(resumed["instruction"], resumed["demos"])
        found["resumed"] = {**resumed, **again, "journal kept": kept, "score": score}
    return found


def tuned(study: Path, url: str, seed: int) -> Found:
    """Run or resume the study."""
    lm = lt.LM("openai/world", base_url=url, api_key="key", timeout=TIMEOUT)
    parts = [[{"number": f"n{i}", "kind": "odd" if i % 2 else "even"} for i in ids] for ids in _PARTS]
    found: Found = {"crash": None, "instruction": None, "failed": 0}
    try:
        result = lt.optimize(
            kind,
            lt.Splits(*parts),
            lt.exact_match("kind"),
            lm=lm,
            auto="light",
            study_dir=study,
            seed=seed,
            anyway=True,
        )
    except LuthierError as error:
        return {**found, "crash": f"{type(error).__name__}: {error}"[:300]}
    best = result.best.prompts["kind"]
    chosen = next(event for event in result.events if event["event"] == "choice")
    return {**found, "instruction": best.instruction, "demos": len(best.demos), "claimed": chosen["mean"]}


_PARTS = (range(100), range(100, 160), range(160, 220))


def peer(tool: str, url: str, seed: int, python: Path | None) -> Found:
    """Tune with a peer, in its own environment and in an empty directory, where it may write what it likes."""
    command = [str(python), str(HERE / "peers" / f"{tool}_chaos.py"), url, str(TIMEOUT), str(seed)]
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=_PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            return {"crash": f"not done after {_PATIENCE:.0f} s", "failed": None}
    if done.returncode != 0:
        return {"crash": done.stderr.strip().splitlines()[-1][:300], "failed": None}
    found: Found = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@contextmanager
def server(scenario: str, seed: int, port: int = 0) -> Iterator[tuple[str, Found]]:
    """Run the server; yield its base URL, and a dictionary that holds at the end what the server counted."""
    command = [sys.executable, str(HERE / "chaos_server.py"), scenario, str(seed), str(port)]
    said: Found = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            yield url, said
        finally:
            out, _ = process.communicate("")
            said |= json.loads(out)


def rows(raw: Raw) -> list[dict[str, str]]:
    """Return the table: a row for each scenario."""
    targets = {
        "clean": "the best prompt known scores " + f"{true_score('carefully', 4):.3f}",
        "chaos": "the prompt and score of the clean run",
        "outage": "the prompt and score of the clean run",
        "quota": "paused at once, resumed to the clean run's end",
    }
    return [
        {
            "line": "1 chaos",
            "measure": f"score of the tuned prompt on 1,000 unseen numbers, untuned {true_score('', 0):.3f}: {text}",
            "target": targets[name],
            "ours": told(raw.get("luthier", {}).get(name, {})),
            "peers": "; ".join(
                f"{TOOLS[tool]}: {told(raw[tool][name])}" for tool in ("dspy", "gepa") if _has(raw, tool, name)
            ),
            "command": COMMAND,
        }
        for name, text in SCENARIOS.items()
    ]


def told(runs: dict[str, Found]) -> str:
    """Return what runs came to, seed by seed."""
    return " / ".join(_told(found) for _, found in sorted(runs.items())) or "not measured"


def _told(found: Found) -> str:
    cost = f"{found.get('requests', '?')} requests, {found['seconds']:.0f} s"
    if found["crash"] is not None:
        resumed = found.get("resumed")
        after = "" if resumed is None else f", resumed: {resumed['score']:.3f}"
        return f"{found['crash'].split(':')[0]} after {cost}{after}"
    claimed = found["claimed"]
    zeros = f", {found['failed']} failures" if found["failed"] else ""
    return f"{found['score']:.3f} (claimed {claimed:.3f}; {cost}{zeros})"


def _has(raw: Raw, tool: str, scenario: str) -> bool:
    return bool(raw.get(tool, {}).get(scenario))


if __name__ == "__main__":
    main()
