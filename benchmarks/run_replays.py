"""Strategies replayed on every recorded and synthetic table, in minutes, without an LM: ``replay.py``.

Writes ``results/replay.{json,md,html}``: 50 seeds of every strategy on every table, curves, variance shares, on some
tables also with the paper's budget of 30 full evaluations, where its own schedule gets beyond its startup; and how
often 400 studies on each kind of null table would adopt what is no better (kept by strategy, so that it resumes).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.replay import replaying
from benchmarks.replay.instrument import Found
from benchmarks.replay.replay import Replayed
from benchmarks.replay.strategies import STRATEGIES
from luthier.search.space import Point

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
KEPT = ROOT / "runs" / "replay"
EVALUATIONS = 300
PAPER, ALSO_PAPER = 30 * 45, ("synthetic:additive", "synthetic:pairs")
"""The paper's budget on tables of about a hundred examples, and where it is replayed besides recorded tables."""


def main() -> None:
    """Replay what is not replayed yet, then write everything down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--null-studies", type=int, default=400)
    parser.add_argument("--again", action="store_true", help="forget what was replayed before")
    given = parser.parse_args()
    recorded = sorted((ROOT / "benchmarks" / "tables").glob("*.json"))
    sources = [str(path.relative_to(ROOT)) for path in recorded]
    sources += [f"{replaying.SYNTHETIC}{kind}" for kind in replaying.kinds()]
    budgets = [(source, EVALUATIONS) for source in sources]
    budgets += [
        (source, PAPER) for source in sources if source in ALSO_PAPER or not source.startswith(replaying.SYNTHETIC)
    ]
    compared = [replayed(source, evaluations, given.seeds, again=given.again) for source, evaluations in budgets]
    nulls = null_rows(RESULTS / "replay-nulls.json", given.null_studies, again=given.again)
    told = [one.to_json() for one in compared]
    found_all = {"evaluations": EVALUATIONS, "seeds": given.seeds, "tables": told, "null tables": nulls}
    (RESULTS / "replay.json").write_text(json.dumps(found_all, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "replay.md").write_text(replaying.as_markdown(compared, nulls), encoding="utf-8")
    (RESULTS / "replay.html").write_text(replaying.as_html(compared, nulls), encoding="utf-8")


def replayed(source: str, evaluations: int, seeds: int, *, again: bool) -> replaying.Compared:
    """Return what all strategies find on a kind of table; kept below ``runs/``, so that an interrupted run resumes."""
    file = KEPT / f"{Path(source).stem.replace(':', '-')}-{evaluations}-{seeds}.json"
    if file.exists() and not again:
        return read(json.loads(file.read_text(encoding="utf-8")))
    begun = time.monotonic()
    compared = replaying.run(source, (), evaluations=evaluations, seeds=seeds)
    KEPT.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(compared), default=dict), encoding="utf-8")
    print(f"{source}, {evaluations}: {time.monotonic() - begun:.0f} s", flush=True)
    return compared


def read(data: dict[str, Any]) -> replaying.Compared:
    """Read back what was kept."""
    found = {
        name: Found(name, tuple(Replayed(**{**one, "chosen": Point(one["chosen"])}) for one in kept["replays"]))
        for name, kept in data["found"].items()
    }
    return replaying.Compared(**{**data, "found": found})


def null_rows(file: Path, studies: int, *, again: bool) -> list[list[str]]:
    """Return the rows on null tables, strategy by strategy, each kept as soon as it is done."""
    known: dict[str, list[list[str]]] = {}
    if file.exists() and not again:
        data = json.loads(file.read_text(encoding="utf-8"))
        known = data["rows"] if data["studies"] == studies else {}
    for name in STRATEGIES:
        if name not in known:
            begun = time.monotonic()
            known[name] = replaying.nulls([name], evaluations=EVALUATIONS, studies=studies)
            file.write_text(json.dumps({"studies": studies, "rows": known}, indent=1) + "\n", encoding="utf-8")
            print(f"null tables, {name}: {time.monotonic() - begun:.0f} s", flush=True)
    return [row for name in STRATEGIES for row in known[name]]


if __name__ == "__main__":
    main()
