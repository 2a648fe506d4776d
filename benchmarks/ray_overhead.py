"""What a Ray cluster costs beside rollouts in this process: ``ray_overhead.py``, with a Python that has Ray.

A cluster of two nodes on this machine, a server of ours with and without latency, the same evaluation and the same
study both ways. Writes ``results/ray.json`` and ``results/ray.md``. Times are to be compared within one run.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # so that Ray listens on 127.0.0.1 only

import luthier as lt  # noqa: E402
from luthier.study.journal import read_journal, without_times  # noqa: E402
from tests.lm.server import OpenAIServer  # noqa: E402
from tests.studies import world  # noqa: E402
from tests.studies.test_kill_and_resume import answer  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
ROLLOUTS, IN_FLIGHT = 200, 16
LATENCIES = (0.0, 0.05, 0.2)
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "node_ip_address": "127.0.0.1"}
WAYS = ("local", "first", "again")
SETTINGS = lt.MIPRO(candidates=4, demo_sizes=(0, 3, 6), instructions=3, trials=8, minibatch=9, closing=2)


def main() -> None:
    """Measure and write down."""
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, connect=True, head_node_args={**NODE, "include_dashboard": False})
    made.add_node(**NODE)
    made.wait_for_nodes()
    rows = [row for latency in LATENCIES for row in evaluations(latency)]
    rows += studies(0.05)
    ray.shutdown()
    made.shutdown()
    (RESULTS / "ray.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "ray.md").write_text(page(rows), encoding="utf-8")
    print(page(rows))


def evaluations(latency: float) -> list[dict[str, Any]]:
    """Measure one evaluation in this process, on workers that must start, and on workers that run."""
    from luthier.integrations.ray import cluster

    with OpenAIServer(answer, latency=latency) as server, cluster() as executor:
        lm = lt.LM("openai/world", base_url=server.url, api_key="key")

        def run(where: Any) -> int:
            found = lt.evaluate(
                world.describe,
                world.rows(ROLLOUTS),
                lt.exact_match("answer"),
                lm=lm,
                concurrency=IN_FLIGHT,
                executor=where,
                anyway=True,
            )
            return found.usage.calls

        places = zip(WAYS, ("local", executor, executor), strict=True)
        return [measured("evaluation", latency, way, lambda place=place: run(place)) for way, place in places]


def studies(latency: float) -> list[dict[str, Any]]:
    """Measure one study in this process, and on workers that run, and see that their journals are equal."""
    from luthier.integrations.ray import cluster

    journals = []
    rows = []
    with (
        OpenAIServer(answer, latency=latency) as server,
        cluster() as executor,
        tempfile.TemporaryDirectory() as folder,
    ):
        lm = lt.LM("openai/world", base_url=server.url, api_key="key")

        def run(where: Any, way: str) -> int:
            before = len(server.requests)
            lt.optimize(
                world.describe,
                world.rows(140),
                lt.exact_match("answer"),
                lm=lm,
                optimizer=SETTINGS,
                study_dir=Path(folder) / way,
                concurrency=IN_FLIGHT,
                executor=where,
            )
            return len(server.requests) - before

        for way, place in zip(WAYS, ("local", executor, executor), strict=True):
            rows.append(measured("study", latency, way, lambda place=place, way=way: run(place, way)))
            journals.append(without_times(read_journal(Path(folder) / way / "journal.jsonl")))
    if any(journal != journals[0] for journal in journals):
        raise AssertionError("the journals differ")
    return rows


def measured(what: str, latency: float, way: str, run: Callable[[], int]) -> dict[str, Any]:
    """Run, and return how long it took on the clock and on this process's processors."""
    begun, used = time.perf_counter(), _processor()
    calls = run()
    seconds, processor = time.perf_counter() - begun, _processor() - used
    return {
        "what": what,
        "latency": latency,
        "way": way,
        "calls": calls,
        "seconds": round(seconds, 2),
        "driver_cpu": round(processor, 2),
    }


def page(rows: list[dict[str, Any]]) -> str:
    """Return the table."""
    lines = [
        "# What a Ray cluster costs",
        "",
        f"`python -m benchmarks.ray_overhead`: {ROLLOUTS} rollouts of two LM calls each, and a whole study, "
        f"{IN_FLIGHT} in flight, on two nodes of one processor. Driver, nodes, workers, and the server share one small "
        "machine, so they take processors from each other; the server runs in the driver's process, whose processor "
        "time has it in both columns. LM calls leave from the driver. The journals of the three studies were equal, "
        "times aside.",
        "",
        "| what | server's latency | LM calls | in this process | on workers that must start | on workers that run "
        "| more, per LM call | driver's processor time per LM call, here and there |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for what, latency in dict.fromkeys((row["what"], row["latency"]) for row in rows):
        of = {row["way"]: row for row in rows if (row["what"], row["latency"]) == (what, latency)}
        calls = of["local"]["calls"]
        more = 1000 * (of["again"]["seconds"] - of["local"]["seconds"]) / calls
        cpu = [1000 * of[way]["driver_cpu"] / calls for way in ("local", "again")]
        seconds = " | ".join(f"{of[way]['seconds']:.1f} s" for way in WAYS)
        lines.append(
            f"| {what} | {1000 * latency:.0f} ms | {calls} | {seconds} | {more:.1f} ms "
            f"| {cpu[0]:.1f} ms, {cpu[1]:.1f} ms |"
        )
    return "\n".join([*lines, ""])


def _processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
