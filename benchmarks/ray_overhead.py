"""What a Ray cluster costs beside rollouts in this process: ``ray_overhead.py``, with a Python that has Ray.

A cluster of two nodes on this machine, a server of ours with and without latency, the same evaluation both ways.
Writes ``results/ray.json`` and ``results/ray.md``. Times are ratios within one run.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import luthier as lt  # noqa: E402
from tests.integration import world  # noqa: E402
from tests.integration.test_kill_and_resume import answer  # noqa: E402
from tests.lm.server import OpenAIServer  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
ROLLOUTS, IN_FLIGHT = 200, 16
LATENCIES = (0.0, 0.05, 0.2)


def main() -> None:
    """Measure and write down."""
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, connect=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    cluster.wait_for_nodes()
    rows = []
    for latency in LATENCIES:
        with OpenAIServer(answer, latency=latency) as server:
            lm = lt.LM("openai/world", base_url=server.url, api_key="key")
            for where in ("ray", "local", "ray"):  # the first starts the processes
                begun = time.perf_counter()
                evaluation = lt.evaluate(
                    world.describe,
                    world.rows(ROLLOUTS),
                    lt.exact_match("answer"),
                    lm=lm,
                    concurrency=IN_FLIGHT,
                    executor=where,
                )
                seconds = round(time.perf_counter() - begun, 2)
                rows.append({"latency": latency, "where": where, "seconds": seconds, "n": evaluation.n})
    ray.shutdown()
    cluster.shutdown()
    (RESULTS / "ray.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "ray.md").write_text(page(rows), encoding="utf-8")
    print(page(rows))


def page(rows: list[dict[str, Any]]) -> str:
    """Return the table."""
    lines = [
        "# What a Ray cluster costs",
        "",
        f"`python benchmarks/ray_overhead.py`: {ROLLOUTS} rollouts of two LM calls each, {IN_FLIGHT} in flight, two "
        "nodes of one processor on one slow shared machine; LM calls leave from the driver. Seconds with starting and "
        "ending the workers; the second run on the cluster, beside the same evaluation in one process.",
        "",
        "| server's latency | in this process | on the cluster | more milliseconds an LM call |",
        "| --- | --- | --- | --- |",
    ]
    for latency in LATENCIES:
        of = [row for row in rows if row["latency"] == latency]
        local = next(row["seconds"] for row in of if row["where"] == "local")
        remote = [row["seconds"] for row in of if row["where"] == "ray"][-1]
        more = 1000 * (remote - local) / (2 * ROLLOUTS)
        lines.append(f"| {1000 * latency:.0f} ms | {local:.1f} s | {remote:.1f} s | {more:.1f} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
